"""Doing something until it succeeds: the database may be away, and comes back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.errors import ServiceError, Unavailable

logger = logging.getLogger("millrace.jobs")
ResultT = TypeVar("ResultT")

# How soon trouble with the database is tried again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


class Steadiness:
    """Keeps a worker going through trouble, which is logged once when it begins and once when it is over."""

    def __init__(self, calm_seconds: float) -> None:
        self._calm_seconds = calm_seconds
        self._calm_until = 0.0

    @property
    def is_calm(self) -> bool:
        """Whether the database has answered for long enough that everybody could renew their leases."""
        return asyncio.get_running_loop().time() >= self._calm_until

    async def do(self, work: Callable[[], Awaitable[ResultT]], trouble: str) -> ResultT:
        """The result of `work`, however often it has to be tried; `trouble` says what does not work."""
        pause, is_failing = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                result = await work()
            except Exception as error:
                if not is_failing:
                    expected = isinstance(error, ServiceError)
                    logger.warning("%s: %s; trying again", trouble, error, exc_info=None if expected else error)
                is_failing = True
                if isinstance(error, Unavailable):
                    # After an outage nobody could renew a lease; the others get the time to do so.
                    self._calm_until = asyncio.get_running_loop().time() + self._calm_seconds
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if is_failing:
                    logger.warning("%s: no longer", trouble)
                return result
