"""One run of a job: what is to be called, and how it ended."""

import enum
import traceback
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from domain.entity import parse_id
from domain.errors import encodable
from domain.jobs import Ending, Job, JobState, storable
from domain.retries import RetryLater
from domain.tasks import MOST_RESULT_BYTES, Artifact, Task

MOST_ERROR_CHARACTERS = 2_000
MOST_TRACEBACK_CHARACTERS = 20_000
_encode = msgspec.json.Encoder().encode


class Reason(enum.StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMEOUT = "timeout"
    DIED = "died"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a task; `args` are its arguments as JSON, with every reference resolved."""

    job_id: str
    kind: str
    args: bytes
    attempt: int = 1
    max_attempts: int = 1
    graph_id: str | None = None
    trace_id: str | None = None
    timeout_seconds: float | None = None
    memory_mib: int | None = None
    fire_at: datetime | None = None
    principal: str = "anonymous"
    tenant: str = "default"
    traceparent: str = ""


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: `result` is what the task returned, as JSON; `error` and `traceback` say what went wrong.

    `is_permanent` says that no further attempt would help, `retry_after_seconds` how long the task asked to wait.
    """

    reason: Reason
    result: bytes | None = None
    artifact_id: str | None = None
    error: str | None = None
    traceback: str | None = None
    is_permanent: bool = False
    retry_after_seconds: float | None = None


def returned(value: Any) -> RunEnd:
    """The end of a run whose task has returned `value`; a failure when that is no JSON, or too much of it."""
    if isinstance(value, Artifact):
        return _stored(value)
    if value is None:
        return RunEnd(reason=Reason.COMPLETED)
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"TypeError: the task returned a {type(value).__name__} that is no JSON: {error}"
        return RunEnd(reason=Reason.FAILED, error=cut(message), is_permanent=True)
    if len(encoded) > MOST_RESULT_BYTES:
        message = f"ValueError: the result has {len(encoded)} bytes of JSON and {MOST_RESULT_BYTES} are allowed"
        return RunEnd(reason=Reason.FAILED, error=f"{message}: store it, and return a reference", is_permanent=True)
    return RunEnd(reason=Reason.COMPLETED, result=encoded)


def _stored(artifact: Artifact) -> RunEnd:
    given: Any = artifact.artifact_id
    id = parse_id(given) if isinstance(given, str) else None
    if id is None:
        message = f"ValueError: the task returned an artifact whose id is no ULID: {given!r}"
        return RunEnd(reason=Reason.FAILED, error=cut(message), is_permanent=True)
    return RunEnd(reason=Reason.COMPLETED, artifact_id=id)


def raised(error: BaseException, task: Task) -> RunEnd:
    """The end of a run whose task has raised `error`."""
    return RunEnd(
        reason=Reason.FAILED,
        error=cut(_summary(error)),
        traceback=_tail("".join(traceback.format_exception(error))),
        is_permanent=isinstance(error, task.permanent),
        retry_after_seconds=_asked(error),
    )


def _summary(error: BaseException) -> str:
    told = traceback.TracebackException(type(error), error, None)
    # They would stand behind the error; in the traceback they do.
    told.__notes__ = None
    return list(told.format_exception_only())[-1].strip()


def _asked(error: BaseException) -> float | None:
    seconds = error.after_seconds if isinstance(error, RetryLater) else None
    return seconds if isinstance(seconds, int | float) else None


def timed_out(seconds: float) -> RunEnd:
    """The end of a run that took longer than it may."""
    return RunEnd(reason=Reason.TIMEOUT, error=f"TimeoutError: the task took longer than {seconds:g} s and was stopped")


def ending_of(job: Job, end: RunEnd, *, spread: float) -> Ending:
    """What becomes of a job after a run; `spread` is random, from 0 to 1."""
    state, delay = _state_after(job, end, spread)
    reference = None
    if end.artifact_id is not None:
        reference = f"artifact:{end.artifact_id}"
    elif end.result is not None:
        reference = f"job:{job.id}"
    return Ending(
        job_id=job.id,
        lease_token=job.lease_token or "",
        state=state,
        delay_seconds=delay,
        result=end.result,
        result_ref=reference,
        artifact_id=end.artifact_id,
        error=end.error,
        traceback=end.traceback,
        is_in_graph=job.graph_id is not None,
    )


def _state_after(job: Job, end: RunEnd, spread: float) -> tuple[JobState, float | None]:
    if end.reason is Reason.COMPLETED:
        return JobState.COMPLETED, None
    if end.reason is Reason.CANCELED:
        return JobState.CANCELED, None
    if end.is_permanent:
        return JobState.FAILED, None
    if job.failures < job.max_attempts:
        delay = job.retry_policy.delay_seconds(job.failures, spread=spread, asked_seconds=end.retry_after_seconds)
        return JobState.RETRYING, delay
    return JobState.DEAD if job.max_attempts > 1 else JobState.FAILED, None


def given_back(job: Job) -> Ending:
    """A run that its worker has broken off because it stops: the job waits again, as if it had not begun."""
    return Ending(
        job_id=job.id,
        lease_token=job.lease_token or "",
        state=JobState.QUEUED,
        is_undone=True,
        is_in_graph=job.graph_id is not None,
    )


def cut(text: str, most: int = MOST_ERROR_CHARACTERS) -> str:
    """`text` as one that every database can hold, and not too long."""
    return storable(text, most)


def _tail(text: str) -> str:
    """The end of a traceback: that is where the error is."""
    text = encodable(text.replace("\0", "\\0"))
    return text if len(text) <= MOST_TRACEBACK_CHARACTERS else f"…\n{text[-MOST_TRACEBACK_CHARACTERS:]}"


Message = Mapping[str, Any]
"""What a run reports while it lasts: `{"progress": {…}}`, `{"log": text}`, `{"stdout": text}`, `{"stderr": text}`."""
