"""Why a job is where it is, in words and as data."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.graphs import On, is_met
from domain.jobs import Job, JobState
from domain.workers import WorkerInfo


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is in its state: `reason` is one of a few words, `text` a sentence, `facts` what it rests on."""

    state: JobState
    reason: str
    text: str
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


def why_blocked(job: Job, parents: Sequence[tuple[Job, On]]) -> Why:
    """It waits for other jobs of its graph."""
    open_ = [(parent, on) for parent, on in parents if not parent.is_final]
    named = ", ".join(
        f"{_name(parent)} ({parent.state}{'' if on is On.SUCCESS else f', on {on}'})" for parent, on in open_
    )
    facts = [{"job_id": parent.id, "node": parent.node, "state": parent.state, "on": on} for parent, on in open_]
    return Why(state=job.state, reason="blocked", text=f"blocked by {named}", facts={"blocked_by": facts})


def why_later(job: Job, seconds: float) -> Why:
    """Its time has not come."""
    when = f"in {_seconds(seconds)}" if seconds > 0 else "now"
    facts = {"seconds": round(max(seconds, 0.0), 3)}
    if job.state is JobState.RETRYING:
        text = f"attempt {job.failures + 1} of {job.max_attempts} {when}, after: {job.error}"
        return Why(state=job.state, reason="retrying", text=text, facts=facts)
    return Why(state=job.state, reason="scheduled", text=f"scheduled {when}", facts=facts)


def why_queued(
    job: Job,
    workers: Sequence[WorkerInfo],
    holders: Sequence[Job],
    ahead: int,
    *,
    is_process: bool = False,
    risks: Sequence[Job] = (),
) -> Why:
    """It could run, and no worker has taken it.

    `is_process` says that it needs a process of its own, `risks` that it is risky: they are the risky jobs that workers
    have begun with lately.
    """
    serving = [worker for worker in workers if job.queue in worker.queues and not worker.is_draining]
    if not serving:
        remedy = f"start one with `millrace worker --queues {job.queue}`"
        text = f'waiting: no worker takes jobs of queue "{job.queue}"; {remedy}'
        return Why(state=job.state, reason="no_worker", text=text, facts={"queue": job.queue})
    able = [worker for worker in serving if job.kind in worker.kinds]
    if not able:
        text = f'waiting: no worker of queue "{job.queue}" knows the task "{job.kind}"'
        return Why(state=job.state, reason="unknown_task", text=text, facts={"kind": job.kind})
    if job.concurrency_key is not None and len(holders) >= job.concurrency_limit:
        held = ", ".join(holder.id for holder in holders)
        taken = f"{len(holders)}/{job.concurrency_limit}"
        facts = {
            "key": job.concurrency_key,
            "limit": job.concurrency_limit,
            "held_by": [holder.id for holder in holders],
        }
        text = f"waiting: concurrency key {job.concurrency_key} {taken} held by {held}"
        return Why(state=job.state, reason="concurrency", text=text, facts=facts)
    # Who has room and takes no risk now keeps it waiting for that alone; the others would not take it anyway.
    careful = {risk.worker_id: risk.id for risk in risks}
    with_room = [worker.id for worker in able if _has_room(worker, is_process=is_process)]
    if with_room and all(id in careful for id in with_room):
        behind = sorted({careful[id] for id in with_room})
        text = (
            f"waiting: it has lost its worker {_times(job.losses)}, and such jobs begin one after the other; "
            f"now it is the turn of {', '.join(behind)}"
        )
        return Why(state=job.state, reason="suspect", text=text, facts={"losses": job.losses, "behind": behind})
    first = "1 job" if ahead == 1 else f"{ahead} jobs"
    verb = "comes" if ahead == 1 else "come"
    if is_process:
        busy, most = sum(worker.busy_processes for worker in able), sum(worker.processes for worker in able)
        if busy >= most:
            text = f'waiting: all {most} processes of the workers of queue "{job.queue}" are busy; {first} {verb} first'
            facts = {"ahead": ahead, "busy": busy, "processes": most}
            return Why(state=job.state, reason="processes", text=text, facts=facts)
    running, room = sum(worker.running for worker in able), sum(worker.concurrency for worker in able)
    text = f'waiting: {first} of queue "{job.queue}" {verb} first; its workers run {running} of {room} at a time'
    facts = {"ahead": ahead, "running": running, "concurrency": room}
    return Why(state=job.state, reason="queued", text=text, facts=facts)


def why_running(job: Job, workers: Sequence[WorkerInfo]) -> Why:
    """A worker has it."""
    worker = next((worker for worker in workers if worker.id == job.worker_id), None)
    where = f"on {worker.host}, process {worker.pid}" if worker else "on a worker that has not been heard of lately"
    verb = "told to stop; it still runs" if job.state is JobState.CANCELING else "running"
    facts = {"worker_id": job.worker_id, "attempt": job.attempt, "is_worker_alive": worker is not None}
    return Why(state=job.state, reason=job.state.value, text=f"{verb} {where}, attempt {job.attempt}", facts=facts)


def why_over(job: Job, parents: Sequence[tuple[Job, On]]) -> Why:
    """It has ended."""
    text = {
        JobState.COMPLETED: "completed",
        JobState.CANCELED: "canceled on request",
        JobState.FAILED: f"failed: {job.error}",
        JobState.DEAD: f"dead after {job.attempt} attempts and {job.losses} lost workers: {job.error}",
        JobState.SKIPPED: "skipped: "
        + (
            ", ".join(f"{_name(parent)} is {parent.state}" for parent, on in parents if _is_in_the_way(parent, on))
            or "not reachable"
        ),
    }[job.state]
    return Why(state=job.state, reason=job.state.value, text=text)


def _is_in_the_way(parent: Job, on: On) -> bool:
    return parent.is_final and not is_met(on, parent.state)


def _has_room(worker: WorkerInfo, *, is_process: bool) -> bool:
    is_free = not is_process or worker.busy_processes < worker.processes
    return is_free and worker.running < worker.concurrency


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _name(job: Job) -> str:
    return job.node or job.id


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
