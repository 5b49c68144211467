"""What can be asked about jobs: their history and logs, why they wait, how the queues stand."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.graphs import Edge, On
from domain.job_ports import Dead
from domain.jobs import Job, JobEvent, JobState, JobStatus, LogLine, QueueStats
from domain.schedules import BACKFILL
from domain.workers import WorkerInfo
from infra.database.jobs.statements import EVENTS, Statements, quoted, stored_result
from infra.database.postgres import PostgresEngine

_WAITING = (JobState.QUEUED, JobState.SCHEDULED, JobState.RETRYING, JobState.BLOCKED)


class History(Statements):
    """Reads; nothing here changes a job."""

    async def find_many(self, ids: Sequence[str]) -> list[Job]:
        """The jobs with these ids, in the order of their ids."""
        arguments = self.arguments()
        return await self.fetch_jobs(f"{self.ids(arguments, ids)} ORDER BY id", arguments)

    async def dead(self, ids: Sequence[str] | None, limit: int) -> Dead:
        """Up to `limit` dead jobs that can run again, those of `ids` or any, the oldest first.

        At most `limit` of those that were passed over for them are named.
        """
        found = await self._dead(ids, limit, is_key_taken=False)
        last = found[-1].id if len(found) == limit else None
        return Dead(found, await self._dead(ids, limit, is_key_taken=True, before=last))

    async def _dead(
        self, ids: Sequence[str] | None, limit: int, *, is_key_taken: bool, before: str | None = None
    ) -> list[Job]:
        arguments = self.arguments()
        # For an EXISTS PostgreSQL would read all that is unfinished.
        holder = (
            f"SELECT 1 FROM {self.table} u{self.dialect.by_index('millrace_jobs_unique')} "
            f"WHERE u.unique_key = {self.table}.unique_key AND u.unique_key IS NOT NULL "
            "AND u.status IN ('pending', 'running') LIMIT 1"
        )
        condition = f"state = '{JobState.DEAD}' AND ({holder}) IS {'NOT ' if is_key_taken else ''}NULL"
        if ids is not None:
            condition += f" AND {self.ids(arguments, ids)}"
        if before is not None:
            condition += f" AND id < {arguments.bind(before)}"
        return await self.fetch_jobs(f"{condition} ORDER BY id LIMIT {arguments.bind(limit)}", arguments)

    async def of_graph(self, graph_id: str, *, lock: bool = False) -> list[Job]:
        """The jobs of a graph, in the order of their ids; `lock` keeps others from ending any of them meanwhile."""
        if lock:
            await self.lock_graphs([graph_id], "graph_id")
        arguments = self.arguments()
        return await self.fetch_jobs(f"graph_id = {arguments.bind(graph_id)} ORDER BY id", arguments)

    async def edges_of(self, graph_id: str) -> list[Edge]:
        """What depends on what in a graph; edges name jobs by id."""
        arguments = self.arguments()
        rows = await self.engine.fetch(
            "SELECT e.parent_id, e.child_id, e.condition FROM millrace_job_edges e "
            f"JOIN {self.table} j ON j.id = e.child_id WHERE j.graph_id = {arguments.bind(graph_id)} ORDER BY e.id",
            *arguments.values,
        )
        return [Edge(parent, child, On(condition)) for parent, child, condition in rows]

    async def parents_of(self, job_id: str) -> list[tuple[Job, On]]:
        """What a job waits for."""
        arguments = self.arguments()
        rows = await self.engine.fetch(
            "SELECT parent_id, condition FROM millrace_job_edges "
            f"WHERE child_id = {arguments.bind(job_id)} ORDER BY id",
            *arguments.values,
        )
        conditions = {parent: On(condition) for parent, condition in rows}
        return [(job, conditions[job.id]) for job in await self.find_many(list(conditions))]

    async def active_of_schedule(self, schedule_id: str) -> list[Job]:
        """The unfinished jobs of a schedule that its clock has submitted, and nobody by hand."""
        arguments = self.arguments()
        id, jobs = arguments.bind(schedule_id), self.table
        by_hand = (
            f"SELECT 1 FROM millrace_ticks t WHERE t.schedule_id = {id} AND t.fire_at = {jobs}.fire_at "
            f"AND t.job_id = {jobs}.id AND t.detail = {arguments.bind(BACKFILL)}"
        )
        condition = (
            f"schedule_id = {id} AND schedule_id IS NOT NULL AND status IN ('pending', 'running') "
            f"AND fire_at IS NOT NULL AND NOT EXISTS ({by_hand}) ORDER BY id"
        )
        return await self.fetch_jobs(condition, arguments)

    async def holders(self, concurrency_key: str) -> list[Job]:
        """The jobs that run with this key."""
        arguments = self.arguments()
        condition = (
            f"concurrency_key = {arguments.bind(concurrency_key)} AND status = 'running' ORDER BY started_at, id"
        )
        return await self.fetch_jobs(condition, arguments)

    async def risks(self, losses: int, *, within_seconds: float) -> list[Job]:
        """The jobs that run, have lost so many workers, and were begun with lately."""
        arguments = self.arguments()
        since = self.dialect.ago(arguments.bind(float(within_seconds)))
        condition = f"status = 'running' AND losses >= {arguments.bind(losses)} AND started_at > {since} ORDER BY id"
        return await self.fetch_jobs(condition, arguments)

    async def ahead_of(self, job: Job) -> int:
        """How many jobs of the same queue come first."""
        arguments = self.arguments()
        queue, priority, id = (arguments.bind(value) for value in (job.queue, job.priority, job.id))
        own = f"SELECT run_at FROM {self.table} WHERE id = {id}"
        is_before = (
            f"state = '{JobState.QUEUED}' AND queue = {queue} "
            f"AND (priority > {priority} OR (priority = {priority} AND (run_at, id) < (({own}), {id})))"
        )
        claim, keyed = (f"{self.table}{self.dialect.by_index(f'millrace_jobs_{name}')}" for name in ("claim", "keyed"))
        [(count,)] = await self.engine.fetch(
            f"SELECT (SELECT count(*) FROM {claim} WHERE {is_before} AND concurrency_key IS NULL) + "
            f"(SELECT count(*) FROM {keyed} WHERE {is_before} AND concurrency_key IS NOT NULL)",
            *arguments.values,
        )
        return int(count)

    async def seconds_until(self, job_id: str) -> float:
        """In how many seconds a job's time comes, by the database's clock."""
        arguments = self.arguments()
        rows = await self.engine.fetch(
            f"SELECT {self.dialect.seconds_from_now('run_at')} FROM {self.table} WHERE id = {arguments.bind(job_id)}",
            *arguments.values,
        )
        return float(rows[0][0]) if rows else 0.0

    async def workers(self, *, within_seconds: float) -> list[WorkerInfo]:
        """The workers that were heard of lately."""
        arguments = self.arguments()
        since = self.dialect.ago(arguments.bind(float(within_seconds)))
        rows = await self.engine.fetch(
            "SELECT id, host, pid, queues, kinds, concurrency, running, is_draining, processes, busy_processes "
            f"FROM millrace_workers WHERE seen_at > {since} ORDER BY id",
            *arguments.values,
        )
        return [
            WorkerInfo(
                id=id,
                host=host,
                pid=pid,
                queues=tuple(msgspec.json.decode(queues)),
                kinds=tuple(msgspec.json.decode(kinds)),
                concurrency=concurrency,
                running=running,
                is_draining=bool(is_draining),
                processes=processes,
                busy_processes=busy,
            )
            for id, host, pid, queues, kinds, concurrency, running, is_draining, processes, busy in rows
        ]

    async def events(self, job_id: str, *, after: int, limit: int) -> list[JobEvent]:
        """The history of a job, oldest first."""
        columns = ("id", "job_id", "at", "type", "attempt", "worker_id", "detail")
        rows = await self._lines(EVENTS, columns, job_id, after, limit)
        return [msgspec.convert({**row, "sequence": row["id"]}, JobEvent) for row in rows]

    async def logs(self, job_id: str, *, after: int, limit: int) -> list[LogLine]:
        """What a job wrote, oldest first."""
        columns = ("id", "at", "attempt", "stream", "text")
        rows = await self._lines("millrace_job_logs", columns, job_id, after, limit)
        return [msgspec.convert({**row, "sequence": row["id"]}, LogLine) for row in rows]

    async def _lines(
        self, table: str, columns: Sequence[str], job_id: str, after: int, limit: int
    ) -> list[Mapping[str, Any]]:
        arguments = self.arguments()
        of_job, behind, count = (arguments.bind(value) for value in (job_id, after, limit))
        rest = f"FROM {table} WHERE job_id = {of_job} AND id > {behind} ORDER BY id LIMIT {count}"
        if isinstance(self.engine, PostgresEngine):
            sql = f"SELECT row_to_json(q)::text FROM (SELECT {', '.join(columns)} {rest}) q"
        else:
            members = ", ".join(f"'{name}', {name}" for name in columns)
            sql = f"SELECT json_object({members}) {rest}"
        return [msgspec.json.decode(text) for (text,) in await self.engine.fetch(sql, *arguments.values)]

    async def result(self, job_id: str) -> bytes | None:
        """The result of a job as JSON, None when it has none."""
        arguments = self.arguments()
        as_text = "result::text" if isinstance(self.engine, PostgresEngine) else "result"
        rows = await self.engine.fetch(
            f"SELECT {as_text} FROM {self.table} WHERE id = {arguments.bind(job_id)}", *arguments.values
        )
        return stored_result(rows[0][0]) if rows else None

    async def count_waiting(self, limit: int) -> int:
        """How many jobs wait, counted up to `limit`."""
        arguments = self.arguments()
        rows = await self.engine.fetch(
            f"SELECT count(*) FROM (SELECT 1 FROM {self.table} WHERE status = '{JobStatus.PENDING}' "
            f"LIMIT {arguments.bind(limit)}) AS waiting",
            *arguments.values,
        )
        return int(rows[0][0])

    async def stats(self) -> list[QueueStats]:
        """How each queue stands. Rates are of the last minute, by the database's clock."""
        lately = self.dialect.ago("60.0")
        states = {
            state.value: f"count(*) FILTER (WHERE state = '{state}') AS {state}"
            for state in (*_WAITING, JobState.RUNNING, JobState.CANCELING, JobState.DEAD)
        }
        oldest = self.dialect.seconds_from_now(f"min(run_at) FILTER (WHERE state = '{JobState.QUEUED}')")
        rates = ", ".join(
            f"count(*) FILTER (WHERE status = '{status}' AND finished_at > {lately})"
            for status in ("completed", "failed")
        )
        rows = await self.engine.fetch(
            f"SELECT queue, {', '.join(states.values())}, -{oldest}, {rates} FROM {self.table} "
            f"WHERE state IN ({quoted(*_WAITING, JobState.RUNNING, JobState.CANCELING, JobState.DEAD)}) "
            f"OR finished_at > {lately} GROUP BY queue ORDER BY queue"
        )
        return [
            QueueStats(
                queue=queue,
                **dict(zip(states, counts[: len(states)], strict=True)),
                oldest_seconds=None if counts[-3] is None else max(float(counts[-3]), 0.0),
                completed_per_minute=counts[-2],
                failed_per_minute=counts[-1],
            )
            for queue, *counts in rows
        ]
