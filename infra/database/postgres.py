"""The PostgreSQL engine under Piccolo: an asyncpg pool that opens with the service and never leaks a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import asyncpg
from piccolo.engine.base import BaseBatch, Engine
from piccolo.query.base import Query
from piccolo.querystring import QueryString

from domain.errors import Conflict, Unavailable
from infra.database.atomic import NO_BATCH, Atomic
from infra.database.dialects import Dialect
from infra.database.failures import ABORTED, ASYNCPG_ERRORS, RETRY, is_lost_connection, translated
from infra.database.pool_measures import Pool, PoolMeasures
from infra.database.postgres_dialect import PostgresDialect
from infra.database.postgres_opening import FOLDING_COLLATIONS, OLDEST, SURROUNDINGS, dialect_of, open_pool
from infra.database.postgres_pool import (
    POOL,
    Lease,
    MeasuredLease,
    PgConnection,
    mark_changed,
)
from infra.database.transactions import Callback, CurrentTransaction, Transaction, on_commit, open_transaction
from infra.database.url import PostgresUrl

_ISOLATION = {
    "read_committed": "READ COMMITTED",
    "repeatable_read": "REPEATABLE READ",
    "serializable": "SERIALIZABLE",
}
_SESSION_STATEMENTS = ("SET ", "LISTEN", "RESET ", "DECLARE", "PREPARE", "LOAD ")
# WITH is not among them, for it may write.
_READS = ("SELECT", "VALUES")


class PostgresEngine(Engine[Any]):
    """Piccolo's engine for PostgreSQL, with the faults of the stock one mended.

    `pool_size` connections are kept, up to `max_overflow` more are opened under load and closed when idle for
    `idle_seconds`. Who finds all of them busy waits `acquire_timeout_seconds`. `statement_timeout_seconds` is the
    server's own limit for a statement (0: none). `connect_timeout_seconds` is how long a start waits for the server.
    """

    def __init__(
        self,
        url: PostgresUrl,
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        acquire_timeout_seconds: float = 10.0,
        statement_timeout_seconds: float = 30.0,
        connect_timeout_seconds: float = 10.0,
        idle_seconds: float = 300.0,
        application_name: str = "millrace",
    ) -> None:
        # Piccolo's constructor connects to the server; this one only remembers.
        self.engine_type = "postgres"
        self.min_version_number = OLDEST
        self.log_queries = self.log_responses = False
        self.query_id = 0
        self.url = url
        self.pool_size = pool_size
        self.max_overflow = max_overflow
        self.acquire_timeout_seconds = acquire_timeout_seconds
        self.statement_timeout_seconds = statement_timeout_seconds
        self.connect_timeout_seconds = connect_timeout_seconds
        self.idle_seconds = idle_seconds
        self.application_name = application_name
        self.current_transaction: CurrentTransaction[PgConnection] = CurrentTransaction(  # type: ignore[assignment]
            "postgres_transaction"
        )
        self.dialect: Dialect = PostgresDialect()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._measures: PoolMeasures | None = None
        # Whoever wants to know of changes says by which statements, and is called after they are committed.
        self.touches: Callable[[str], bool] | None = None
        self.on_change: Callback | None = None

    # Opening and closing

    async def start(self) -> None:
        """Open the pool, waiting for the server if need be. Raises `Unavailable` with the reason."""
        self._pool = await open_pool(
            self.url,
            sizes=(self.pool_size, self.pool_size + self.max_overflow),
            statement_seconds=self.statement_timeout_seconds,
            connect_seconds=self.connect_timeout_seconds,
            idle_seconds=self.idle_seconds,
            application_name=self.application_name,
        )
        try:
            await self._look_around()
        except BaseException:
            await self.stop()
            raise

    async def _look_around(self) -> None:
        [row] = await self.fetch(SURROUNDINGS, FOLDING_COLLATIONS)
        self.dialect = dialect_of(row, self.url)

    async def stop(self) -> None:
        """Close the pool; connections still in use get a moment to finish."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def abandon(self) -> None:
        """Close the pool at once, whatever its connections wait for."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def measure(self, measures: PoolMeasures) -> None:
        """Measure from now on how long connections are waited for."""
        self._measures = measures

    def pools(self) -> dict[str, Pool]:
        """How the connections stand, by pool."""
        pool = self._pool
        return {} if pool is None else {POOL: Pool(pool.get_size(), pool.get_idle_size(), pool.get_max_size())}

    async def ping(self) -> None:
        """Raise `Unavailable` when the database does not answer."""
        await self.fetch("SELECT 1")

    # Statements

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a statement; each is a sequence."""
        with translated():
            while (transaction := self.current_transaction.get()) is not None:
                async with transaction.lock:
                    # It may have ended while this task waited for its turn.
                    if not transaction.is_done:
                        rows = await transaction.connection.fetch(sql, *args)
                        await self._told(sql, transaction)
                        return rows
            try:
                async with self._connection() as connection:
                    rows = await connection.fetch(sql, *args)
                await self._told(sql)
                return rows
            except Exception as error:
                # A restarted server leaves dead connections in the pool; a read may simply be asked again.
                if not (is_lost_connection(error) and sql[:6].upper().startswith(_READS)):
                    raise
            async with self._connection() as connection:
                return await connection.fetch(sql, *args)

    async def execute(self, sql: str, *args: Any) -> None:
        """Run a statement for its effect."""
        with translated():
            while (transaction := self.current_transaction.get()) is not None:
                async with transaction.lock:
                    if not transaction.is_done:
                        await transaction.connection.execute(sql, *args)
                        await self._told(sql, transaction)
                        return
            async with self._connection() as connection:
                await connection.execute(sql, *args)
            await self._told(sql)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per row, all in one transaction."""
        async with self._any_connection() as connection:
            await connection.executemany(sql, rows)
        await self._told(sql, self.current_transaction.get())

    async def copy(self, table: str, schema: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows by COPY, all or none: the fastest way in."""
        async with self._any_connection() as connection:
            await connection.copy_records_to_table(table, schema_name=schema, columns=columns, records=rows)
        await self._told(f"COPY {table}", self.current_transaction.get())

    async def _told(self, sql: str, transaction: Transaction[PgConnection] | None = None) -> None:
        """Have whoever wants to know hear of a change, once it is committed."""
        if self.touches is None or self.on_change is None or not self.touches(sql):
            return
        if transaction is not None:
            transaction.tell(self.on_change)
        else:
            await self.on_change()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PgConnection]:
        """A connection whose session may be changed (SET, LISTEN, advisory locks); it is reset afterwards."""
        with translated():
            async with self._connection() as connection:
                mark_changed(connection)
                yield connection

    @asynccontextmanager
    async def _any_connection(self) -> AsyncIterator[PgConnection]:
        """For single statements only: whatever happens in the block is translated."""
        with translated():
            while (transaction := self.current_transaction.get()) is not None:
                async with transaction.lock:
                    if not transaction.is_done:
                        yield transaction.connection
                        return
            async with self._connection() as connection:
                yield connection

    def _connection(self) -> Lease:
        if self._pool is None:
            raise Unavailable("The database is not open", extensions=RETRY)
        if self._measures is not None:
            return MeasuredLease(self._pool, self.acquire_timeout_seconds, self._measures)
        return Lease(self._pool, self.acquire_timeout_seconds)

    # Transactions

    def transaction(
        self, *, isolation: str | None = None, read_only: bool = False
    ) -> AbstractAsyncContextManager[Transaction[PgConnection]]:
        """A transaction of the running task; `isolation` as asyncpg spells it (`repeatable_read`, `serializable`)."""
        return open_transaction(self, isolation=isolation, read_only=read_only)

    @asynccontextmanager
    async def begun(self, isolation: str | None, read_only: bool) -> AsyncIterator[PgConnection]:
        # Only our own calls are translated: an OSError of the block is the block's business.
        async with self._connection() as connection:
            level = f" ISOLATION LEVEL {_ISOLATION[isolation]}" if isolation else ""
            try:
                with translated():
                    await connection.execute(f"BEGIN{level}{' READ ONLY' if read_only else ''}")
                yield connection
            except BaseException:
                # A lost connection took its transaction along, and the pool takes none back that is inside of one.
                with suppress(*ASYNCPG_ERRORS):
                    await asyncio.shield(connection.execute("ROLLBACK"))
                raise
            with translated():
                outcome = await connection.execute("COMMIT")
            if outcome == "ROLLBACK" and not read_only:
                # After a failed statement that somebody caught, the server keeps nothing and calls that a success.
                raise Conflict(ABORTED)

    async def on_commit(self, callback: Callback) -> None:
        """Run `callback` after the current transaction is committed, or now when there is none."""
        await on_commit(self, callback)

    # What Piccolo calls

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        sql, args = querystring.compile_string(engine_type=self.engine_type)
        return await self._run_for_piccolo(sql, args)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:
        return await self._run_for_piccolo(ddl, ())

    async def _run_for_piccolo(self, sql: str, args: Sequence[Any]) -> Any:
        async with self._any_connection() as connection:
            if sql.lstrip()[:8].upper().startswith(_SESSION_STATEMENTS):
                mark_changed(connection)
            rows = await connection.fetch(sql, *args)
        await self._told(sql, self.current_transaction.get())
        return rows

    def transform_response_to_dicts(self, results: Iterable[Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in results]

    def atomic(self) -> Atomic:
        return Atomic(self)

    async def batch(self, query: Query[Any, Any], batch_size: int = 100, node: str | None = None) -> BaseBatch:
        raise NotImplementedError(NO_BATCH)

    async def get_version(self) -> float:
        [(version,)] = await self.fetch("SELECT current_setting('server_version_num')::int / 10000")
        return float(version)

    def get_version_sync(self) -> float:
        return float(OLDEST)

    async def prep_database(self) -> None:
        """Extensions are the operator's choice."""
