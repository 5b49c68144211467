"""How many jobs may wait: a queue that only grows would end as a full disk, with nobody told before."""

import time
from collections.abc import Callable

from domain.errors import TooManyRequests
from domain.job_ports import JobStore

LOOK_SECONDS = 5.0
RETRY_SECONDS = 10
"""When to try again what there was no room for."""


class Room:
    """The room for jobs that wait. It is counted every few seconds, so several processes may overfill it a little."""

    def __init__(self, store: JobStore, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._left = 0
        self._until = 0.0

    async def take(self, count: int) -> None:
        """Take room for some jobs. Raises `TooManyRequests` when there is too little."""
        if count > self._left or self._clock() >= self._until:
            self._left = self._most - await self._store.count_waiting(self._most)
            self._until = self._clock() + LOOK_SECONDS
        if count > self._left:
            waiting = self._most - self._left
            raise TooManyRequests(
                f"{waiting} jobs wait, and at most {self._most} may: {count} more are too many; try again later",
                extensions={"retry_after": RETRY_SECONDS},
            )
        self._left -= count
