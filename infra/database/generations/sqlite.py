"""Knows the generations of a SQLite database at any moment: the file itself says when it has changed."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from infra.database.generations.counts import SELECT, bump
from infra.database.sqlite import SqliteEngine


class SqliteGenerations:
    """Looks at the file's own change counter, some microseconds each time, and reads the counts when it has moved.

    Whoever has written, in this process or in another one, has moved it by the time its commit returns. A database in
    memory has one connection only, which waits for its open transaction and is asked each time.
    """

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self._file: sqlite3.Connection | None = None
        self._version: int | None = None
        self._counts: dict[str, int] = {}

    async def start(self) -> None:
        """Open a connection that only looks."""
        if self._engine.path is not None:
            # Never waits: in WAL mode a reader need not, and where it would have to the engine is asked.
            self._file = sqlite3.connect(
                f"{self._engine.path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, isolation_level=None
            )

    async def stop(self) -> None:
        """Close the connection."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def known(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations, when the file can be looked at right now."""
        if self._file is None or self._engine.current_transaction.get() is not None:
            return None
        with suppress(sqlite3.Error):
            # Before the counts, so that these are never older than it says.
            [version] = self._file.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._counts = dict(self._file.execute(SELECT).fetchall())
                self._version = version
            return self._of(names)
        return None

    async def current(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations; None inside of a transaction."""
        if self._engine.current_transaction.get() is not None:
            return None
        known = self.known(names)
        if known is not None:
            return known
        self._counts, self._version = dict(await self._engine.fetch(SELECT)), None
        return self._of(names)

    async def bump(self, names: Sequence[str]) -> None:
        """Count a change, in the current transaction if there is one."""
        await bump(self._engine, names)

    def _of(self, names: Sequence[str]) -> tuple[int, ...]:
        return tuple([self._counts.get(name, 0) for name in names])
