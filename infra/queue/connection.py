"""A client of Redis that never waits for it long."""

from contextlib import suppress
from typing import Any

import msgspec
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from domain.redis_url import RedisAddress

CONNECT_SECONDS, ANSWER_SECONDS = 1, 2
"""When a Redis that does not answer is given up."""

# Never pickle: whoever can write to Redis could have a worker run anything. An exception becomes its text.
encode = msgspec.json.Encoder(enc_hook=repr).encode
decode = msgspec.json.decode


class Client(ArqRedis):
    """Connects when it is first used, gives up a Redis that hangs, and once closed stays closed."""

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(
            job_serializer=encode,
            job_deserializer=decode,
            host=address.host,
            port=address.port,
            unix_socket_path=address.unix_socket_path,
            db=address.database,
            username=address.username,
            password=address.password,
            ssl=address.ssl,
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
