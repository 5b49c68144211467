"""Where the replies to requests with a key are kept, in the transaction of what the requests have changed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from piccolo.columns import Bytea, Integer, Text, Timestamptz, Varchar
from piccolo.table import Table

from domain.idempotency import KeptReply, RequestInFlight
from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments

# Some of what is outdated goes with every so many that come, and more than come.
_SWEEP_EVERY = 16
_SWEPT = 64

_encode = msgspec.json.Encoder().encode
_COLUMNS = ("fingerprint", "status", "headers", "body")
_decode_headers = msgspec.json.Decoder(list[tuple[str, str]]).decode


class IdempotencyKeys(Table, tablename="millrace_idempotency", db=CURRENT_ENGINE):
    """One row per request that was answered. `key` is a hash of the client's and of whose it is."""

    key = Varchar(length=64, primary_key=True)
    fingerprint = Varchar(length=64)
    status = Integer()
    headers = Text()
    body = Bytea(null=True, default=None)
    expires_at = Timestamptz(index=True)


class ReplyDatabase:
    """`domain.idempotency.Replies`, by the database's clock."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._in_flight: set[str] = set()
        self._kept = 0

    @asynccontextmanager
    async def answering(self, key: str) -> AsyncIterator[KeptReply | None]:
        """A transaction in which to answer a request, with what was replied if that was done already."""
        if isinstance(self._engine, PostgresEngine):
            async with self._engine.transaction():
                yield await self._locked(key)
            return
        # Nobody shall wait for the only writer to hear of a key that is in flight, or was answered long ago.
        kept = None if key in self._in_flight else await self.find(key)
        if kept is not None:
            yield kept
            return
        if key in self._in_flight:
            raise RequestInFlight
        self._in_flight.add(key)
        try:
            async with self._engine.transaction():
                # Again, for it may have been answered while this one waited, by another process too.
                yield await self.find(key)
        finally:
            self._in_flight.discard(key)

    async def _locked(self, key: str) -> KeptReply | None:
        """What was replied; without that, the key is locked until the transaction ends. Raises `RequestInFlight`.

        One statement: if the one who had the key has committed since it began, `keep` finds that out.
        """
        [(is_mine, *row)] = await self._engine.fetch(
            f"SELECT CASE WHEN key IS NULL THEN pg_try_advisory_xact_lock($2) END, {', '.join(_COLUMNS)} "
            "FROM (SELECT) one LEFT JOIN millrace_idempotency "
            f"ON key = $1 AND expires_at > {self._dialect.began}",
            key,
            int.from_bytes(bytes.fromhex(key[:16]), signed=True),
        )
        if is_mine is None:
            return _reply(row)
        if not is_mine:
            raise RequestInFlight
        return None

    async def find(self, key: str) -> KeptReply | None:
        """What was replied, as long as it is kept."""
        rows = await self._engine.fetch(
            f"SELECT {', '.join(_COLUMNS)} FROM millrace_idempotency "
            f"WHERE key = {self._dialect.placeholder(1)} AND expires_at > {self._dialect.began}",
            key,
        )
        return _reply(rows[0]) if rows else None

    async def keep(self, key: str, reply: KeptReply, *, ttl_seconds: float) -> None:
        """Keep a reply, in that transaction, and forget some that were kept for long enough."""
        arguments = Arguments(self._dialect)
        values = [key, reply.fingerprint, reply.status, _encode(reply.headers).decode(), reply.body]
        columns = (*_COLUMNS, "expires_at")
        rows = await self._engine.fetch(
            f"INSERT INTO millrace_idempotency AS kept (key, {', '.join(columns)}) "
            f"VALUES ({', '.join(map(arguments.bind, values))}, {self._dialect.later(arguments.bind(ttl_seconds))}) "
            f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)} "
            f"WHERE kept.expires_at <= {self._dialect.began} RETURNING key",
            *arguments.values,
        )
        if not rows:
            # Somebody else has kept one meanwhile, so whatever this one has changed must not be.
            raise RequestInFlight
        self._kept += 1
        if self._kept % _SWEEP_EVERY == 0:
            await forget_replies(self._engine, _SWEPT)


async def forget_replies(engine: DatabaseEngine, most: int) -> None:
    """Remove some of the replies that were kept for long enough."""
    outdated = (
        f"SELECT key FROM millrace_idempotency WHERE expires_at <= {engine.dialect.began} "
        f"ORDER BY expires_at LIMIT {most}{engine.dialect.free_row_lock}"
    )
    await engine.execute(f"DELETE FROM millrace_idempotency WHERE key IN ({outdated})")


def _reply(row: Sequence[Any]) -> KeptReply:
    fingerprint, status, headers, body = row
    return KeptReply(fingerprint=fingerprint, status=status, headers=_decode_headers(headers), body=body)
