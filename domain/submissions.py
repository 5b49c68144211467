"""What a client says when it submits a task, and the job that comes of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.context import Context
from domain.entity import Tags
from domain.errors import FieldError
from domain.jobs import Key, Label, Name, NewJob, Priority, TimeoutSeconds
from domain.query.fields import WrongValue, to_utc
from domain.tasks import Task, filled, references
from domain.validation import problem, rejected

Delay = Annotated[float, Meta(ge=0, le=31_536_000)]


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `$execute`. What it leaves out is as the task declares it.

    The job waits for `delay_seconds` or until `run_at`, not both. `unique_key` and `concurrency_key` override the
    task's.
    """

    args: dict[str, Any] = msgspec.field(default_factory=dict)
    label: Label | None = None
    tags: Tags = msgspec.field(default_factory=list)
    queue: Name | None = None
    priority: Priority | None = None
    run_at: Annotated[datetime, Meta(tz=True)] | None = None
    delay_seconds: Delay | None = None
    timeout_seconds: TimeoutSeconds | None = None
    unique_key: Key | None = None
    concurrency_key: Key | None = None


def new_job(task: Task, submission: Submission, context: Context, **more: Any) -> NewJob:
    """The job for a submission; `more` are further members. Raises `InvalidBody` naming every field that is wrong."""
    errors: list[FieldError] = []
    if submission.run_at is not None:
        try:
            to_utc(submission.run_at)
        except WrongValue as error:
            errors.append(problem("value_error", str(error), ("run_at",), str(submission.run_at)))
    if submission.run_at is not None and submission.delay_seconds is not None:
        errors.append(problem("conflict", 'give "run_at" or "delay_seconds", not both', ("delay_seconds",), None))
    if more.get("graph_id") is None and (reference := next(references(submission.args), None)) is not None:
        message = f'"{reference}" is the name of a node; references are for the nodes of a graph'
        errors.append(problem("unknown_node", message, ("args",), reference))
    if errors:
        raise rejected(errors)
    args = task.checked(submission.args)
    return NewJob(
        kind=task.kind,
        args=args,
        label=submission.label,
        tags=tuple(submission.tags),
        queue=submission.queue or task.queue,
        priority=task.priority if submission.priority is None else submission.priority,
        run_at=submission.run_at,
        delay_seconds=submission.delay_seconds,
        retry_policy=task.retry_policy,
        timeout_seconds=submission.timeout_seconds or task.timeout_seconds,
        unique_key=submission.unique_key or filled(task.unique_key, args),
        **{**_concurrency(task, submission, args), **_surroundings(context), **more},
    )


def _concurrency(task: Task, submission: Submission, args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "concurrency_key": submission.concurrency_key or filled(task.concurrency_key, args),
        "concurrency_limit": task.concurrency_limit,
    }


def _surroundings(context: Context) -> dict[str, Any]:
    return {
        "trace_id": context.request_id or None,
        "principal": context.principal,
        "tenant": context.tenant,
        "traceparent": context.traceparent or None,
    }
