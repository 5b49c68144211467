"""Measures how long statements wait for a connection, and how many wait now."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from domain.measures import SECONDS, Family, Histogram

_BOUNDS = (0.0001, 0.001, *SECONDS)
ItemT = TypeVar("ItemT")


class Pool(msgspec.Struct, frozen=True):
    """The connections of one kind: how many are open, how many of those are idle, how many there may be."""

    size: int
    idle: int
    most: int


class PoolMeasures:
    """What is measured of the connections of one service, by pool."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "millrace_database_acquire_seconds",
            "How long statements waited for a connection",
            ("pool",),
            bounds=_BOUNDS,
        )
        self.families = self._seconds.families
        self._waiting: dict[str, int] = {}

    def begin(self, pool: str) -> float:
        """Somebody wants a connection; returns what to `end` with."""
        self._waiting[pool] = self._waiting.get(pool, 0) + 1
        return time.perf_counter()

    def end(self, pool: str, began: float) -> None:
        """That somebody has one, or has given up."""
        self._waiting[pool] -= 1
        self._seconds.observe(time.perf_counter() - began, pool)

    def states(self, pools: Callable[[], Mapping[str, Pool]]) -> Iterator[Family]:
        """How the pools stand now."""
        found = pools()
        counts = [(name, state, number) for name, pool in found.items() for state, number in _states(pool)]
        yield Family(
            name="millrace_database_connections",
            description="Connections to the database",
            labels=("pool", "state"),
            values=[((name, state), number) for name, state, number in counts],
        )
        yield Family(
            name="millrace_database_connections_limit",
            description="Connections to the database that there may be",
            labels=("pool",),
            values=[((name,), pool.most) for name, pool in found.items()],
        )
        yield Family(
            name="millrace_database_waiting",
            description="Statements and transactions that wait for a connection",
            labels=("pool",),
            values=[((name,), self._waiting.get(name, 0)) for name in found],
        )


def _states(pool: Pool) -> list[tuple[str, int]]:
    return [("idle", pool.idle), ("busy", pool.size - pool.idle)]


class MeasuredLock(asyncio.Lock):
    """A lock that stands for the only connection of a pool."""

    def __init__(self, measures: PoolMeasures, pool: str) -> None:
        super().__init__()
        self._measures, self._pool = measures, pool

    async def acquire(self) -> bool:  # type: ignore[override] # the stubs promise Literal[True]
        began = self._measures.begin(self._pool)
        try:
            return await super().acquire()
        finally:
            self._measures.end(self._pool, began)


class MeasuredQueue(asyncio.LifoQueue[ItemT]):
    """A queue of idle connections."""

    def __init__(self, measures: PoolMeasures, pool: str) -> None:
        super().__init__()
        self._measures, self._pool = measures, pool

    async def get(self) -> ItemT:
        began = self._measures.begin(self._pool)
        try:
            return await super().get()
        finally:
            self._measures.end(self._pool, began)
