"""Runs: what becomes of a job after each way in which a run can end."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entity import new_id
from domain.errors import Invalid, NotFound, Unavailable
from domain.jobs import FINAL, TRANSITIONS, Job, JobState
from domain.retries import PermanentFailure, RetryLater, RetryPolicy
from domain.runs import (
    MOST_ERROR_CHARACTERS,
    MOST_TRACEBACK_CHARACTERS,
    Reason,
    RunEnd,
    cut,
    ending_of,
    given_back,
    raised,
    returned,
    timed_out,
)
from domain.tasks import MOST_RESULT_BYTES, Artifact, Task, task

MOMENT = datetime(2025, 1, 31, 12, tzinfo=UTC)
COMPLETED, FAILED, CANCELED, TIMEOUT, DIED = Reason


@task("work", permanent=[KeyError])
async def work() -> None: ...


WORK: Task = work


def job(attempt: int = 1, *, losses: int = 0, retries: int = 2, **values: Any) -> Job:
    return Job(
        kind="work",
        submitted_at=MOMENT,
        run_at=MOMENT,
        state=JobState.RUNNING,
        lease_token=new_id(),
        attempt=attempt,
        losses=losses,
        max_attempts=retries + 1,
        retry_policy=RetryPolicy(retries=retries, first_delay_seconds=10.0),
        **values,
    )


# What a task returns


@pytest.mark.parametrize(
    "value, result",
    [
        (0, b"0"),
        (False, b"false"),
        ("", b'""'),
        ([], b"[]"),
        (2**70, b"1180591620717411303424"),
        (1e23, b"1e23"),
        ("a\0b", b'"a\\u0000b"'),
        ({"a": (1, "é")}, '{"a":[1,"é"]}'.encode()),
        (MOMENT, b'"2025-01-31T12:00:00Z"'),
        (RetryPolicy(), msgspec.json.encode(RetryPolicy())),
        ("x" * (MOST_RESULT_BYTES - 2), b'"' + b"x" * (MOST_RESULT_BYTES - 2) + b'"'),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_a_task_returns_is_its_result_as_json(value: Any, result: bytes) -> None:
    assert returned(value) == RunEnd(reason=COMPLETED, result=result)


def test_a_task_may_return_nothing_or_an_artifact() -> None:
    id = new_id()
    assert returned(None) == RunEnd(reason=COMPLETED)
    assert returned(Artifact(id.lower())) == RunEnd(reason=COMPLETED, artifact_id=id)


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value, error",
    [
        (object(), "TypeError: the task returned a object that is no JSON: Encoding objects of type object"),
        ("half \ud800", "TypeError: the task returned a str that is no JSON: 'utf-8' codec can't encode"),
        (endless(), "TypeError: the task returned a list that is no JSON: "),
        (
            "x" * MOST_RESULT_BYTES,
            "ValueError: the result has 1048578 bytes of JSON and 1048576 are allowed: store it, and return a ref",
        ),
        (Artifact("a/b"), "ValueError: the task returned an artifact whose id is no ULID: 'a/b'"),
        (Artifact(None), "ValueError: the task returned an artifact whose id is no ULID: None"),  # type: ignore[arg-type]
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_be_a_result_fails_for_good(value: Any, error: str) -> None:
    end = returned(value)
    assert (end.reason, end.is_permanent, end.result, end.artifact_id) == (FAILED, True, None, None)
    assert (end.error or "").startswith(error)


# What a task raises


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Silent(RetryLater):
    """Has a constructor of its own, as many have."""

    def __init__(self) -> None:
        Exception.__init__(self, "silent")


class Vague(RetryLater):
    after_seconds = "soon"  # type: ignore[assignment]


def noted() -> Exception:
    error = ValueError("wrong")
    error.add_note("a note\nof two lines")
    return error


@pytest.mark.parametrize(
    "error, text, is_permanent, seconds",
    [
        (ValueError("wrong"), "ValueError: wrong", False, None),
        (ValueError(), "ValueError", False, None),
        (ValueError("two\nlines"), "ValueError: two\nlines", False, None),
        (noted(), "ValueError: wrong", False, None),
        (KeyError("a"), "KeyError: 'a'", True, None),
        (PermanentFailure("never"), "domain.retries.PermanentFailure: never", True, None),
        (NotFound("gone"), "domain.errors.NotFound: gone", True, None),
        (Invalid("half \ud800"), "domain.errors.Invalid: half \\ud800", True, None),
        (Unavailable("later"), "domain.errors.Unavailable: later", False, None),
        (RetryLater("busy", after_seconds=7.5), "domain.retries.RetryLater: busy", False, 7.5),
        (RetryLater(), "domain.retries.RetryLater: try again later", False, None),
        (Silent(), f"{__name__}.Silent: silent", False, None),
        (Vague(), f"{__name__}.Vague: try again later", False, None),
        (Unspeakable(), f"{__name__}.Unspeakable: <exception str() failed>", False, None),
        (SystemExit(3), "SystemExit: 3", False, None),
        (ExceptionGroup("many", [ValueError("a")]), "ExceptionGroup: many (1 sub-exception)", False, None),
        (ValueError("NUL \0, pair \udfff"), "ValueError: NUL \\0, pair \\udfff", False, None),
        (ValueError("x" * 9_999), "ValueError: " + "x" * (MOST_ERROR_CHARACTERS - 12), False, None),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, Unspeakable) else "unspeakable",
)
def test_what_a_task_raises_is_told_in_one_line(
    error: BaseException, text: str, is_permanent: bool, seconds: float | None
) -> None:
    end = raised(error, WORK)
    assert end.error == text
    assert (end.reason, end.is_permanent, end.retry_after_seconds) == (FAILED, is_permanent, seconds)
    assert end.result is None


def fail() -> None:
    raise noted()


def test_the_traceback_says_where_it_happened_and_everything_else() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        fail()
    end = raised(caught.value, WORK)
    assert end.traceback is not None
    assert "in fail" in end.traceback
    assert end.traceback.endswith("ValueError: wrong\na note\nof two lines\n")


def test_of_a_long_traceback_the_end_is_kept() -> None:
    error = ValueError("y" * 2 * MOST_TRACEBACK_CHARACTERS + "\0 the end")
    end = raised(error, WORK)
    assert end.traceback is not None
    assert len(end.traceback) == MOST_TRACEBACK_CHARACTERS + 2
    assert end.traceback.startswith("…\ny")
    assert end.traceback.endswith("y\\0 the end\n")


def test_a_run_that_took_too_long_says_how_long_it_had() -> None:
    end = timed_out(2.5)
    assert (end.reason, end.is_permanent) == (TIMEOUT, False)
    assert end.error == "TimeoutError: the task took longer than 2.5 s and was stopped"


# What becomes of the job

FAILURE = RunEnd(reason=FAILED, error="E", traceback="T")


@pytest.mark.parametrize(
    "running, end, state, delay",
    [
        (job(), RunEnd(reason=COMPLETED), JobState.COMPLETED, None),
        (job(3), RunEnd(reason=COMPLETED), JobState.COMPLETED, None),
        (job(), RunEnd(reason=CANCELED), JobState.CANCELED, None),
        (job(), FAILURE, JobState.RETRYING, 5.0),
        (job(2), FAILURE, JobState.RETRYING, 10.0),
        (job(3), FAILURE, JobState.DEAD, None),
        (job(9), FAILURE, JobState.DEAD, None),
        (job(3, losses=1), FAILURE, JobState.RETRYING, 10.0),
        (job(1, retries=0), FAILURE, JobState.FAILED, None),
        (job(3, losses=2, retries=0), FAILURE, JobState.FAILED, None),
        (job(), RunEnd(reason=FAILED, is_permanent=True), JobState.FAILED, None),
        (job(3), RunEnd(reason=FAILED, is_permanent=True), JobState.FAILED, None),
        (job(), RunEnd(reason=TIMEOUT), JobState.RETRYING, 5.0),
        (job(3), RunEnd(reason=TIMEOUT), JobState.DEAD, None),
        (job(), RunEnd(reason=DIED), JobState.RETRYING, 5.0),
        (job(3), RunEnd(reason=DIED), JobState.DEAD, None),
        (job(), RunEnd(reason=FAILED, retry_after_seconds=77.0), JobState.RETRYING, 77.0),
        (job(), RunEnd(reason=FAILED, retry_after_seconds=0.0), JobState.RETRYING, 0.0),
        (job(), RunEnd(reason=FAILED, retry_after_seconds=math.inf), JobState.RETRYING, 31_536_000.0),
        (job(3), RunEnd(reason=FAILED, retry_after_seconds=77.0), JobState.DEAD, None),
    ],
)
def test_a_job_goes_on_as_its_run_ended(running: Job, end: RunEnd, state: JobState, delay: float | None) -> None:
    ending = ending_of(running, end, spread=0.5)
    assert (ending.state, ending.delay_seconds) == (state, delay)
    assert (ending.job_id, ending.lease_token) == (running.id, running.lease_token)
    assert (ending.error, ending.traceback) == (end.error, end.traceback)
    assert not ending.is_undone


@given(
    st.sampled_from(Reason),
    st.booleans(),
    st.none() | st.floats(),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 5),
    st.floats(0, 1),
)
def test_every_end_leads_to_a_state_that_a_running_job_can_have(
    reason: Reason, is_permanent: bool, after: float | None, attempt: int, losses: int, retries: int, spread: float
) -> None:
    end = RunEnd(reason=reason, is_permanent=is_permanent, retry_after_seconds=after)
    running = job(attempt, losses=min(losses, attempt), retries=retries)
    ending = ending_of(running, end, spread=spread)
    assert ending.state in TRANSITIONS[JobState.RUNNING]
    assert (ending.delay_seconds is not None) is (ending.state is JobState.RETRYING)
    assert ending.is_final is (ending.state in FINAL) is (ending.state is not JobState.RETRYING)
    if ending.delay_seconds is not None:
        assert 0 <= ending.delay_seconds <= 31_536_000


def test_a_result_is_referred_to_where_it_is() -> None:
    artifact_id, running = new_id(), job(graph_id=new_id())
    result = ending_of(running, RunEnd(reason=COMPLETED, result=b"1"), spread=0)
    assert (result.result, result.result_ref, result.artifact_id) == (b"1", f"job:{running.id}", None)
    artifact = ending_of(running, RunEnd(reason=COMPLETED, artifact_id=artifact_id), spread=0)
    assert (artifact.result, artifact.result_ref) == (None, f"artifact:{artifact_id}")
    assert artifact.artifact_id == artifact_id
    assert ending_of(running, RunEnd(reason=COMPLETED), spread=0).result_ref is None
    assert result.is_in_graph
    assert not ending_of(job(), RunEnd(reason=COMPLETED), spread=0).is_in_graph


def test_a_run_that_is_given_back_has_not_begun() -> None:
    running = job(graph_id=new_id())
    ending = given_back(running)
    assert (ending.job_id, ending.lease_token) == (running.id, running.lease_token)
    assert (ending.state, ending.is_undone, ending.is_final) == (JobState.QUEUED, True, False)
    assert ending.is_in_graph
    assert given_back(job()).is_in_graph is False


def test_without_a_lease_an_ending_counts_for_nothing() -> None:
    bare = msgspec.structs.replace(job(), lease_token=None)
    assert ending_of(bare, FAILURE, spread=0).lease_token == given_back(bare).lease_token == ""


def test_errors_are_cut() -> None:
    assert cut("x" * 9_999) == "x" * MOST_ERROR_CHARACTERS
    assert cut("a\0b", 2) == "a\\"
