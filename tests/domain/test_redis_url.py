"""Which Redis a URL means: every spelling of one, passwords as they are meant, and nothing given away."""

import pytest

from domain.errors import Misconfigured
from domain.redis_url import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    "url, expected",
    [
        ("redis://cache", RedisAddress(host="cache")),
        ("REDIS://cache:6380/", RedisAddress(host="cache", port=6380)),
        ("redis://", RedisAddress()),
        ("redis://[::1]:6380/2", RedisAddress(host="::1", port=6380, database=2)),
        ("redis://cache?db=3", RedisAddress(host="cache", database=3)),
        ("redis://:secret@cache/1", RedisAddress(host="cache", password="secret", database=1)),
        ("redis://m%40x:p%2Fa%23@cache", RedisAddress(host="cache", username="m@x", password="p/a#")),
        ("rediss://cache", RedisAddress(host="cache", ssl=True)),
        ("unix:///run/a%20b.sock", RedisAddress(unix_socket_path="/run/a b.sock")),
        ("unix:///run/redis.sock?db=4", RedisAddress(unix_socket_path="/run/redis.sock", database=4)),
        ("unix://:pw@/run/redis.sock", RedisAddress(unix_socket_path="/run/redis.sock", password="pw")),
    ],
)
def test_a_url_names_a_redis(url: str, expected: RedisAddress) -> None:
    assert parse_redis_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "secret",
        "secret@cache:6379",
        "http://:secret@cache",
        "valkey://:secret@cache",
        "redis:secret",
        "redis:6379",
        "redis://:secret@cache:port",
        "redis://:secret@cache:70000",
        "redis://:secret@cache/name",
        "redis://:secret@cache/-1",
        "redis://:secret@cache?db=x",
        "redis://:secret@cache?ssl_cert_reqs=none",
        "redis://:secret@cache#1",
        "redis://:se/secret@cache",
        "redis://:se#secret@cache",
        "redis://:se?secret@cache",
        "redis://:secret@[cache",
        "redis://:secret\u2100@cache",
        "unix://",
        "unix://secret/redis.sock",
    ],
)
def test_anything_else_is_refused_without_showing_what_may_be_a_password(url: str) -> None:
    with pytest.raises(Misconfigured, match="rediss://") as caught:
        parse_redis_url(url)
    assert "secret" not in str(caught.value)
    # A traceback would show it just as well.
    assert caught.value.__context__ is None
