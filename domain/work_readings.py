"""How the work in the background stands, as the database tells it, and how that is shown."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from domain.jobs import JobState
from domain.measures import OTHER, Family, Labels


class JobCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a queue and kind are in a state, and how long the oldest of them could have run."""

    queue: str
    kind: str
    state: JobState
    count: int
    oldest_seconds: float | None = None


class WorkReading(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished and dead jobs, schedules and workers by state; `overdue_seconds` is how late a schedule is."""

    jobs: Sequence[JobCount] = ()
    schedules: Mapping[str, int] = {}
    overdue_seconds: float = 0.0
    workers: Mapping[str, int] = {}

    def families(self, queues: Collection[str], kinds: Collection[str]) -> Iterator[Family]:
        """What is shown. Queues are named by clients, so those that no task uses are shown as `OTHER`."""
        counts: dict[Labels, float] = {}
        oldest: dict[Labels, float] = {(queue,): 0.0 for queue in queues}
        for job in self.jobs:
            queue = job.queue if job.queue in queues else OTHER
            labels = (queue, job.kind if job.kind in kinds else OTHER, job.state.value)
            counts[labels] = counts.get(labels, 0.0) + job.count
            oldest[(queue,)] = max(oldest.get((queue,), 0.0), job.oldest_seconds or 0.0)
        yield Family(
            name="millrace_jobs",
            description="Jobs that have not ended, and dead ones",
            labels=("queue", "kind", "state"),
            is_shared=True,
            values=list(counts.items()),
        )
        yield Family(
            name="millrace_jobs_oldest_queued_seconds",
            description="How long the oldest job has been waiting that could run",
            labels=("queue",),
            is_shared=True,
            values=list(oldest.items()),
        )
        yield Family(
            name="millrace_schedules",
            description="Schedules",
            labels=("state",),
            is_shared=True,
            values=[((state,), self.schedules.get(state, 0)) for state in ("active", "paused")],
        )
        yield Family(
            name="millrace_schedules_overdue_seconds",
            description="By how much the latest of the schedules that should have fired is late",
            is_shared=True,
            values=[((), self.overdue_seconds)],
        )
        yield Family(
            name="millrace_workers",
            description="Workers that were heard of within the last minute",
            labels=("state",),
            is_shared=True,
            values=[((state,), self.workers.get(state, 0)) for state in ("working", "stopping")],
        )
