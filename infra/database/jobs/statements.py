"""What all statements about jobs share: rows in and out as JSON, locks, and a line of history for every change."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from domain.jobs import JOBS, Job, JobState
from infra.database.engine import DatabaseEngine
from infra.database.jobs.tables import JobEvents, Jobs
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments, Compiler
from infra.database.table import bounds_of, trusted

JOB_RESOURCE = JOBS.bounded(bounds_of(Jobs))
EVENTS = JobEvents._meta.tablename
# Results can be large, and who wants one asks for it.
_SHOWN = tuple(name for name in JOB_RESOURCE.fields if name != "result")
_encode = msgspec.json.Encoder().encode


_decode_job = msgspec.json.Decoder(trusted(Job)).decode


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
        self.is_postgres = isinstance(engine, PostgresEngine)
        # The lock that an UPDATE takes. No other kind is taken of jobs, above all none that several can share: while
        # one of these is alive, PostgreSQL wants the next one to wait for versions of the row that are long gone.
        self.change_lock = " FOR NO KEY UPDATE" if self.is_postgres else ""
        self._json = self.compiler.row_json(_SHOWN)

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

    # Locks. Whoever changes several jobs locks them in the order of their ids, and before them the graphs they are
    # in: so nobody waits for somebody who waits for him. SQLite has one writer at a time and needs none of it.

    def locked(self, arguments: Arguments, ids: Sequence[str]) -> tuple[str, str]:
        """What makes one statement lock the jobs that it changes in order: a common table expression for its head,
        and a condition behind its others.
        """
        if not self.is_postgres:
            return "", ""
        chosen = f"SELECT id FROM {self.table} WHERE {self.ids(arguments, ids)} ORDER BY id{self.change_lock}"
        return f"locked AS MATERIALIZED ({chosen})", " AND id IN (SELECT id FROM locked)"

    async def lock(self, ids: Sequence[str]) -> None:
        """Lock jobs until the transaction ends."""
        if self.is_postgres:
            arguments = self.arguments()
            condition = self.ids(arguments, ids)
            await self.engine.fetch(
                f"SELECT id FROM {self.table} WHERE {condition} ORDER BY id{self.change_lock}", *arguments.values
            )

    async def lock_graphs(self, ids: Sequence[str], column: str = "id") -> None:
        """Lock the graphs of these jobs until the transaction ends: what happens in a graph happens one after the
        other, so that of two who end the last parents of a job one sees that it is ready.
        """
        if self.is_postgres:
            arguments = self.arguments()
            graphs = f"SELECT graph_id FROM {self.table} WHERE {self.ids(arguments, ids, column)}"
            await self.engine.fetch(
                f"SELECT id FROM millrace_graphs WHERE id IN ({graphs}) ORDER BY id{self.change_lock}",
                *arguments.values,
            )

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
        if self.is_postgres:
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

    async def fetch_jobs(self, condition: str, arguments: Arguments, *, index: str = "") -> list[Job]:
        """The jobs that fulfil a condition, and whatever stands behind it; `index` is the one that finds them."""
        jobs = f"{self.table}{self.dialect.by_index(index)}" if index else self.table
        rows = await self.engine.fetch(f"SELECT {self._json} FROM {jobs} WHERE {condition}", *arguments.values)
        return [_decode_job(row[0]) for row in rows]


def storable_result(result: bytes | None) -> str | None:
    """How a result is stored: as a JSON string that holds its text, for the databases themselves change numbers (1e23
    becomes an integer, the 17th digit is lost), and not all can hold a NUL.
    """
    return None if result is None else _encode(result.decode()).decode()


def stored_result(text: str | None) -> bytes | None:
    """The JSON of a result out of what is stored of it."""
    return None if text is None else msgspec.json.decode(text, type=str).encode()


def quoted(*states: JobState) -> str:
    """States as a list in SQL."""
    return ", ".join(f"'{state}'" for state in states)


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Jobs in the order in which they are to be run."""
    return sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id))
