"""Jobs: work that is written down before it is done, and the states it goes through."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.entity import Entity, Ulid, new_id
from domain.errors import Conflict, encodable
from domain.query import Resource
from domain.retries import RetryPolicy

DEFAULT_QUEUE = "default"
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(?!\n)$",
        min_length=1,
        max_length=100,
        description="a name: letters, digits, '.', '_' and '-', at most 100",
    ),
]
Label = Annotated[str, Meta(max_length=200)]
MOST_KEY_CHARACTERS = 200
Key = Annotated[str, Meta(min_length=1, max_length=MOST_KEY_CHARACTERS)]
Priority = Annotated[int, Meta(ge=-1_000, le=1_000)]
TimeoutSeconds = Annotated[float, Meta(gt=0, le=31_536_000)]


class JobStatus(enum.StrEnum):
    """The five words that clients know."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class JobState(enum.StrEnum):
    """Where a job really is: the detail behind its status."""

    BLOCKED = "blocked"  # waits for other jobs of its graph
    SCHEDULED = "scheduled"  # waits for its time
    RETRYING = "retrying"  # has failed and waits for its next attempt
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"
    CANCELING = "canceling"  # runs, and has been told to stop
    COMPLETED = "completed"
    FAILED = "failed"  # with an error that no further attempt would change
    DEAD = "dead"  # with all its attempts used up; the dead-letter list
    CANCELED = "canceled"
    SKIPPED = "skipped"  # what it depends on did not end as it must


STATUSES: Mapping[JobState, JobStatus] = {
    JobState.BLOCKED: JobStatus.PENDING,
    JobState.SCHEDULED: JobStatus.PENDING,
    JobState.RETRYING: JobStatus.PENDING,
    JobState.QUEUED: JobStatus.PENDING,
    JobState.RUNNING: JobStatus.RUNNING,
    JobState.CANCELING: JobStatus.RUNNING,
    JobState.COMPLETED: JobStatus.COMPLETED,
    JobState.FAILED: JobStatus.FAILED,
    JobState.DEAD: JobStatus.FAILED,
    JobState.CANCELED: JobStatus.CANCELED,
    JobState.SKIPPED: JobStatus.CANCELED,
}
FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELED, JobState.SKIPPED})
"""The states that a job leaves only when somebody asks for it to be run again."""

_WAITING = {JobState.SCHEDULED, JobState.RETRYING, JobState.QUEUED}
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.BLOCKED: frozenset({*_WAITING, JobState.CANCELED, JobState.SKIPPED}),
    JobState.SCHEDULED: frozenset({JobState.QUEUED, JobState.CANCELED}),
    JobState.RETRYING: frozenset({JobState.QUEUED, JobState.CANCELED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELED}),
    JobState.RUNNING: frozenset(
        # Back to queued when its worker is gone or has handed it back.
        {JobState.CANCELING, JobState.QUEUED, JobState.RETRYING, *(FINAL - {JobState.SKIPPED})}
    ),
    # A job that ends before it notices has ended all the same.
    JobState.CANCELING: FINAL - {JobState.SKIPPED},
    **dict.fromkeys(FINAL, frozenset({*_WAITING, JobState.BLOCKED})),
}


class IllegalTransition(Conflict):
    """Something, such as a job, is not in a state in which this can be done to it."""


def check_transition(id: str, before: JobState, after: JobState) -> None:
    """Raise `IllegalTransition` when a job cannot go from one state to the other."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise IllegalTransition(f"Job {id} is {before} and cannot become {after}; it can become {allowed}")


def storable(text: str, most: int) -> str:
    """`text` as one that every database can hold, cut to `most` characters."""
    return encodable(text.replace("\0", "\\0"))[:most]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job has come: percent from 0 to 100, the step it is at, and a message for people."""

    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    step: Annotated[str, Meta(max_length=200)] | None = None
    message: Annotated[str, Meta(max_length=1_000)] | None = None


class Job(Entity, kw_only=True):
    """Work that somebody has submitted, as it stands.

    `args` are the task's arguments. `attempt` counts the runs that began, `losses` those whose worker disappeared.
    `result_ref` says where the result is: `job:<id>` for `/api/v1/jobs/<id>/$result`, or `artifact:<id>`.
    `concurrency_limit` jobs with the same `concurrency_key` run at a time; of unfinished jobs with the same
    `unique_key` there is only one. `revision` grows with every change.
    """

    status: JobStatus = JobStatus.PENDING
    submitted_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    error_traceback: str | None = None
    artifact_id: Ulid | None = None
    state: JobState = JobState.QUEUED
    kind: Name
    label: Label | None = None
    queue: Name = DEFAULT_QUEUE
    priority: Priority = 0
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    run_at: datetime
    attempt: int = 0
    max_attempts: int = 1
    losses: int = 0
    retry_policy: RetryPolicy = RetryPolicy()
    timeout_seconds: TimeoutSeconds | None = None
    unique_key: Key | None = None
    concurrency_key: Key | None = None
    concurrency_limit: int = 1
    progress: Progress | None = None
    result_ref: Annotated[str, Meta(max_length=100)] | None = None
    graph_id: Ulid | None = None
    node: Name | None = None
    waits_for: int = 0
    schedule_id: Ulid | None = None
    fire_at: datetime | None = None
    worker_id: Ulid | None = None
    trace_id: Annotated[str, Meta(max_length=128)] | None = None
    principal: Annotated[str, Meta(max_length=200)] = "anonymous"
    tenant: Annotated[str, Meta(max_length=200)] = "default"
    traceparent: Annotated[str, Meta(max_length=55)] | None = None
    revision: int = 1
    result: Any = None
    lease_token: Ulid | None = None
    lease_until: datetime | None = None

    @property
    def failures(self) -> int:
        """The attempts that have failed by themselves, the present one included."""
        return self.attempt - self.losses

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is about to be stored; the database adds the moments.

    It waits for `delay_seconds`, or until `run_at`; `waits_for` is how many jobs must end first.
    """

    id: str = msgspec.field(default_factory=new_id)
    kind: str
    args: Mapping[str, Any] = msgspec.field(default_factory=dict)
    tags: Sequence[str] = ()
    label: str | None = None
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    run_at: datetime | None = None
    delay_seconds: float | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    unique_key: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    graph_id: str | None = None
    node: str | None = None
    waits_for: int = 0
    schedule_id: str | None = None
    fire_at: datetime | None = None
    trace_id: str | None = None
    principal: str = "anonymous"
    tenant: str = "default"
    traceparent: str | None = None

    @property
    def max_attempts(self) -> int:
        """How often it is run at most."""
        return self.retry_policy.max_attempts


JOBS: Resource[Job] = Resource(
    Job,
    "jobs",
    hidden={"created_at", "result", "lease_token", "lease_until", "traceparent"},
    searchable={"kind", "label", "error"},
    is_newest_first=True,
)
"""What clients may ask of jobs."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker records of a run that is over. It counts only while the job still has this lease.

    `delay_seconds` is how long a job that will be tried again waits; `is_undone` says that the run does not count as
    an attempt, because the worker gave it back.
    """

    job_id: str
    lease_token: str
    state: JobState
    delay_seconds: float | None = None
    result: bytes | None = None
    result_ref: str | None = None
    artifact_id: str | None = None
    error: str | None = None
    traceback: str | None = None
    is_undone: bool = False
    is_in_graph: bool = False

    @property
    def status(self) -> JobStatus:
        """The word for clients."""
        return STATUSES[self.state]

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINAL


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's history, which only ever grows. `sequence` orders the events of all jobs."""

    sequence: int
    job_id: str
    at: datetime
    type: str
    attempt: int
    worker_id: str | None = None
    detail: str | None = None


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a job wrote: to `stdout`, to `stderr`, or to its `log`."""

    sequence: int
    at: datetime
    attempt: int
    stream: str
    text: str


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue stands: jobs by state, the seconds that the oldest queued one has waited, ends per minute."""

    queue: str
    queued: int = 0
    scheduled: int = 0
    retrying: int = 0
    blocked: int = 0
    running: int = 0
    canceling: int = 0
    dead: int = 0
    oldest_seconds: float | None = None
    completed_per_minute: int = 0
    failed_per_minute: int = 0


Days = Annotated[float, Meta(ge=0, le=36_500)]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days ended jobs are kept, by how they ended, how many of them at most, and for how many days it is
    known which ticks of schedules were seen to; None is no bound.
    """

    completed_days: Days | None = 7.0
    canceled_days: Days | None = 7.0
    failed_days: Days | None = 30.0
    most_jobs: Annotated[int, Meta(ge=0)] | None = 1_000_000
    tick_days: Days | None = 90.0
