"""What all statements about jobs share: rows in and out as JSON, and a line of history for every change."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from domain.jobs import JOBS, Job, JobState
from infra.database.engine import DatabaseEngine
from infra.database.jobs.tables import JobEvents, Jobs
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments, Compiler
from infra.database.table import bounds_of

JOB_RESOURCE = JOBS.bounded(bounds_of(Jobs))
EVENTS = JobEvents._meta.tablename
_encode = msgspec.json.Encoder().encode
_decode_job = msgspec.json.Decoder(Job).decode


class Statements:
    """Runs statements about jobs on either database.

    Every moment comes from the database's own clock, so clocks of workers that disagree change nothing.
    """

    def __init__(self, engine: DatabaseEngine) -> None:
        self.engine = engine
        self.dialect = engine.dialect
        self.compiler = Compiler(JOB_RESOURCE, Jobs, engine.dialect)
        self.table = self.compiler.table
        self.now = engine.dialect.now
        self._json = self.compiler.row_json(tuple(JOB_RESOURCE.fields))

    def arguments(self) -> Arguments:
        """An empty list of arguments in the dialect of the database."""
        return Arguments(self.dialect)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """One change of the jobs; joins the one around it."""
        return self.engine.transaction()

    def ids(self, arguments: Arguments, ids: Sequence[str], column: str = "id") -> str:
        """Whether the column is one of `ids`."""
        return self.dialect.any_of(column, list(ids), arguments.bind) if ids else "1 = 0"

    def rows(self, arguments: Arguments, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> str:
        """Rows of values as the table `r`, passed as one argument."""
        return self.dialect.rows(arguments.bind(_encode(list(rows)).decode()), columns)

    async def changed(
        self,
        change: str,
        arguments: Arguments,
        *,
        event: str,
        detail: str = "NULL",
        head: str = "",
        is_needed: bool = True,
    ) -> list[Job]:
        """Run an INSERT or UPDATE of jobs and write the `event` (an expression over the changed job) into the history
        of each; returns the jobs as they are now, or nothing when they are not needed.

        `head` are common table expressions that the change refers to.
        """
        note = f"SELECT id, {self.now}, {event}, attempt, worker_id, {detail}"
        columns = "(job_id, at, type, attempt, worker_id, detail)"
        if isinstance(self.engine, PostgresEngine):
            shown = self._json if is_needed else "id"
            rows = await self.engine.fetch(
                f"WITH {head}{', ' if head else ''}changed AS ({change} RETURNING {self.table}.*), "
                f"noted AS (INSERT INTO {EVENTS} {columns} {note} FROM changed) SELECT {shown} FROM changed",
                *arguments.values,
            )
            return [_decode_job(row[0]) for row in rows] if is_needed else []
        async with self.transaction():
            before = f"WITH {head} " if head else ""
            rows = await self.engine.fetch(f"{before}{change} RETURNING {self._json}", *arguments.values)
            jobs = [_decode_job(row[0]) for row in rows]
            if jobs:
                noting = self.arguments()
                noting_ids = self.ids(noting, [job.id for job in jobs])
                await self.engine.execute(
                    f"INSERT INTO {EVENTS} {columns} {note} FROM {self.table} WHERE {noting_ids}", *noting.values
                )
        return jobs if is_needed else []

    async def fetch_jobs(self, condition: str, arguments: Arguments) -> list[Job]:
        """The jobs that fulfil a condition, and whatever stands behind it."""
        rows = await self.engine.fetch(f"SELECT {self._json} FROM {self.table} WHERE {condition}", *arguments.values)
        return [_decode_job(row[0]) for row in rows]


class _Stored(msgspec.Struct):
    """How a result is stored."""

    value: msgspec.Raw


_decode_stored = msgspec.json.Decoder(_Stored).decode


def stored_result(text: str | None) -> bytes | None:
    """The JSON of a result out of what is stored of it."""
    return None if text is None else bytes(_decode_stored(text).value)


def quoted(*states: JobState) -> str:
    """States as a list in SQL."""
    return ", ".join(f"'{state}'" for state in states)


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Jobs in the order in which they are to be run."""
    return sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id))
