"""Where schedules are kept, and which of their ticks have been seen to."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, cast

import msgspec
from piccolo.columns import JSONB, BigInt, BigSerial, Boolean, DoublePrecision, Integer, Text, Timestamptz, Varchar
from piccolo.table import Table

from domain.schedules import SCHEDULES, ScheduledTask, Tick, TickOutcome
from domain.wire import timestamp_text
from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments, Compiler
from infra.database.table import EntityTable, Ulid, bounds_of, trusted

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(trusted(ScheduledTask)).decode
_MOST_FORGOTTEN = 1_000


class Schedules(EntityTable, tablename="millrace_schedules"):
    """One row per schedule; `next_fire_at` is what the workers look for."""

    name = Varchar(length=200, unique=True)
    task = Varchar(length=100)
    args = JSONB()
    cron = Varchar(length=200)
    time_zone = Varchar(length=100, default="UTC")
    overlap = Varchar(length=20)
    catch_up = Varchar(length=20)
    catch_up_limit = Integer(default=100)
    misfire_grace_seconds = DoublePrecision(default=60.0)
    jitter_seconds = DoublePrecision()
    start_at = Timestamptz(null=True, default=None)
    end_at = Timestamptz(null=True, default=None)
    is_paused = Boolean()
    queue = Varchar(length=100, null=True, default=None)
    priority = Integer(null=True, default=None)
    timeout_seconds = DoublePrecision(null=True, default=None)
    next_fire_at = Timestamptz(null=True, default=None, index=True)
    last_fire_at = Timestamptz(null=True, default=None)
    fired = BigInt()
    skipped = BigInt()
    missed = BigInt()


class Ticks(Table, tablename="millrace_ticks", db=CURRENT_ENGINE):
    """The ticks of schedules that were seen to. Its unique index makes sure that none fires twice."""

    id = BigSerial(primary_key=True)
    schedule_id = Ulid()
    fire_at = Timestamptz()
    at = Timestamptz()
    outcome = Varchar(length=20)
    job_id = Ulid(null=True)
    detail = Text(null=True, default=None)


class ScheduleDatabase:
    """`domain.job_ports.ScheduleStore`: what is due, by the database's clock."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        compiler = Compiler(SCHEDULES.bounded(bounds_of(Schedules)), Schedules, engine.dialect)
        self._json = compiler.row_json(tuple(SCHEDULES.fields))

    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[Any]:
        """A transaction, or a savepoint inside of the current one."""
        return self._engine.transaction(isolation=isolation, read_only=read_only)

    async def on_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` after the commit; at once outside of a transaction."""
        await self._engine.on_commit(callback)

    async def now(self) -> datetime:
        """The present moment."""
        if isinstance(self._engine, PostgresEngine):
            [(moment,)] = await self._engine.fetch("SELECT clock_timestamp()")
            return cast("datetime", moment)
        [(text,)] = await self._engine.fetch(f"SELECT {self._dialect.now}")
        return datetime.fromisoformat(text)

    async def due(self, kinds: Sequence[str], limit: int, *, without: Sequence[str] = ()) -> list[ScheduledTask]:
        """Schedules of tasks of these kinds that must fire now, locked until the transaction ends."""
        arguments = Arguments(self._dialect)
        rows = await self._engine.fetch(
            f"SELECT {self._json} FROM millrace_schedules WHERE {self._is_waiting(kinds, without, arguments)} "
            f"AND next_fire_at <= {self._dialect.now} ORDER BY next_fire_at "
            f"LIMIT {arguments.bind(limit)}{self._dialect.free_row_lock}",
            *arguments.values,
        )
        return [_decode(row[0]) for row in rows]

    async def seconds_until_due(self, kinds: Sequence[str], *, without: Sequence[str] = ()) -> float | None:
        """In how many seconds the next one must fire, None when there is none."""
        arguments = Arguments(self._dialect)
        seconds = self._dialect.seconds_from_now("min(next_fire_at)")
        [(found,)] = await self._engine.fetch(
            f"SELECT {seconds} FROM millrace_schedules WHERE {self._is_waiting(kinds, without, arguments)}",
            *arguments.values,
        )
        return None if found is None else float(found)

    def _is_waiting(self, kinds: Sequence[str], without: Sequence[str], arguments: Arguments) -> str:
        known = self._dialect.any_of("task", list(kinds), arguments.bind) if kinds else "1 = 0"
        others = f" AND NOT {self._dialect.any_of('id', list(without), arguments.bind)}" if without else ""
        return f"NOT is_paused AND next_fire_at IS NOT NULL AND {known}{others}"

    async def take(self, schedule_id: str, ticks: Sequence[Tick]) -> set[datetime]:
        """Record ticks; returns those that had not been recorded before."""
        if not ticks:
            return set()
        arguments = Arguments(self._dialect)
        kinds = {"fire_at": "timestamptz", "outcome": "varchar", "job_id": "varchar", "detail": "text"}
        rows = [
            {"fire_at": timestamp_text(t.fire_at), "outcome": t.outcome, "job_id": t.job_id, "detail": t.detail}
            for t in ticks
        ]
        source = self._dialect.rows(arguments.bind(_encode(rows).decode()), kinds)
        taken = await self._engine.fetch(
            "INSERT INTO millrace_ticks (schedule_id, fire_at, at, outcome, job_id, detail) "
            f"SELECT {arguments.bind(schedule_id)}, r.fire_at, {self._dialect.now}, r.outcome, r.job_id, r.detail "
            f"FROM {source} WHERE 1 = 1 ON CONFLICT (schedule_id, fire_at) DO NOTHING RETURNING fire_at",
            *arguments.values,
        )
        return {moment if isinstance(moment, datetime) else datetime.fromisoformat(moment) for (moment,) in taken}

    async def advance(
        self,
        schedule_id: str,
        *,
        next_fire_at: datetime | None,
        last_fire_at: datetime | None,
        fired: int,
        skipped: int,
        missed: int,
    ) -> None:
        """Set when a schedule fires next, and count what became of its ticks."""
        arguments = Arguments(self._dialect)
        bind = arguments.bind
        moments = [self._moment(moment) for moment in (next_fire_at, last_fire_at)]
        await self._engine.execute(
            f"UPDATE millrace_schedules SET next_fire_at = {bind(moments[0])}, last_fire_at = {bind(moments[1])}, "
            f"fired = fired + {bind(fired)}, skipped = skipped + {bind(skipped)}, missed = missed + {bind(missed)}, "
            f"updated_at = {self._dialect.now} WHERE id = {bind(schedule_id)}",
            *arguments.values,
        )

    def _moment(self, moment: datetime | None) -> Any:
        is_native = moment is None or isinstance(self._engine, PostgresEngine)
        return moment if is_native else timestamp_text(cast("datetime", moment))

    async def ticks(self, schedule_id: str, limit: int) -> list[Tick]:
        """The latest ticks of a schedule, newest first."""
        arguments = Arguments(self._dialect)
        rows = await self._engine.fetch(
            "SELECT fire_at, outcome, job_id, detail FROM millrace_ticks "
            f"WHERE schedule_id = {arguments.bind(schedule_id)} ORDER BY fire_at DESC LIMIT {arguments.bind(limit)}",
            *arguments.values,
        )
        return [
            Tick(
                fire_at if isinstance(fire_at, datetime) else datetime.fromisoformat(fire_at),
                TickOutcome(outcome),
                job_id=job_id,
                detail=detail,
            )
            for fire_at, outcome, job_id, detail in rows
        ]

    async def forget(self, schedule_ids: Sequence[str]) -> None:
        """Remove the ticks of schedules that are gone."""
        arguments = Arguments(self._dialect)
        gone = self._dialect.any_of("schedule_id", list(schedule_ids), arguments.bind)
        await self._engine.execute(f"DELETE FROM millrace_ticks WHERE {gone}", *arguments.values)

    async def forget_old_ticks(self, days: float) -> int:
        """Remove some of the ticks that were seen to more than `days` ago; returns how many."""
        arguments = Arguments(self._dialect)
        # They are numbered in the order in which they were seen to, so the oldest are found without an index.
        oldest = f"SELECT id, at FROM millrace_ticks ORDER BY id LIMIT {_MOST_FORGOTTEN}"
        until = self._dialect.ago(arguments.bind(days * 86_400.0))
        rows = await self._engine.fetch(
            f"DELETE FROM millrace_ticks WHERE id IN (SELECT o.id FROM ({oldest}) o WHERE o.at < {until}) RETURNING id",
            *arguments.values,
        )
        return len(rows)
