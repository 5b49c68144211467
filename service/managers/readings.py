"""Reads how the work stands, seldom enough to cost nothing, and without anybody waiting for a database that is slow."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress

from domain.errors import ServiceError
from domain.measures import Family
from domain.work_readings import WorkReading

FRESH_SECONDS = 1.0
# A reading that takes long comes so much more seldom that it takes no more than this part of the database's time.
SHARE = 0.05
PATIENCE_SECONDS = 0.5

logger = logging.getLogger("millrace.monitoring")


class Readings:
    """The latest reading, by whatever `read` reads, and how old it is."""

    def __init__(
        self, read: Callable[[], Awaitable[WorkReading]], *, queues: Collection[str], kinds: Collection[str]
    ) -> None:
        self._read = read
        self._queues = frozenset(queues)
        self._kinds = frozenset(kinds)
        self._latest: WorkReading | None = None
        self._read_at = 0.0
        self._next_at = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._failures = 0

    async def renew(self) -> None:
        """Read again if it is time, and wait for that a moment; what takes longer is there the next time."""
        if self._reading is None and time.monotonic() >= self._next_at:
            self._reading = asyncio.create_task(self._renew())
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=PATIENCE_SECONDS)

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            self._latest = await self._read()
            self._read_at = time.monotonic()
        except ServiceError as error:
            # The age of the last reading says so, too.
            self._failures += 1
            logger.warning("how the work stands cannot be read: %s", error)
        finally:
            now = time.monotonic()
            self._next_at = now + max(FRESH_SECONDS, (now - began) / SHARE)
            self._reading = None

    async def close(self) -> None:
        """Give up what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    def families(self) -> Iterator[Family]:
        """The latest reading, and how old it is; nothing before the first one."""
        if self._latest is not None:
            yield from self._latest.families(self._queues, self._kinds)
            yield Family(
                name="millrace_jobs_reading_age_seconds",
                description="How old the numbers of jobs, schedules and workers are",
                values=[((), time.monotonic() - self._read_at)],
            )
        yield Family(
            name="millrace_jobs_reading_failures",
            description="How often they could not be read",
            values=[((), self._failures)],
        )
