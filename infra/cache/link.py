"""The way to a Redis that may be slow or away: nobody waits for it long, and for a while not at all."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from aiocache.backends.redis import RedisBackend
from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooSlow

from domain.breaker import Breaker
from domain.redis_url import RedisAddress

logger = logging.getLogger("millrace.cache")

AnswerT = TypeVar("AnswerT")

ANSWER_SECONDS = 0.25
MOST_CONNECTIONS = 16
MOST_FAILURES, PAUSE_SECONDS = 5, 5.0


class BytesBackend(RedisBackend):  # type: ignore[misc]
    """aiocache's Redis with a client of ours; it neither encodes nor decodes, and pickle is out of the question."""

    def __init__(self, client: Redis) -> None:
        # Its own constructor knows no socket files, user names or limits of time.
        BaseCache.__init__(self, serializer=NullSerializer(encoding=None), timeout=0)
        self.client = client


class RedisLink:
    """One Redis for all that keeps something there. It belongs to one event loop; close it at the end."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        most_failures: int = MOST_FAILURES,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer_seconds = answer_seconds
        self.client: Redis = Redis(connection_pool=_pool(address, answer_seconds))
        self.backend = BytesBackend(self.client)
        self.breaker = Breaker(most_failures, pause_seconds, clock)
        self.errors = 0
        self.skipped = 0

    async def ask(self, question: Callable[[], Awaitable[AnswerT]]) -> tuple[AnswerT] | None:
        """The answer, alone in a tuple; None when there is none, which is counted."""
        if not self.breaker.allows():
            self.skipped += 1
            return None
        try:
            answer = await self._answer(question)
        except (Disconnected, TooSlow, OSError) as error:
            self.errors += 1
            if self.breaker.failed():
                logger.warning("the shared cache does not answer (%s); it is left alone for a while", error)
            return None
        except RedisError as error:
            # It answers, if only to refuse, as when it is full.
            self.errors += 1
            logger.debug("the shared cache refuses: %s", error)
            return None
        if self.breaker.succeeded():
            logger.warning("the shared cache works again")
        return (answer,)

    async def _answer(self, question: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await question()
        except TimeoutError:
            raise TooSlow(f"nothing for {self._answer_seconds} s") from None

    async def close(self) -> None:
        """End every connection."""
        with suppress(RedisError, OSError):
            await self.client.aclose(close_connection_pool=True)


def _pool(address: RedisAddress, seconds: float) -> BlockingConnectionPool:
    where: dict[str, Any] = {"host": address.host, "port": address.port}
    if address.unix_socket_path is not None:
        where = {"path": address.unix_socket_path, "connection_class": UnixDomainSocketConnection}
    elif address.ssl:
        where |= {"connection_class": SSLConnection, "ssl_check_hostname": True}
    return BlockingConnectionPool(
        max_connections=MOST_CONNECTIONS,
        # The limit of time around all of it counts.
        timeout=None,
        db=address.database,
        username=address.username,
        password=address.password,
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        **where,
    )
