"""How connections to PostgreSQL are opened, and what is to be known about the server that is found."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import asyncpg

from domain.errors import Misconfigured, Unavailable
from infra.database.postgres_dialect import PostgresDialect
from infra.database.postgres_pool import PooledConnection
from infra.database.url import PostgresUrl

OLDEST = 12
# Who stands still inside of a transaction, or is cut off, keeps from others what it has locked for no longer.
MOST_IDLE_SECONDS = 30
# How much longer than the server a client waits for the end of a statement.
_GRACE_SECONDS = 5.0
# Orders text by code point already, so that no COLLATE is needed to make it agree with SQLite.
_CODE_POINT_COLLATIONS = {"C", "POSIX", "C.UTF-8", "C.utf8"}
# Fold letters of every script one by one, whatever the database's own collation does; the best first.
FOLDING_COLLATIONS = ["pg_c_utf8", "C.utf8", "C.UTF-8"]
# As JSON, for older servers lack the column that names the provider.
SURROUNDINGS = (
    "SELECT current_setting('server_version_num')::int / 10000, "
    "CASE to_jsonb(d)->>'datlocprovider' WHEN 'i' THEN 'ICU' WHEN 'b' THEN 'C' ELSE datcollate END, "
    "ARRAY(SELECT collname::text FROM pg_collation WHERE collname = ANY($1)) "
    "FROM pg_database d WHERE datname = current_database()"
)


async def open_pool(url: PostgresUrl, *, connect_seconds: float, **options: Any) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool, after waiting for the server for `connect_seconds` if need be. Raises `Unavailable` with the reason."""
    give_up = time.monotonic() + connect_seconds
    while True:
        try:
            return await _create_pool(url, connect_seconds=connect_seconds, **options)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            is_final = isinstance(
                error,
                asyncpg.InvalidAuthorizationSpecificationError
                | asyncpg.InvalidCatalogNameError
                | asyncpg.ClientConfigurationError
                | ValueError,
            )
            if is_final or time.monotonic() >= give_up:
                raise Unavailable(f"Cannot reach the database {url.safe}: {_reason(error)}") from error
        await asyncio.sleep(min(0.25, connect_seconds))


async def _create_pool(
    url: PostgresUrl,
    *,
    sizes: tuple[int, int],
    statement_seconds: float,
    connect_seconds: float,
    idle_seconds: float,
    application_name: str,
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool of at least and at most so many connections."""
    settings = {
        "timezone": "UTC",
        "application_name": application_name,
        "idle_in_transaction_session_timeout": str(MOST_IDLE_SECONDS * 1000),
    }
    if statement_seconds:
        settings["statement_timeout"] = str(int(statement_seconds * 1000))
    least, most = sizes
    return await asyncpg.create_pool(
        url.dsn,
        min_size=least,
        max_size=most,
        max_inactive_connection_lifetime=idle_seconds,
        # The server's limit does not end a statement whose answer never arrives.
        command_timeout=statement_seconds + _GRACE_SECONDS if statement_seconds else None,
        # Else a connection is closed after so many, at the end of a request and at its expense (see Lease).
        max_queries=sys.maxsize,
        timeout=max(connect_seconds, 1.0),
        connection_class=PooledConnection,
        server_settings=settings,
    )


def dialect_of(surroundings: Sequence[Any], url: PostgresUrl) -> PostgresDialect:
    """The dialect for what `SURROUNDINGS` has answered. Raises `Misconfigured` for a server that is too old."""
    version, collation, foldings = surroundings
    if version < OLDEST:
        raise Misconfigured(f"PostgreSQL {version} at {url.safe} is too old: {OLDEST} or newer is needed")
    folding = next((name for name in FOLDING_COLLATIONS if name in foldings), None)
    return PostgresDialect(
        collation="" if collation in _CODE_POINT_COLLATIONS else ' COLLATE "C"',
        folding=f' COLLATE "{folding}"' if folding else "",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(error) or type(error).__name__
