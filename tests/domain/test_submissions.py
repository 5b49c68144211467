"""Submissions: what becomes of what a client says, and of what it leaves out."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from domain.context import Context
from domain.entity import new_id
from domain.errors import InvalidBody
from domain.jobs import NewJob
from domain.retries import RetryPolicy
from domain.submissions import Submission, new_job
from domain.tasks import task

LATER = datetime(2035, 1, 31, 12, tzinfo=UTC)


class Args(msgspec.Struct):
    tenant: str
    size: int = 1


@task(
    "report",
    retries=2,
    timeout=60.0,
    queue="reports",
    priority=3,
    concurrency_key="tenant-{tenant}",
    concurrency_limit=2,
    unique_key="report-{tenant}-{size}",
)
async def report(args: Args) -> None: ...


@task("plain")
async def plain() -> None: ...


CONTEXT = Context(request_id="request", principal="ada", tenant="acme")


def made(**members: Any) -> NewJob:
    return new_job(report, Submission(**({"args": {"tenant": "t"}} | members)), CONTEXT)


def refused(submission: Submission, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidBody) as caught:
        new_job(report, submission, CONTEXT, **more)
    return {str(error.pointer): error.msg for error in caught.value.errors}


def test_what_a_submission_leaves_out_is_as_the_task_declares_it() -> None:
    job = made()
    assert job == NewJob(
        id=job.id,
        kind="report",
        args={"tenant": "t", "size": 1},
        queue="reports",
        priority=3,
        retry_policy=RetryPolicy(retries=2),
        timeout_seconds=60.0,
        unique_key="report-t-1",
        concurrency_key="tenant-t",
        concurrency_limit=2,
        trace_id="request",
        principal="ada",
        tenant="acme",
    )


def test_what_it_says_counts() -> None:
    job = made(
        label="a label",
        tags=["a", "b"],
        queue="other",
        priority=0,
        run_at=LATER,
        timeout_seconds=1.5,
        unique_key="u",
        concurrency_key="c",
    )
    said = (job.label, job.tags, job.queue, job.priority, job.run_at, job.timeout_seconds)
    assert said == ("a label", ("a", "b"), "other", 0, LATER, 1.5)
    assert (job.unique_key, job.concurrency_key, job.concurrency_limit) == ("u", "c", 2)
    assert made(delay_seconds=0.0).delay_seconds == 0.0


def test_a_task_that_declares_nothing_makes_a_plain_job() -> None:
    job = new_job(plain, Submission(), Context())
    assert job == NewJob(id=job.id, kind="plain")


def test_further_members_are_the_caller_s() -> None:
    id, graph_id, schedule_id = new_id(), new_id(), new_id()
    more = {"id": id, "graph_id": graph_id, "node": "n", "waits_for": 2, "schedule_id": schedule_id, "fire_at": LATER}
    job = new_job(plain, Submission(), Context(), **more)
    assert {name: getattr(job, name) for name in more} == more


def test_contradictions_and_wrong_arguments_are_named() -> None:
    both = Submission(args={"tenant": "t"}, run_at=LATER, delay_seconds=1.0)
    assert refused(both) == {"/delay_seconds": 'give "run_at" or "delay_seconds", not both'}
    assert refused(Submission(args={"size": "x"})) == {
        "/args/tenant": '"tenant" is required',
        "/args/size": "Expected `int`, got `str`",
    }


def test_a_moment_that_no_calendar_has_is_refused() -> None:
    for moment in (
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))),
    ):
        assert refused(Submission(args={"tenant": "t"}, run_at=moment)).keys() == {"/run_at"}


def test_references_are_for_the_nodes_of_a_graph() -> None:
    referring = Submission(args={"tenant": "t", "size": {"$ref": "other"}})
    assert refused(referring) == {"/args": '"other" is the name of a node; references are for the nodes of a graph'}
    job = new_job(report, referring, CONTEXT, graph_id=new_id())
    assert job.args["size"] == {"$ref": "other"}


@pytest.mark.parametrize(
    "body",
    [
        {"args": []},
        {"label": "x" * 201},
        {"tags": ["a b"]},
        {"queue": "a b"},
        {"priority": 1_001},
        {"run_at": "2035-01-31T12:00:00"},
        {"delay_seconds": -1},
        {"delay_seconds": 31_536_001},
        {"timeout_seconds": 0},
        {"unique_key": ""},
        {"concurrency_key": "x" * 201},
        {"retries": 1},
    ],
)
def test_a_body_that_is_none_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, Submission)
