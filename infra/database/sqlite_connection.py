"""One SQLite connection in a thread of its own, and what may run there."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from domain.errors import Unavailable
from domain.wire import timestamp_text
from infra.database.dialects import fold_case, number_text

_PRAGMAS = (
    # First, so that setting the journal mode already waits for another process.
    "busy_timeout = {busy_milliseconds}",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -65536",
    "mmap_size = 134217728",
)

T = TypeVar("T")


class SqliteConnection:
    """One sqlite3 connection and the only thread that touches it."""

    def __init__(self, database: str, *, is_reader: bool, busy_seconds: float) -> None:
        self._database = database
        self._is_reader = is_reader
        self._busy_seconds = busy_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millrace-sqlite")
        self._raw: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Connect and set the connection up."""
        try:
            await self.call(self._connect)
        except BaseException:
            self._thread.shutdown()
            raise

    def _connect(self) -> None:
        raw = sqlite3.connect(
            self._database,
            isolation_level=None,
            # Piccolo's own queries get Python values; ours select JSON and are not touched by it.
            detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES,
            uri=self._database.startswith("file:"),
            cached_statements=256,
        )
        for pragma in _PRAGMAS:
            raw.execute("PRAGMA " + pragma.format(busy_milliseconds=int(self._busy_seconds * 1000)))
        raw.create_function("fold_case", 1, fold_case, deterministic=True)
        raw.create_function("number_text", 1, number_text, deterministic=True)
        if self._is_reader:
            raw.execute("PRAGMA query_only = ON")
        self._raw = raw

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection; only for functions that run in this connection's thread."""
        if self._raw is None:
            raise Unavailable("The database is not open")
        return self._raw

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` in the connection's thread. A cancelled call still ends before the next one starts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def interrupt(self) -> None:
        """Stop the statement that runs now, from any thread."""
        if self._raw is not None:
            self._raw.interrupt()

    async def close(self) -> None:
        """Close after everything queued has run."""
        if self._raw is not None:
            await self.call(self._raw.close)
            self._raw = None
        self._thread.shutdown()


def _adapted(args: Sequence[Any]) -> list[Any]:
    """Timestamps as text of one fixed width, so that comparing text compares time."""
    return [timestamp_text(arg) if isinstance(arg, datetime) and arg.tzinfo else arg for arg in args]


def fetch(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[Any]:
    return raw.execute(sql, args).fetchall()


def execute(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> None:
    raw.execute(sql, args)


def execute_many(raw: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    raw.executemany(sql, rows)


def fetch_dicts(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
    cursor = raw.execute(sql, _adapted(args))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def rollback(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        raw.execute("ROLLBACK")
