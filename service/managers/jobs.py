"""Operations on jobs: submit them, look after them, say why they wait."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from domain.bodies import nul_errors
from domain.context import current_context
from domain.errors import MOST_ERRORS, Conflict
from domain.graphs import parts_of, rerun_plan
from domain.job_ports import JobStore
from domain.jobs import IllegalTransition, Job, JobEvent, JobState, LogLine, NewJob, QueueStats, Retention
from domain.ports import Doorbell, Transactions
from domain.submissions import Submission, new_job
from domain.tasks import Task, Tasks
from domain.validation import invalid_fields, rejected
from domain.waiting import Why
from domain.workers import WorkerOptions
from service.managers.dead_letters import DeadLetters, Requeued
from service.managers.job_reader import checked_id, missing
from service.managers.room import Room
from service.managers.waiting import Waiting

MOST_LINES = 1_000
_FORGET_WORKERS_SECONDS = 86_400.0


class Submitted(msgspec.Struct, frozen=True):
    """A job, and whether it was there already: an unfinished one with the same unique key."""

    job: Job
    is_duplicate: bool = False


class Jobs:
    """The jobs of a service.

    Methods raise `NotFound`, `InvalidId`, `InvalidBody`, `Conflict` and `Unavailable`. A job is written in the caller's
    transaction, and the workers hear of it after its commit. `room` is what clients may still submit.
    """

    def __init__(
        self,
        tasks: Tasks,
        store: JobStore,
        transactions: Transactions,
        doorbell: Doorbell,
        retention: Retention,
        options: WorkerOptions,
    ) -> None:
        self.tasks = tasks
        self.store = store
        self._transactions = transactions
        self._doorbell = doorbell
        self.retention = retention
        self._dead_letters = DeadLetters(store)
        self._waiting = Waiting(tasks, store, options)
        self.room = Room(store, options.max_waiting)

    # Submitting

    async def submit(self, task: Task | str, args: Any = None, **options: Any) -> Submitted:
        """Submit a task. `args` is its Struct or an object; `options` are the other fields of `Submission`."""
        given = {"args": msgspec.to_builtins(args, str_keys=True) if args is not None else {}, **options}
        return await self.execute(task.kind if isinstance(task, Task) else task, _submission(given))

    async def execute(self, kind: str, submission: Submission) -> Submitted:
        """Submit the task of a kind. Raises `TooManyRequests` when as many jobs wait as may."""
        await self.room.take(1)
        return (await self.add([new_job(self.tasks.get(kind), submission, current_context())]))[0]

    async def add(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Store new jobs, all or none, in one statement."""
        added = {job.id: job for job in await self.store.insert(jobs)}
        await self.ring(list(added.values()))
        if len(added) == len(jobs):
            return [Submitted(added[job.id]) for job in jobs]
        keys = [job.unique_key for job in jobs if job.id not in added and job.unique_key is not None]
        known = {job.unique_key: job for job in await self.store.find_unique(keys)}
        missing = [job for job in jobs if job.id not in added and job.unique_key not in known]
        if missing:
            # The one that was in the way has ended meanwhile.
            known |= {again.job.unique_key: again.job for again in await self.add(missing)}
        return [
            Submitted(added[job.id]) if job.id in added else Submitted(known[job.unique_key], is_duplicate=True)
            for job in jobs
        ]

    async def ring(self, jobs: Sequence[Job]) -> None:
        """Wake the workers for jobs that are ready, once the transaction around this is committed."""
        ready = {job.queue: job.id for job in jobs if job.state is JobState.QUEUED}

        async def ring() -> None:
            for queue, id in ready.items():
                self._doorbell.ring(queue, id)

        if ready:
            await self._transactions.on_commit(ring)

    # Looking

    async def get(self, id: str) -> Job:
        """One job."""
        identifier = checked_id(id)
        found = await self.store.find_many([identifier])
        if not found:
            raise missing(identifier)
        return found[0]

    async def events(self, id: str, *, after: int = 0, limit: int = MOST_LINES) -> list[JobEvent]:
        """The history of a job, oldest first, from behind the event `after`."""
        return await self.store.events((await self.get(id)).id, after=after, limit=limit)

    async def logs(self, id: str, *, after: int = 0, limit: int = MOST_LINES) -> list[LogLine]:
        """What a job wrote, oldest first, from behind the line `after`."""
        return await self.store.logs((await self.get(id)).id, after=after, limit=limit)

    async def result(self, id: str) -> bytes:
        """The result of a completed job as JSON. Raises `Conflict` for one that is not completed."""
        job = await self.get(id)
        if job.state is not JobState.COMPLETED:
            raise Conflict(f"Job {job.id} is {job.state}; only a completed job has a result")
        return await self.store.result(job.id) or b"null"

    async def stats(self) -> list[QueueStats]:
        """How each queue stands, the ones without jobs included."""
        found = {stats.queue: stats for stats in await self.store.stats()}
        empty = {queue: QueueStats(queue=queue) for queue in self.tasks.queues}
        return list({**empty, **found}.values())

    async def why(self, id: str) -> Why:
        """Why a job is in the state it is in."""
        return await self._waiting.why(await self.get(id))

    # Changing

    async def cancel(self, id: str) -> Job:
        """Cancel a job: at once when it waits; one that runs is told to stop and is `canceling` until it has.

        Raises `IllegalTransition` when it has ended.
        """
        job = await self.get(id)
        async with self._transactions.transaction():
            ended = await self.cancel_all([job.id])
            if ended:
                await self._cancel_parts(job)
                return ended[0]
        job = await self.get(id)
        if job.is_final:
            raise IllegalTransition(f"Job {job.id} is {job.state} and cannot be canceled any more")
        return job

    async def cancel_all(self, ids: Sequence[str], *, is_at_once: bool = False) -> list[Job]:
        """Cancel the jobs that have not ended; returns those that this has changed.

        Those that run are told to stop; `is_at_once` takes them away from their workers, which then kill them.
        """
        ended = await self.store.cancel(ids, is_at_once=is_at_once)
        await self.ring(ended.ready)
        await self._alert(ended.jobs)
        return ended.jobs

    async def _cancel_parts(self, job: Job, *, is_at_once: bool = False) -> None:
        """Cancel what a job that stands for the whole of something depends on."""
        task = self.tasks.find(job.kind)
        if job.graph_id is not None and task is not None and task.is_whole:
            parts = parts_of(job.id, await self.store.edges_of(job.graph_id))
            await self.cancel_all(sorted(parts), is_at_once=is_at_once)

    async def _alert(self, jobs: Sequence[Job]) -> None:
        """Have the workers look what became of the jobs they run."""
        running = [job for job in jobs if job.worker_id is not None]

        async def ring() -> None:
            for job in running:
                self._doorbell.ring(job.queue, job.id)

        if running:
            await self._transactions.on_commit(ring)

    async def retry(self, id: str) -> Job:
        """Let an ended job run again, with all its attempts. Raises `IllegalTransition` when it has not ended.

        Of a graph's job, those that were skipped because of it wait for it again.
        """
        job = await self.get(id)
        if not job.is_final:
            raise IllegalTransition(f"Job {job.id} is {job.state}; only one that has ended can be run again")
        changed = await (self._requeue({job.id: 0}) if job.graph_id is None else self.rerun(job.graph_id, [job.id]))
        for again in changed:
            if again.id == job.id:
                return again
        raise IllegalTransition(f"Job {job.id} is being run again already")

    async def rerun(self, graph_id: str, start: Sequence[str]) -> list[Job]:
        """Let jobs of a graph run again, and after them everything that depends on them."""
        async with self._transactions.transaction():
            jobs, edges = await self.store.of_graph(graph_id, lock=True), await self.store.edges_of(graph_id)
            return await self._requeue(rerun_plan(start, jobs, edges))

    async def _requeue(self, waits: Mapping[str, int]) -> list[Job]:
        changed = await self.store.requeue(waits)
        await self.ring(changed)
        return changed

    async def requeue_dead(self, ids: Sequence[str] | None, limit: int) -> Requeued:
        """Let dead jobs run again: those of `ids` that are dead, or the first `limit` that can.

        What cannot run again is left out, and does not keep the others from it.
        """
        chosen = None if ids is None else [checked_id(id) for id in ids]
        async with self._transactions.transaction():
            found = await self._dead_letters.requeue(chosen, limit)
            await self.ring(found.jobs)
        return found

    async def delete(self, id: str) -> None:
        """Cancel a job and remove it with everything that is known of it; one that runs is killed."""
        identifier = checked_id(id)
        async with self._transactions.transaction():
            # In the end, so that what depends on it does not wait for it for ever.
            for job in await self.cancel_all([identifier], is_at_once=True):
                await self._cancel_parts(job, is_at_once=True)
            if not await self.store.delete([identifier]):
                raise missing(identifier)

    async def tidy(self) -> float:
        """Remove what is older than it is kept; returns in how many seconds to come again."""
        outdated = await self.store.outdated(self.retention)
        if outdated:
            # One of them may have been run again since.
            await self.store.delete(outdated, is_over=True)
            return 1.0
        await self.store.forget_workers(after_seconds=_FORGET_WORKERS_SECONDS)
        await self.store.forget_replies()
        return 60.0


def _submission(given: Mapping[str, Any]) -> Submission:
    """What code asks for, checked as strictly as what comes over HTTP. Raises `InvalidBody`."""
    try:
        submission = msgspec.convert(given, Submission)
    except msgspec.ValidationError:
        raise rejected(invalid_fields(given, Submission)) from None
    errors = list(islice(nul_errors(given, ()), MOST_ERRORS))
    if errors:
        raise rejected(errors)
    return submission
