"""Work that many wait for and that is done once: whoever gives up waiting takes nothing from the others."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from domain.errors import Unavailable

logger = logging.getLogger("millrace.cache")

ResultT = TypeVar("ResultT")


class Flight(Generic[ResultT]):
    """Work under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[ResultT], *, is_wanted: bool) -> None:
        self.task = task
        # Work that nobody waits for goes on only if it was begun for its own sake.
        self.waiters = 1 if is_wanted else 0


class Flights(Generic[ResultT]):
    """The work under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[ResultT]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> tuple[ResultT, bool]:
        """The result of the work under `key`, which is begun if need be; and whether it was already under way."""
        flight = self._flights.get(key)
        is_under_way = flight is not None
        if flight is None:
            flight = self._begin(key, work, is_wanted=False)
        return await self._wait(key, flight), is_under_way

    def begin(self, key: str, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> bool:
        """Begin work in the background, unless it is under way; its failure is logged."""
        if key in self._flights:
            return False
        self._begin(key, work, is_wanted=True).task.add_done_callback(_log_failure)
        return True

    async def close(self) -> None:
        """End all that is under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, work: Callable[[], Coroutine[Any, Any, ResultT]], *, is_wanted: bool) -> Flight[ResultT]:
        flight = Flight(asyncio.create_task(work()), is_wanted=is_wanted)
        self._flights[key] = flight
        # Not in the work itself: what is cancelled before it has begun never comes to its `finally`.
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def _wait(self, key: str, flight: Flight[ResultT]) -> ResultT:
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if flight.task.cancelled() and (task is None or not task.cancelling()):
                # It is not this caller who was cancelled.
                raise Unavailable("What was waited for was cancelled") from None
            raise
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # From now on others begin anew.
                self._land(key, flight)
                flight.task.cancel()

    def _land(self, key: str, flight: Flight[ResultT]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("a cached result could not be computed again: %s", error, exc_info=error)
