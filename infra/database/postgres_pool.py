"""How a connection is taken from asyncpg's pool, and in which state it goes back."""

from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from domain.errors import Unavailable
from infra.database.failures import ASYNCPG_ERRORS, RETRY, translated
from infra.database.pool_measures import PoolMeasures

# What the only pool is called where it is measured.
POOL = "shared"
PgConnection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class PooledConnection(asyncpg.Connection):
    """A connection that is reset on its way back to the pool only when someone changed its session."""

    __slots__ = ("is_session_changed",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_session_changed = False

    def get_reset_query(self) -> str:
        if not self.is_session_changed:
            return ""
        self.is_session_changed = False
        query: str = super().get_reset_query()
        return query


class Lease:
    """A connection of the pool for a block. A class, since every statement takes one and a generator costs more."""

    __slots__ = ("_connection", "_pool", "_timeout_seconds")

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> PgConnection:
        with translated():
            self._connection = await self._acquire()
        return self._connection

    async def _acquire(self) -> PgConnection:
        pool = self._pool
        try:
            return await pool.acquire(timeout=self._timeout_seconds)
        except TimeoutError as error:
            if pool.get_idle_size() or pool.get_size() < pool.get_max_size():
                raise
            raise Unavailable(
                f"All {pool.get_size()} database connections were busy for {self._timeout_seconds:g} s; "
                "try again later",
                extensions=RETRY,
            ) from error

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        connection: Any = self._connection
        if connection._con is None:
            # It died, and the pool has taken it back already.
            return
        if kind is None and not connection.is_session_changed:
            # There is nothing to wait for, so neither the task nor the timer is needed that release() would start.
            await connection._holder.release(None)
        else:
            # It shields itself: a cancelled task still gives its connection back. One it cannot reset, it has closed.
            with suppress(*ASYNCPG_ERRORS):
                await self._pool.release(connection)


class MeasuredLease(Lease):
    """A lease whose wait is measured."""

    __slots__ = ("_measures",)

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", timeout_seconds: float, measures: PoolMeasures) -> None:
        super().__init__(pool, timeout_seconds)
        self._measures = measures

    async def _acquire(self) -> PgConnection:
        began = self._measures.begin(POOL)
        try:
            return await super()._acquire()
        finally:
            self._measures.end(POOL, began)


def mark_changed(connection: PgConnection) -> None:
    raw = connection._con  # type: ignore[attr-defined]
    if isinstance(raw, PooledConnection):
        raw.is_session_changed = True
