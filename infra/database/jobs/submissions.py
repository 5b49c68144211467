"""Puts jobs into the database, inside of the caller's transaction, and takes them out again."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.errors import Conflict
from domain.graphs import Edge, Graph
from domain.jobs import FINAL, Job, JobState, NewJob
from domain.wire import timestamp_text
from infra.database.jobs.endings import Endings
from infra.database.jobs.statements import EVENTS, quoted

_ACTIVE = "status IN ('pending', 'running')"
_COLUMNS: Mapping[str, str] = {
    "id": "varchar",
    "tags": "text",
    "kind": "varchar",
    "label": "varchar",
    "queue": "varchar",
    "priority": "int",
    "args": "text",
    "run_at": "timestamptz",
    "delay_seconds": "float8",
    "max_attempts": "int",
    "retry_policy": "text",
    "timeout_seconds": "float8",
    "unique_key": "varchar",
    "concurrency_key": "varchar",
    "concurrency_limit": "int",
    "graph_id": "varchar",
    "node": "varchar",
    "waits_for": "int",
    "schedule_id": "varchar",
    "fire_at": "timestamptz",
    "trace_id": "varchar",
    "principal": "varchar",
    "tenant": "varchar",
    "traceparent": "varchar",
}
_TAKEN = tuple(name for name in _COLUMNS if name not in {"tags", "args", "retry_policy", "run_at", "delay_seconds"})
_encode = msgspec.json.Encoder().encode


class Submissions(Endings):
    """Jobs on their way in: new ones, and ended ones that are to be run again."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Store new jobs; those whose unique key an unfinished job has are left out of the result.

        Raises `Conflict` when an id is taken.
        """
        arguments = self.arguments()
        source = self.rows(arguments, _COLUMNS, map(_row, jobs))
        tags = "ARRAY(SELECT jsonb_array_elements_text(r.tags::jsonb))" if self.is_postgres else "r.tags"
        json = "::jsonb" if self.is_postgres else ""
        later = self.dialect.later("r.delay_seconds")
        run_at = f"CASE WHEN r.delay_seconds IS NOT NULL THEN {later} ELSE coalesce(r.run_at, {self.now}) END"
        is_later = f"(coalesce(r.delay_seconds, 0) > 0 OR (r.delay_seconds IS NULL AND r.run_at > {self.now}))"
        state = (
            f"CASE WHEN r.waits_for > 0 THEN '{JobState.BLOCKED}' WHEN {is_later} THEN '{JobState.SCHEDULED}' "
            f"ELSE '{JobState.QUEUED}' END"
        )
        taken = ", ".join(_TAKEN)
        order = ' COLLATE "C"' if self.is_postgres else ""
        insert = (
            f"INSERT INTO {self.table} ({taken}, tags, args, retry_policy, run_at, state, status, submitted_at, "
            f"created_at, updated_at, attempt, losses, revision) "
            f"SELECT {', '.join(f'r.{name}' for name in _TAKEN)}, {tags}, r.args{json}, r.retry_policy{json}, "
            f"{run_at}, {state}, 'pending', {self.now}, {self.now}, {self.now}, 0, 0, 1 FROM {source} WHERE 1 = 1 "
            # Two who insert the same keys wait for each other's in the same order, which is that of Python, too.
            f"ORDER BY r.unique_key{order}, r.id "
            f"ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND {_ACTIVE} DO NOTHING"
        )
        return await self.changed(insert, arguments, event="'submitted'")

    async def find_unique(self, keys: Sequence[str]) -> list[Job]:
        """The unfinished jobs with these unique keys."""
        arguments = self.arguments()
        chosen = f"{self.ids(arguments, keys, 'unique_key')} AND unique_key IS NOT NULL AND {_ACTIVE}"
        return await self.fetch_jobs(chosen, arguments, index="millrace_jobs_unique")

    async def insert_graph(self, graph: Graph, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> list[Job]:
        """Store a graph, all of it or nothing; edges name jobs by id. Raises `Conflict` for a taken unique key."""
        async with self.transaction():
            arguments = self.arguments()
            bound = ", ".join(
                arguments.bind(value)
                for value in (graph.id, graph.label, graph.size, graph.trace_id, graph.principal, graph.tenant)
            )
            no_tags = "ARRAY[]::varchar[]" if self.is_postgres else "'[]'"
            await self.engine.execute(
                "INSERT INTO millrace_graphs (id, label, size, trace_id, principal, tenant, submitted_at, created_at, "
                f"updated_at, tags) VALUES ({bound}, {self.now}, {self.now}, {self.now}, {no_tags})",
                *arguments.values,
            )
            inserted = await self.insert(jobs)
            if len(inserted) != len(jobs):
                left_out = {job.id for job in jobs} - {job.id for job in inserted}
                job = next(job for job in jobs if job.id in left_out)
                raise Conflict(f'An unfinished job with the unique key "{job.unique_key}" of node "{job.node}" exists')
            await self._insert_edges(edges)
        return inserted

    async def _insert_edges(self, edges: Sequence[Edge]) -> None:
        if not edges:
            return
        arguments = self.arguments()
        rows = [{"parent": edge.parent, "child": edge.child, "condition": edge.on.value} for edge in edges]
        source = self.rows(arguments, dict.fromkeys(("parent", "child", "condition"), "varchar"), rows)
        await self.engine.execute(
            "INSERT INTO millrace_job_edges (parent_id, child_id, condition) "
            f"SELECT r.parent, r.child, r.condition FROM {source}",
            *arguments.values,
        )

    async def requeue(self, waits: Mapping[str, int]) -> list[Job]:
        """Let ended jobs run again, with all their attempts; `waits` says for how many others each waits first.

        Jobs that have not ended are left out. Raises `Conflict` when another job has taken a unique key meanwhile.
        """
        arguments = self.arguments()
        rows = [{"r_id": id, "r_waits": count} for id, count in waits.items()]
        source = self.rows(arguments, {"r_id": "varchar", "r_waits": "int"}, rows)
        head = ""
        if self.is_postgres:
            # In the order in which `insert` takes keys: two who want the same ones wait in no circle.
            lock, is_locked = self.locked(arguments, list(waits))
            keys = f"SELECT r_id, r_waits FROM {source} JOIN {self.table} ON id = r_id{is_locked}"
            head, source = f"{lock}, r AS MATERIALIZED ({keys} ORDER BY unique_key, id)", "r"
        final = quoted(*sorted(FINAL))
        update = (
            f"UPDATE {self.table} SET status = 'pending', "
            f"state = CASE WHEN r_waits > 0 THEN '{JobState.BLOCKED}' ELSE '{JobState.QUEUED}' END, "
            "waits_for = r_waits, attempt = 0, losses = 0, error = NULL, error_traceback = NULL, result = NULL, "
            "result_ref = NULL, artifact_id = NULL, progress = NULL, started_at = NULL, finished_at = NULL, "
            f"worker_id = NULL, run_at = {self.now}, updated_at = {self.now}, revision = revision + 1 "
            f"FROM {source} WHERE id = r_id AND state IN ({final})"
        )
        return await self.changed(update, arguments, event="'requeued'", head=head)

    async def delete(self, ids: Sequence[str], *, is_over: bool = False) -> int:
        """Remove jobs with everything that is known of them; returns how many there were.

        With `is_over` those are left out that have not ended, and those of graphs that have not.
        """
        async with self.transaction():
            await self.lock_graphs(ids)
            # Before all else: whoever still writes about the jobs has done so by now, or will find them gone.
            await self.lock(ids)
            if is_over:
                ids = await self._over(ids)
            for table, column in (
                (EVENTS, "job_id"),
                ("millrace_job_logs", "job_id"),
                ("millrace_job_edges", "parent_id"),
                ("millrace_job_edges", "child_id"),
            ):
                arguments = self.arguments()
                await self.engine.execute(
                    f"DELETE FROM {table} WHERE {self.ids(arguments, ids, column)}", *arguments.values
                )
            arguments = self.arguments()
            sql = f"DELETE FROM {self.table} WHERE {self.ids(arguments, ids)} RETURNING graph_id"
            rows = await self.engine.fetch(sql, *arguments.values)
            graphs = sorted({graph for (graph,) in rows if graph is not None})
            if graphs:
                arguments = self.arguments()
                await self.engine.execute(
                    f"DELETE FROM millrace_graphs WHERE {self.ids(arguments, graphs)} AND NOT EXISTS "
                    f"(SELECT 1 FROM {self.table} j WHERE j.graph_id = millrace_graphs.id)",
                    *arguments.values,
                )
        return len(rows)

    async def _over(self, ids: Sequence[str]) -> list[str]:
        """Those of these jobs that have ended, together with the whole graph they are in. They are locked already."""
        arguments = self.arguments()
        rows = await self.engine.fetch(
            f"SELECT id FROM {self.table} j WHERE {self.ids(arguments, ids)} AND finished_at IS NOT NULL "
            f"AND NOT EXISTS (SELECT 1 FROM {self.table} g WHERE g.graph_id = j.graph_id AND g.finished_at IS NULL)",
            *arguments.values,
        )
        return [id for (id,) in rows]


def _row(job: NewJob) -> dict[str, Any]:
    row = {name: getattr(job, name) for name in _COLUMNS}
    for name in ("run_at", "fire_at"):
        row[name] = timestamp_text(row[name]) if row[name] is not None else None
    for name in ("tags", "args", "retry_policy"):
        row[name] = _encode(row[name]).decode()
    return row
