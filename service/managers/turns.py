"""Who of several processes does some work: one of them, while the others wait for what comes of it."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import msgspec

from domain.caching import Locks

FoundT = TypeVar("FoundT")

# How long the first look of somebody who waits is away, and the longest.
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.02, 0.25

# Of how much work it is remembered how long it took, and of how many times of each kind.
MOST_REMEMBERED, TIMES = 1_000, 8


class Turn(msgspec.Struct, Generic[FoundT], frozen=True):
    """What was `found`; without it, whether the work `is_ours` to do."""

    found: FoundT | None = None
    is_ours: bool = False
    has_waited: bool = False


class Worth:
    """Which work is worth a turn: what takes `least_seconds`, which is more than a turn costs; with 0 all is.

    Work that was done before is judged by the last time, any other by work of its kind, all of which takes about as
    long; of no kind, or of one that nothing was done of, it is worth one. Of several times of a kind the least counts:
    in the others something else was waited for as well.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._work: dict[str, bool] = {}
        self._kinds: dict[str, deque[float]] = {}

    def is_given(self, kind: str, work: str) -> bool:
        """Whether this work is."""
        if not self._least_seconds:
            return True
        found = self._work.get(work)
        if found is None:
            times = self._kinds.get(kind)
            return times is None or min(times) >= self._least_seconds
        return found

    def took(self, kind: str, work: str, seconds: float) -> None:
        """Remember that it was done."""
        self._remember(work, is_worth=seconds >= self._least_seconds)
        if kind:
            self._kinds.setdefault(kind, deque(maxlen=TIMES)).append(seconds)

    def failed(self, work: str) -> None:
        """Remember that nothing came of it that others could use: they need not wait the next time."""
        self._remember(work, is_worth=False)

    def _remember(self, work: str, *, is_worth: bool) -> None:
        self._work.pop(work, None)
        self._work[work] = is_worth
        if len(self._work) > MOST_REMEMBERED:
            del self._work[next(iter(self._work))]


class Turns:
    """Gives out turns by locks. Whoever holds one keeps it as long as it lives; a dead one's ends by itself.

    Nobody waits for longer than `most_wait_seconds`: then the work is done twice rather than late.
    """

    def __init__(self, locks: Locks, *, most_wait_seconds: float, lock_seconds: float) -> None:
        self._locks = locks
        self._most_wait_seconds = most_wait_seconds
        self._lock_seconds = lock_seconds

    @asynccontextmanager
    async def turn(
        self, key: str, look: Callable[[], Awaitable[FoundT | None]], *, is_urgent: bool
    ) -> AsyncIterator[Turn[FoundT]]:
        """The turn for the work under `key`, or what `look` finds of it. What is not urgent never waits."""
        loop = asyncio.get_running_loop()
        give_up_at, pause, has_waited = loop.time() + self._most_wait_seconds, FIRST_LOOK_SECONDS, False
        while (token := await self._locks.take(key, seconds=self._lock_seconds)) is None:
            if not is_urgent:
                yield Turn()
                return
            if loop.time() >= give_up_at:
                yield Turn(is_ours=True, has_waited=True)
                return
            # Not all at the same time.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - nothing to guess here
            pause, has_waited = min(pause * 1.5, LONGEST_LOOK_SECONDS), True
            if (found := await look()) is not None:
                yield Turn(found, has_waited=True)
                return
        async with self._held(key, token):
            # Whoever had the lock before may have left just what is needed.
            found = await look()
            yield Turn(found, is_ours=found is None, has_waited=has_waited)

    @asynccontextmanager
    async def _held(self, key: str, token: str) -> AsyncIterator[None]:
        over = asyncio.Event()
        keeping = asyncio.create_task(self._keep(key, token, over))
        try:
            yield
        finally:
            # Before Python 3.12 the Redis client now and then loses a cancellation.
            over.set()
            keeping.cancel()
            await self._locks.release(key, token)

    async def _keep(self, key: str, token: str, over: asyncio.Event) -> None:
        while not over.is_set():
            await asyncio.sleep(self._lock_seconds / 3)
            await self._locks.extend(key, token, seconds=self._lock_seconds)
