"""Knows the generations of a PostgreSQL database: whoever changes something tells all who cache, and waits for them."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence

from infra.database.generations.asking import SharedAsking
from infra.database.generations.bell import Bell
from infra.database.generations.counts import SELECT, bump, fold
from infra.database.postgres import PostgresEngine

LEASE_SECONDS = 1.0
"""For how long what was read is certain to someone whom every change is told to."""


class PostgresGenerations:
    """Reads all counts in one small statement, shared by everybody who asks at the same moment.

    Who hears of every change (see `Bell`) need not ask again for `lease_seconds`: a change is acknowledged to its
    client when all who cache have heard of it, or when the lease of those that cannot be reached has run out. Changes
    made past this product are seen after that time at the latest.
    """

    def __init__(self, engine: PostgresEngine, tables: Sequence[str], *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._engine = engine
        self._tables = tuple(tables)
        self._lease_seconds = lease_seconds
        self._counts: dict[str, int] = {}
        self._certain_until = 0.0
        self._changes = 0
        self._asking: SharedAsking[dict[str, int]] = SharedAsking(self._read)
        self._bell = Bell(engine, self._heard, lease_seconds=lease_seconds)
        self._folding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns at once."""
        self._folding = asyncio.create_task(fold(self._engine))
        self._bell.start()
        self._engine.touches, self._engine.on_change = touching(self._tables), self._changed

    async def stop(self) -> None:
        """Stop listening."""
        self._engine.touches = self._engine.on_change = None
        await self._bell.stop()
        if self._folding is not None:
            await asyncio.gather(self._folding, return_exceptions=True)

    def known(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations, while they are certain."""
        if time.monotonic() >= self._certain_until or self._engine.current_transaction.get() is not None:
            return None
        return self._of(self._counts, names)

    async def current(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations; None inside of a transaction."""
        if self._engine.current_transaction.get() is not None:
            return None
        known = self.known(names)
        return known if known is not None else self._of(await self._asking.join(), names)

    async def bump(self, names: Sequence[str]) -> None:
        """Count a change, in the current transaction if there is one."""
        await bump(self._engine, names)
        await self._engine.on_commit(self._changed)

    async def _read(self) -> dict[str, int]:
        changes, began = self._changes, time.monotonic()
        counts = dict(await self._engine.fetch(SELECT))
        if changes == self._changes and self._bell.hears():
            self._counts, self._certain_until = counts, began + self._lease_seconds
        return counts

    def _heard(self) -> None:
        self._changes += 1
        self._certain_until = 0.0

    async def _changed(self) -> None:
        """Something of this process's is committed: it is known here at once, elsewhere when this returns."""
        self._heard()
        await self._bell.ring()

    @staticmethod
    def _of(counts: dict[str, int], names: Sequence[str]) -> tuple[int, ...]:
        return tuple([counts.get(name, 0) for name in names])


def touching(tables: Sequence[str]) -> Callable[[str], bool]:
    """Whether a statement may change one of these tables, by its text; remembered, for there are few texts."""
    remembered: dict[str, bool] = {}
    names = [table.lower() for table in tables]

    def touches(sql: str) -> bool:
        if sql[:6].upper() in _READS:
            return False
        found = remembered.get(sql)
        if found is None:
            if len(remembered) > _MOST_TEXTS:
                remembered.clear()
            text = sql.lower()
            # What a procedure changes, its call does not say.
            found = _CALL.match(text) is not None or any(name in text for name in names)
            remembered[sql] = found
        return found

    return touches


_MOST_TEXTS = 2000
_CALL = re.compile(r"\s*(call|do)\b")
_READS = {"SELECT", "VALUES", "EXPLAI"}
