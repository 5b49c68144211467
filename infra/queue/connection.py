"""Which Redis a URL means, and a client that never waits for it long."""

from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from arq.connections import ArqRedis, RedisSettings
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from domain.errors import Misconfigured

CONNECT_SECONDS, ANSWER_SECONDS = 1, 2
"""When a Redis that does not answer is given up."""

_EXAMPLES = '"redis://:password@host:6379/0", "rediss://user:password@host:6379/0" or "unix:///run/redis.sock?db=0"'

# Never pickle: whoever can write to Redis could have a worker run anything. An exception becomes its text.
encode = msgspec.json.Encoder(enc_hook=repr).encode
decode = msgspec.json.decode


def parse_redis_url(url: str) -> RedisSettings:
    """The Redis `url` names. Raises `Misconfigured`, which repeats nothing: any part may be a piece of a password."""
    settings = None
    with suppress(RuntimeError, ValueError):
        parts = urlsplit(url)
        is_known = not parts.fragment and parse_qs(parts.query, keep_blank_values=True).keys() <= {"db"}
        is_path = parts.hostname is None and len(parts.path) > 1
        if is_known and (is_path if parts.scheme == "unix" else "://" in url):
            # arq reads no number from "/".
            settings = RedisSettings.from_dsn(parts._replace(path=parts.path.removesuffix("/")).geturl())
    if settings is None or settings.database < 0:
        raise Misconfigured(f"the Redis URL is malformed: use {_EXAMPLES}, and %40 for an @ inside of a password")
    # Nor does it decode what is encoded.
    names = ("username", "password", "unix_socket_path")
    decoded: dict[str, Any] = {name: unquote(getattr(settings, name) or "") or None for name in names}
    return replace(settings, **decoded)


class Client(ArqRedis):
    """Connects when it is first used, gives up a Redis that hangs, and once closed stays closed."""

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(
            job_serializer=encode,
            job_deserializer=decode,
            host=settings.host,
            port=settings.port,
            unix_socket_path=settings.unix_socket_path,
            db=settings.database,
            username=settings.username,
            password=settings.password,
            ssl=settings.ssl,
            ssl_check_hostname=True,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            redis_connect_func=self._greet,
        )
        self._is_closed = False

    async def _greet(self, connection: Any) -> None:
        # What is interrupted in the middle of a transaction would connect again to undo it.
        if self._is_closed:
            raise Disconnected("closed")
        await connection.on_connect()

    async def disconnect(self) -> None:
        """End every connection, whatever it is doing."""
        self._is_closed = True
        with suppress(RedisError, OSError):
            await self.aclose(close_connection_pool=True)
