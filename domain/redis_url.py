"""Which Redis a URL means."""

from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

from domain.errors import Misconfigured

_EXAMPLES = '"redis://:password@host:6379/0", "rediss://user:password@host:6379/0" or "unix:///run/redis.sock?db=0"'
_SCHEMES = ("redis", "rediss", "unix")


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Redis is, and who asks it."""

    host: str = "localhost"
    port: int = 6379
    unix_socket_path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = None
    ssl: bool = False


def parse_redis_url(url: str) -> RedisAddress:
    """The Redis `url` names. Raises `Misconfigured`, which repeats nothing: any part may be a piece of a password."""
    address = None
    with suppress(ValueError):
        address = _address(urlsplit(url), has_host="://" in url)
    if address is None or address.database < 0:
        raise Misconfigured(f"the Redis URL is malformed: use {_EXAMPLES}, and %40 for an @ inside of a password")
    return address


def _address(parts: SplitResult, *, has_host: bool) -> RedisAddress | None:
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme not in _SCHEMES or parts.fragment or not options.keys() <= {"db"}:
        return None
    account: dict[str, Any] = {name: unquote(getattr(parts, name) or "") or None for name in ("username", "password")}
    if parts.scheme == "unix":
        if parts.hostname is not None or len(parts.path) < 2:
            return None
        database = int(options.get("db", ["0"])[0])
        return RedisAddress(unix_socket_path=unquote(parts.path), database=database, **account)
    if not has_host:
        return None
    return RedisAddress(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        database=int(options["db"][0] if "db" in options else parts.path.strip("/") or 0),
        ssl=parts.scheme == "rediss",
        **account,
    )
