"""Which Redis a URL means: every spelling of one, passwords as they are meant, and nothing given away."""

from uuid import uuid4

import pytest
from arq.connections import RedisSettings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import Misconfigured
from infra.queue.arq import ArqDoorbell
from infra.queue.connection import Client, parse_redis_url
from tests.infra.queue.wakes import Wakes
from tests.servers import redis


@pytest.mark.parametrize(
    "url, expected",
    [
        ("redis://cache", RedisSettings(host="cache")),
        ("REDIS://cache:6380/", RedisSettings(host="cache", port=6380)),
        ("redis://", RedisSettings()),
        ("redis://[::1]:6380/2", RedisSettings(host="::1", port=6380, database=2)),
        ("redis://cache?db=3", RedisSettings(host="cache", database=3)),
        ("redis://:secret@cache/1", RedisSettings(host="cache", password="secret", database=1)),
        ("redis://m%40x:p%2Fa%23@cache", RedisSettings(host="cache", username="m@x", password="p/a#")),
        ("rediss://cache", RedisSettings(host="cache", ssl=True)),
        ("unix:///run/a%20b.sock", RedisSettings(unix_socket_path="/run/a b.sock")),
        ("unix:///run/redis.sock?db=4", RedisSettings(unix_socket_path="/run/redis.sock", database=4)),
        ("unix://:pw@/run/redis.sock", RedisSettings(unix_socket_path="/run/redis.sock", password="pw")),
    ],
)
def test_a_url_names_a_redis(url: str, expected: RedisSettings) -> None:
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
        ArqDoorbell(url, namespace="test")
    assert "secret" not in str(caught.value)
    # A traceback would show it just as well.
    assert caught.value.__context__ is None


def test_a_certificate_must_be_that_of_the_host() -> None:
    settings = Client(parse_redis_url("rediss://cache")).connection_pool.connection_kwargs
    assert settings["ssl_check_hostname"] is True
    assert settings["ssl_cert_reqs"] == "required"


async def test_a_password_is_used_as_it_is_meant(redis_url: str) -> None:
    name = f"test-{uuid4().hex}"
    async with Redis.from_url(redis_url) as administrator:
        await administrator.execute_command("ACL", "SETUSER", name, "on", "~*", "&*", "+@all", ">p@ss/w%rd#")
        try:
            client = Client(parse_redis_url(redis_url.replace("://", f"://{name}:p%40ss%2Fw%25rd%23@")))
            assert await client.execute_command("ACL", "WHOAMI") == name.encode()
            await client.disconnect()
        finally:
            await administrator.execute_command("ACL", "DELUSER", name)


async def test_a_redis_may_be_reached_through_a_socket_file() -> None:
    with redis(settings={"unixsocket": "redis.sock", "unixsocketperm": "777"}) as server:
        url = f"unix://{server.directory}/redis.sock?db=1"
        doorbell, wakes = ArqDoorbell(url, namespace="test"), Wakes()
        async with doorbell.answered(["mail"], wakes):
            await wakes.reach(1)
            doorbell.ring("mail", "1")
            await wakes.reach(2)
        await doorbell.close()


async def test_a_closed_client_does_not_connect_again(redis_url: str) -> None:
    client = Client(parse_redis_url(redis_url))
    assert await client.ping()
    await client.disconnect()
    with pytest.raises(RedisError, match="closed"):
        await client.ping()
