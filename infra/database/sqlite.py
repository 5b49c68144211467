"""The SQLite engine under Piccolo: one persistent writer, a few persistent readers, one thread hop per statement."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from piccolo.engine.base import BaseBatch, Engine
from piccolo.query.base import Query
from piccolo.querystring import QueryString

from domain.errors import Misconfigured, Unavailable
from infra.database.atomic import NO_BATCH, Atomic
from infra.database.dialects import Dialect
from infra.database.failures import translated
from infra.database.pool_measures import MeasuredLock, MeasuredQueue, Pool, PoolMeasures
from infra.database.sqlite_connection import (
    SqliteConnection,
    execute,
    execute_each,
    execute_many,
    fetch,
    fetch_dicts,
)
from infra.database.sqlite_dialect import SQLITE
from infra.database.transactions import Callback, CurrentTransaction, Transaction, on_commit, open_transaction

OLDEST = (3, 35, 0)
_READS = ("SELECT", "EXPLAI", "VALUES")
T = TypeVar("T")


class SqliteEngine(Engine[Any]):
    """Piccolo's engine for SQLite, with the faults of the stock one mended.

    Writes go through one connection, one transaction at a time, so nobody ever sees "database is locked" from within
    this process; reads go to `readers` others and never wait for a writer. A database in memory (path None) has the
    one connection only. `statement_timeout_seconds` stops any single statement; 0 means never.
    """

    dialect: Dialect = SQLITE

    def __init__(
        self,
        path: Path | None,
        *,
        readers: int = 4,
        busy_seconds: float = 30.0,
        statement_timeout_seconds: float = 30.0,
    ) -> None:
        # Piccolo's constructors look at a database; this one only remembers.
        self.engine_type = "sqlite"
        self.min_version_number = 3.35
        self.log_queries = self.log_responses = False
        self.query_id = 0
        self.path = path
        self.readers = readers if path is not None else 0
        self.busy_seconds = busy_seconds
        self.statement_timeout_seconds = statement_timeout_seconds
        self.current_transaction: CurrentTransaction[SqliteConnection] = CurrentTransaction(  # type: ignore[assignment]
            "sqlite_transaction"
        )
        self._writer: SqliteConnection | None = None
        self._writing = asyncio.Lock()
        self._idle_readers: asyncio.LifoQueue[SqliteConnection] = asyncio.LifoQueue()
        self._open: list[SqliteConnection] = []
        self._measures: PoolMeasures | None = None

    # Opening and closing

    async def start(self) -> None:
        """Open all connections; the file and its folder are created when missing. Raises `Unavailable`."""
        if sqlite3.sqlite_version_info < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Misconfigured(f"Python's SQLite is {sqlite3.sqlite_version}; {oldest} or newer is needed")
        database = self._database()
        try:
            with translated():
                # The writer first: it makes the file a WAL database, which a reader could not.
                self._writer = await self._connect(database, is_reader=False)
                for _ in range(self.readers):
                    self._idle_readers.put_nowait(await self._connect(database, is_reader=True))
        except BaseException:
            await self.stop()
            raise

    def _database(self) -> str:
        if self.path is None:
            return f"file:millrace-{uuid.uuid4().hex}?mode=memory"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(
                f"cannot create the folder of the database {self.path} ({error.strerror}): "
                "name another with --home or MILLRACE_HOME, or set DATABASE_URL"
            ) from error
        return str(self.path)

    async def _connect(self, database: str, *, is_reader: bool) -> SqliteConnection:
        connection = SqliteConnection(database, is_reader=is_reader, busy_seconds=self.busy_seconds)
        # First, so that a stop closes it even when it is half open.
        self._open.append(connection)
        await connection.open()
        return connection

    async def stop(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        for connection in reversed(self._open):
            await connection.close()
        self._open.clear()
        self._writer = None
        self._idle_readers, self._writing = self._queues()

    def measure(self, measures: PoolMeasures) -> None:
        """Measure how long connections are waited for; to be called before the start."""
        self._measures = measures
        self._idle_readers, self._writing = self._queues()

    def _queues(self) -> tuple[asyncio.LifoQueue[SqliteConnection], asyncio.Lock]:
        if self._measures is None:
            return asyncio.LifoQueue(), asyncio.Lock()
        return MeasuredQueue(self._measures, "readers"), MeasuredLock(self._measures, "writer")

    def pools(self) -> dict[str, Pool]:
        """How the connections stand, by pool."""
        if self._writer is None:
            return {}
        writer = Pool(1, int(not self._writing.locked()), 1)
        if not self.readers:
            return {"writer": writer}
        return {"writer": writer, "readers": Pool(self.readers, self._idle_readers.qsize(), self.readers)}

    async def ping(self) -> None:
        """Raise `Unavailable` when the database does not answer."""
        await self.fetch("SELECT 1")

    # Statements

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a statement as tuples."""
        return await self._run(fetch, sql, args, is_read=sql[:6].upper() in _READS)

    async def execute(self, sql: str, *args: Any) -> None:
        """Run a statement for its effect."""
        await self._run(execute, sql, args, is_read=False)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per row, all in one transaction and one thread hop."""
        async with self.transaction():
            await self._run(execute_many, sql, list(rows), is_read=False)

    async def execute_each(self, sql: str, rows: Iterable[Sequence[Any]]) -> list[int]:
        """The same, and how many rows each run has changed."""
        async with self.transaction():
            return await self._run(execute_each, sql, list(rows), is_read=False)

    async def _run(self, work: Callable[..., T], sql: str, args: Any, *, is_read: bool) -> T:
        with translated():
            while (transaction := self.current_transaction.get()) is not None:
                async with transaction.lock:
                    # It may have ended while this task waited for its turn.
                    if not transaction.is_done:
                        limit = 0 if transaction.is_unlimited else self.statement_timeout_seconds
                        return await transaction.connection.run(work, sql, args, is_inside=True, limit_seconds=limit)
            if is_read and self.readers:
                return await self._read(work, sql, args)
            async with self._writing:
                return await self._main().run(work, sql, args, limit_seconds=self.statement_timeout_seconds)

    async def _read(self, work: Callable[..., T], sql: str, args: Any) -> T:
        async with self._reader() as connection:
            try:
                return await connection.run(work, sql, args, limit_seconds=self.statement_timeout_seconds)
            except asyncio.CancelledError:
                # Nobody waits for the rows any more, so the reader need not finish them.
                connection.interrupt()
                raise

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[SqliteConnection]:
        self._main()
        # Kept, for a stop in between makes another queue.
        idle = self._idle_readers
        connection = await idle.get()
        try:
            yield connection
        finally:
            idle.put_nowait(connection)

    def _main(self) -> SqliteConnection:
        if self._writer is None:
            raise Unavailable("The database is not open")
        return self._writer

    # Transactions

    def transaction(
        self, *, isolation: str | None = None, read_only: bool = False
    ) -> AbstractAsyncContextManager[Transaction[SqliteConnection]]:
        """A transaction of the running task. SQLite's are serializable already, whatever `isolation` says."""
        return open_transaction(self, isolation=isolation, read_only=read_only)

    @asynccontextmanager
    async def begun(self, isolation: str | None, read_only: bool) -> AsyncIterator[SqliteConnection]:
        if read_only and self.readers:
            async with self._reader() as connection, self._bracketed(connection, "BEGIN"):
                yield connection
            return
        # IMMEDIATE takes the write lock at once; a lock upgrade in the middle could fail.
        async with self._writing, self._bracketed(self._main(), "BEGIN IMMEDIATE"):
            yield self._main()

    @asynccontextmanager
    async def _bracketed(self, connection: SqliteConnection, begin: str) -> AsyncIterator[None]:
        try:
            with translated():
                await connection.run(execute, begin, ())
            yield
            with translated():
                await connection.run(execute, "COMMIT", (), is_inside=True)
        except BaseException:
            # Shielded: a cancelled task must not leave the writer inside of its transaction.
            await asyncio.shield(connection.rollback())
            raise

    async def on_commit(self, callback: Callback) -> None:
        """Run `callback` after the current transaction is committed, or now when there is none."""
        await on_commit(self, callback)

    # What Piccolo calls

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        sql, args = querystring.compile_string(engine_type=self.engine_type)
        return await self._run(fetch_dicts, sql, args, is_read=sql.lstrip()[:6].upper() in _READS)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:
        return await self._run(fetch_dicts, ddl, (), is_read=ddl.lstrip()[:6].upper() in _READS)

    def atomic(self) -> Atomic:
        return Atomic(self)

    async def batch(self, query: Query[Any, Any], batch_size: int = 100, node: str | None = None) -> BaseBatch:
        raise NotImplementedError(NO_BATCH)

    async def get_version(self) -> float:
        return self.get_version_sync()

    def get_version_sync(self) -> float:
        major, minor, _ = sqlite3.sqlite_version_info
        return float(f"{major}.{minor}")

    async def prep_database(self) -> None:
        """Nothing to prepare."""
