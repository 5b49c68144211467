"""How jobs end: by their worker, whose lease must still hold, or by someone who cancels them; and what follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.graphs import On, is_met
from domain.job_ports import Ended
from domain.jobs import Ending, Job, JobState
from infra.database.jobs.statements import Statements, storable_result

_ENDING: Mapping[str, str] = {
    "r_id": "varchar",
    "r_token": "varchar",
    "r_state": "varchar",
    "r_status": "varchar",
    "r_is_final": "int",
    "r_delay": "float8",
    "r_result": "text",
    "r_ref": "varchar",
    "r_artifact": "varchar",
    "r_error": "text",
    "r_traceback": "text",
    "r_undo": "int",
}
_MOST_LOST = 1_000
_CANCELED = f"'{JobState.CANCELED}'"
_CANCELING = f"'{JobState.CANCELING}'"


class Endings(Statements):
    """Jobs on their way out. Whatever ends a job decides in the same transaction which others are ready now."""

    async def finish(self, endings: Sequence[Ending]) -> Ended:
        """Record how runs ended; returns the jobs that this was still allowed for.

        The others have lost their lease: another worker has them, or they are gone.
        """
        arguments = self.arguments()
        source = self.rows(arguments, _ENDING, map(_row, endings))
        lock, is_locked = self.locked(arguments, [ending.job_id for ending in endings])
        json = "::jsonb" if self.is_postgres else ""
        # A job that was told to stop and failed, or was handed back, has been canceled. One that succeeded has not.
        is_stopped = f"state = {_CANCELING} AND r_state <> '{JobState.COMPLETED}'"
        is_final = f"(r_is_final = 1 OR ({is_stopped}))"
        update = (
            f"UPDATE {self.table} SET state = CASE WHEN {is_stopped} THEN {_CANCELED} ELSE r_state END, "
            f"status = CASE WHEN {is_stopped} THEN 'canceled' ELSE r_status END, "
            f"attempt = attempt - CASE WHEN {is_stopped} THEN 0 ELSE r_undo END, result = r_result{json}, "
            f"result_ref = r_ref, artifact_id = r_artifact, error = r_error, error_traceback = r_traceback, "
            f"finished_at = CASE WHEN {is_final} THEN {self.now} END, "
            f"run_at = CASE WHEN r_delay IS NOT NULL THEN {self.dialect.later('r_delay')} ELSE run_at END, "
            f"lease_token = NULL, lease_until = NULL, updated_at = {self.now}, revision = revision + 1 "
            f"FROM {source} WHERE id = r_id AND lease_token = r_token{is_locked}"
        )
        event = f"CASE WHEN state = '{JobState.QUEUED}' THEN 'released' ELSE state END"
        in_graphs = [ending.job_id for ending in endings if ending.is_in_graph]
        if not in_graphs:
            return Ended(await self.changed(update, arguments, event=event, detail="error", head=lock), [])
        async with self.transaction():
            await self.lock_graphs(in_graphs)
            jobs = await self.changed(update, arguments, event=event, detail="error", head=lock)
            return Ended(jobs, await self.settle(jobs))

    async def cancel(self, ids: Sequence[str], *, is_at_once: bool = False) -> Ended:
        """Cancel jobs: those that wait are canceled now, those that run are told to stop. Ended ones are left out.

        With `is_at_once` those that run are canceled now too, and their workers have lost them.
        """
        is_over = "status IN ('pending', 'running')" if is_at_once else "status = 'pending'"
        still = "" if is_at_once else f" AND state <> {_CANCELING}"
        async with self.transaction():
            await self.lock_graphs(ids)
            await self.lock(ids)
            arguments = self.arguments()
            update = (
                f"UPDATE {self.table} SET state = CASE WHEN {is_over} THEN {_CANCELED} ELSE {_CANCELING} END, "
                f"status = CASE WHEN {is_over} THEN 'canceled' ELSE status END, "
                f"finished_at = CASE WHEN {is_over} THEN {self.now} END, "
                f"lease_token = CASE WHEN {is_over} THEN NULL ELSE lease_token END, "
                f"lease_until = CASE WHEN {is_over} THEN NULL ELSE lease_until END, "
                f"updated_at = {self.now}, revision = revision + 1 "
                f"WHERE {self.ids(arguments, ids)} AND status IN ('pending', 'running'){still}"
            )
            jobs = await self.changed(update, arguments, event="state")
            return Ended(jobs, await self.settle(jobs))

    async def reap(self, max_losses: int) -> Ended:
        """Take jobs from workers whose lease has run out: they wait again, or are dead after so many losses."""
        is_lost = f"status = 'running' AND lease_until < {self.dialect.began}"
        leases = f"{self.table}{self.dialect.by_index('millrace_jobs_leases')}"
        found = await self.engine.fetch(f"SELECT id FROM {leases} WHERE {is_lost} ORDER BY id LIMIT {_MOST_LOST}")
        if not found:
            return Ended([], [])
        ids = [id for (id,) in found]
        arguments = self.arguments()
        limit = arguments.bind(max_losses)
        is_stopped = f"state = {_CANCELING}"
        is_dead = f"losses + 1 >= {limit}"
        error = "'WorkerLost: the worker disappeared ' || (losses + 1) || ' times while it ran this job'"
        update = (
            f"UPDATE {self.table} SET losses = losses + 1, "
            f"state = CASE WHEN {is_stopped} THEN {_CANCELED} WHEN {is_dead} THEN '{JobState.DEAD}' "
            f"ELSE '{JobState.QUEUED}' END, "
            f"status = CASE WHEN {is_stopped} THEN 'canceled' WHEN {is_dead} THEN 'failed' ELSE 'pending' END, "
            f"error = CASE WHEN {is_stopped} THEN NULL WHEN {is_dead} THEN {error} ELSE error END, "
            f"finished_at = CASE WHEN {is_stopped} OR {is_dead} THEN {self.now} END, "
            f"lease_token = NULL, lease_until = NULL, updated_at = {self.now}, revision = revision + 1 "
            f"WHERE id IN (SELECT id FROM {self.table} WHERE {self.ids(arguments, ids)} AND {is_lost} "
            f"ORDER BY id{self.dialect.free_row_lock})"
        )
        event = f"CASE WHEN state = '{JobState.QUEUED}' THEN 'lost' ELSE state END"
        async with self.transaction():
            await self.lock_graphs(ids)
            jobs = await self.changed(update, arguments, event=event, detail="error")
            return Ended(jobs, await self.settle(jobs))

    async def settle(self, ended: Sequence[Job]) -> list[Job]:
        """Decide what the end of jobs means for those that wait for them; returns those that are ready now.

        Their graphs are locked already.
        """
        ready: list[Job] = []
        frontier = {job.id: job.state for job in ended if job.is_final and job.graph_id is not None}
        while frontier:
            arguments = self.arguments()
            found = await self.engine.fetch(
                "SELECT parent_id, child_id, condition FROM millrace_job_edges "
                f"WHERE {self.ids(arguments, sorted(frontier), 'parent_id')}",
                *arguments.values,
            )
            met: dict[str, int] = {}
            unmet: set[str] = set()
            for parent, child, condition in found:
                if is_met(On(condition), frontier[parent]):
                    met[child] = met.get(child, 0) + 1
                else:
                    unmet.add(child)
            ready += await self._unblock({child: count for child, count in met.items() if child not in unmet})
            frontier = {job.id: job.state for job in await self._skip(sorted(unmet))}
        return ready

    async def _unblock(self, met: Mapping[str, int]) -> list[Job]:
        if not met:
            return []
        arguments = self.arguments()
        rows = [{"r_id": id, "r_met": count} for id, count in sorted(met.items())]
        source = self.rows(arguments, {"r_id": "varchar", "r_met": "int"}, rows)
        changed = await self.changed(
            f"UPDATE {self.table} SET waits_for = waits_for - r_met, state = CASE "
            f"WHEN waits_for > r_met THEN state WHEN run_at > {self.now} THEN '{JobState.SCHEDULED}' "
            f"ELSE '{JobState.QUEUED}' END, updated_at = {self.now}, revision = revision + 1 "
            f"FROM {source} WHERE id = r_id AND state = '{JobState.BLOCKED}'",
            arguments,
            event=f"CASE WHEN state = '{JobState.BLOCKED}' THEN 'waiting' ELSE 'ready' END",
        )
        return [job for job in changed if job.state is JobState.QUEUED]

    async def _skip(self, ids: Sequence[str]) -> list[Job]:
        if not ids:
            return []
        arguments = self.arguments()
        return await self.changed(
            f"UPDATE {self.table} SET state = '{JobState.SKIPPED}', status = 'canceled', finished_at = {self.now}, "
            f"updated_at = {self.now}, revision = revision + 1 "
            f"WHERE {self.ids(arguments, ids)} AND state = '{JobState.BLOCKED}'",
            arguments,
            event="state",
        )


def _row(ending: Ending) -> dict[str, Any]:
    return {
        "r_id": ending.job_id,
        "r_token": ending.lease_token,
        "r_state": ending.state,
        "r_status": ending.status,
        "r_is_final": int(ending.is_final),
        "r_delay": ending.delay_seconds,
        "r_result": storable_result(ending.result),
        "r_ref": ending.result_ref,
        "r_artifact": ending.artifact_id,
        "r_error": ending.error,
        "r_traceback": ending.traceback,
        "r_undo": int(ending.is_undone),
    }
