"""Lets dead jobs run again: as many as can, whatever keeps the others from it."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from domain.graphs import rerun_plan
from domain.job_ports import JobStore
from domain.jobs import IllegalTransition, Job


class Requeued(msgspec.Struct, frozen=True):
    """The jobs that run again, and why others do not, by their ids."""

    jobs: list[Job]
    left_out: dict[str, str]


class _Revival(msgspec.Struct, frozen=True):
    """What runs again together: the dead ones asked for, and all `jobs` that do so with them, as `waits` says."""

    dead: list[str]
    jobs: list[Job]
    waits: dict[str, int]


class DeadLetters:
    """The dead jobs of a store."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def requeue(self, ids: Sequence[str] | None, limit: int) -> Requeued:
        """Let those of `ids` that are dead run again, or the first `limit` that can.

        The caller's transaction is around it. All graphs are locked first, then all jobs by one statement, each in the
        order of their ids: so nobody who does the same waits in a circle.
        """
        dead = await self._store.dead(ids, limit)
        # Of those with the same key the newest may.
        alone = [_Revival([job.id], [job], {job.id: 0}) for job in reversed(dead.jobs) if job.graph_id is None]
        in_graphs, left_out = await self._in_graphs([job for job in dead.jobs if job.graph_id is not None])
        revivals = [*alone, *in_graphs]
        holders = await self._holders([*dead.passed_over, *(job for revival in revivals for job in revival.jobs)])
        left_out |= {job.id: why for job in dead.passed_over if (why := _in_the_way([job], holders))}
        waits: dict[str, int] = {}
        for revival in revivals:
            if why := _in_the_way(revival.jobs, holders):
                left_out |= dict.fromkeys(revival.dead, why)
            else:
                waits |= revival.waits
                holders |= {job.unique_key: job.id for job in revival.jobs if job.unique_key is not None}
        jobs = [job for revival in revivals for job in revival.jobs if job.id in waits]
        changed = await self._again(jobs, waits)
        return Requeued(sorted(changed, key=lambda job: job.id), left_out)

    async def _again(self, jobs: Sequence[Job], waits: Mapping[str, int]) -> list[Job]:
        """Let jobs run again. Keys are taken one by one in the order in which new jobs take theirs.

        No single statement promises an order, and whoever takes the same keys in another one waits in a circle.
        """
        if not jobs:
            return []
        await self._store.lock([job.id for job in jobs])
        free = {job.id: waits[job.id] for job in jobs if job.unique_key is None}
        changed = await self._store.requeue(free) if free else []
        keyed = {job.unique_key: job.id for job in jobs if job.unique_key is not None}
        for key in sorted(keyed):
            changed += await self._store.requeue({keyed[key]: waits[keyed[key]]})
        return changed

    async def _in_graphs(self, dead: Sequence[Job]) -> tuple[list[_Revival], dict[str, str]]:
        """What runs again in each graph, and why it does not where it cannot."""
        revivals: list[_Revival] = []
        left_out: dict[str, str] = {}
        await self._store.lock_graphs([job.id for job in dead])
        for graph_id in dict.fromkeys(job.graph_id for job in dead if job.graph_id is not None):
            start = [job.id for job in dead if job.graph_id == graph_id]
            jobs, edges = await self._store.of_graph(graph_id), await self._store.edges_of(graph_id)
            try:
                waits = rerun_plan(start, jobs, edges)
            except IllegalTransition as error:
                left_out |= dict.fromkeys(start, error.detail)
            else:
                revivals.append(_Revival(start, [job for job in jobs if job.id in waits], waits))
        return revivals, left_out

    async def _holders(self, jobs: Iterable[Job]) -> dict[str | None, str]:
        """The unfinished jobs that have the keys of these, by key."""
        keys = {job.unique_key for job in jobs if job.unique_key is not None}
        return {job.unique_key: job.id for job in await self._store.find_unique(sorted(keys))} if keys else {}


def _in_the_way(jobs: Sequence[Job], holders: dict[str | None, str]) -> str | None:
    """Why these jobs cannot run again: another one has a unique key of theirs."""
    for job in jobs:
        if job.unique_key in holders:
            return f'job {holders[job.unique_key]} has the same unique key "{job.unique_key}"'
    return None
