"""One SQLite connection in a thread of its own, and what may run there."""

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from domain.errors import Unavailable
from domain.wire import timestamp_text
from infra.database.failures import RETRY
from infra.database.sqlite_dialect import fold_case, number_text
from infra.database.sqlite_thread import CallingThread

_PRAGMAS = (
    "busy_timeout = {busy_milliseconds}",
    "synchronous = NORMAL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -65536",
    "mmap_size = 134217728",
)
# Steps of SQLite's machine between two looks at the clock: some milliseconds, and more than a list of 1,000 rows takes.
_STEPS = 200_000

T = TypeVar("T")


class SqliteConnection:
    """One sqlite3 connection and the only thread that touches it."""

    def __init__(self, database: str, *, is_reader: bool, busy_seconds: float) -> None:
        self._database = database
        self._is_reader = is_reader
        self._busy_seconds = busy_seconds
        self._thread = CallingThread("millrace-sqlite")
        self._raw: sqlite3.Connection | None = None
        self._give_up = math.inf

    async def open(self) -> None:
        """Connect and set the connection up. Must be closed also when this fails."""
        await self.call(self._connect)

    def _connect(self) -> None:
        raw = sqlite3.connect(
            self._database,
            isolation_level=None,
            # Piccolo's own queries get Python values; ours select JSON and are not touched by it.
            detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES,
            uri=self._database.startswith("file:"),
            cached_statements=256,
        )
        try:
            self._set_up(raw)
        except BaseException:
            raw.close()
            raise
        self._raw = raw

    def _set_up(self, raw: sqlite3.Connection) -> None:
        for pragma in _PRAGMAS:
            raw.execute("PRAGMA " + pragma.format(busy_milliseconds=int(self._busy_seconds * 1000)))
        self._switch_to_wal(raw)
        raw.create_function("fold_case", 1, fold_case, deterministic=True)
        raw.create_function("number_text", 1, number_text, deterministic=True)
        if self._is_reader:
            raw.execute("PRAGMA query_only = ON")
        raw.set_progress_handler(self._is_late, _STEPS)

    def _switch_to_wal(self, raw: sqlite3.Connection) -> None:
        # When several do so to a new file at once, SQLite lets one of them, and does not have the others wait.
        give_up = time.monotonic() + self._busy_seconds
        while True:
            try:
                raw.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= give_up:
                    raise
            time.sleep(0.01)

    def _is_late(self) -> bool:
        return time.monotonic() > self._give_up

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection; only for functions that run in this connection's thread."""
        if self._raw is None:
            raise Unavailable("The database is not open")
        return self._raw

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` in the connection's thread. A cancelled call still ends before the next one starts."""
        found: T = await self._thread.call(work, args)
        return found

    async def run(
        self, work: Callable[..., T], sql: str, args: Any, *, is_inside: bool = False, limit_seconds: float = 0
    ) -> T:
        """Run a statement; `limit_seconds` 0 means no limit, `is_inside` that it must be in the open transaction."""
        _ = self.raw
        return await self.call(self._run, work, sql, args, is_inside, limit_seconds)

    def _run(self, work: Callable[..., T], sql: str, args: Any, is_inside: bool, limit_seconds: float) -> T:
        raw = self.raw
        if is_inside and not raw.in_transaction:
            # After an interrupted write or a full disk SQLite has rolled back; what follows would commit on its own.
            raise Unavailable("The database has undone this transaction; try again later", extensions=RETRY)
        # Here, as a cancelled caller must not take the limit along, nor a wait for the thread count towards it.
        self._give_up = time.monotonic() + limit_seconds if limit_seconds else math.inf
        return work(raw, sql, args)

    async def rollback(self) -> None:
        """Undo the open transaction, if there still is one."""
        _ = self.raw
        await self.call(self._rollback)

    def _rollback(self) -> None:
        self._give_up = math.inf
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def interrupt(self) -> None:
        """Stop the statement that runs now, from any thread."""
        if self._raw is not None:
            self._raw.interrupt()

    async def close(self) -> None:
        """Close after everything queued has run, be it an opening that nobody waited for."""
        await self.call(self._disconnect)
        self._thread.stop()

    def _disconnect(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()


def _adapted(args: Sequence[Any]) -> list[Any]:
    """Timestamps as text of one fixed width, so that comparing text compares time."""
    return [timestamp_text(arg) if isinstance(arg, datetime) and arg.tzinfo else arg for arg in args]


def fetch(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[Any]:
    return raw.execute(sql, args).fetchall()


def execute(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> None:
    raw.execute(sql, args)


def execute_many(raw: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    raw.executemany(sql, rows)


def execute_each(raw: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> list[int]:
    return [raw.execute(sql, row).rowcount for row in rows]


def fetch_dicts(raw: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
    cursor = raw.execute(sql, _adapted(args))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
