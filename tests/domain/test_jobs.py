"""Jobs: their states, what leads from one to the other, and what clients see of it."""

import itertools
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.jobs import (
    FINAL,
    JOBS,
    STATUSES,
    TRANSITIONS,
    Ending,
    IllegalTransition,
    Job,
    JobState,
    JobStatus,
    Label,
    Name,
    NewJob,
    check_transition,
    storable,
)
from domain.retries import RetryPolicy

MOMENT = datetime(2025, 1, 31, 12, tzinfo=UTC)
S = JobState


def job(**values: object) -> Job:
    return msgspec.convert({"kind": "work", "submitted_at": MOMENT, "run_at": MOMENT} | values, Job)


def test_clients_see_five_words() -> None:
    assert [status.value for status in JobStatus] == ["pending", "running", "completed", "failed", "canceled"]
    assert STATUSES.keys() == set(JobState)
    seen = {status: {state for state in JobState if STATUSES[state] is status} for status in JobStatus}
    assert seen == {
        JobStatus.PENDING: {S.BLOCKED, S.SCHEDULED, S.RETRYING, S.QUEUED},
        JobStatus.RUNNING: {S.RUNNING, S.CANCELING},
        JobStatus.COMPLETED: {S.COMPLETED},
        JobStatus.FAILED: {S.FAILED, S.DEAD},
        JobStatus.CANCELED: {S.CANCELED, S.SKIPPED},
    }


def test_the_states_that_a_job_leaves_only_on_request_are_the_ended_ones() -> None:
    assert {state for state in JobState if STATUSES[state] not in {JobStatus.PENDING, JobStatus.RUNNING}} == FINAL
    for state in FINAL:
        assert all(STATUSES[after] is JobStatus.PENDING for after in TRANSITIONS[state])
    assert TRANSITIONS.keys() == set(JobState)


def test_a_job_can_only_be_run_when_it_is_queued() -> None:
    assert {state for state in JobState if S.RUNNING in TRANSITIONS[state]} == {S.QUEUED}
    assert {state for state in JobState if S.SKIPPED in TRANSITIONS[state]} == {S.BLOCKED}
    assert {state for state in JobState if S.CANCELING in TRANSITIONS[state]} == {S.RUNNING}


def test_from_every_state_a_job_can_come_to_an_end() -> None:
    for state in JobState:
        reached, frontier = {state}, {state}
        while frontier:
            frontier = {after for before in frontier for after in TRANSITIONS[before]} - reached
            reached |= frontier
        assert reached & FINAL


@pytest.mark.parametrize("before, after", list(itertools.product(JobState, repeat=2)))
def test_a_transition_is_checked(before: JobState, after: JobState) -> None:
    if after in TRANSITIONS[before]:
        check_transition("id", before, after)
        return
    with pytest.raises(IllegalTransition) as caught:
        check_transition("id", before, after)
    assert f"Job id is {before} and cannot become {after}; it can become " in str(caught.value)


def test_a_refused_transition_says_what_is_possible() -> None:
    with pytest.raises(IllegalTransition) as caught:
        check_transition("X", S.QUEUED, S.COMPLETED)
    assert str(caught.value) == "Job X is queued and cannot become completed; it can become canceled, running"


def test_runs_whose_worker_disappeared_are_no_failures() -> None:
    assert job(attempt=5, losses=2).failures == 3
    assert not job(state="retrying").is_final
    assert job(state="dead", status="failed").is_final


def test_a_new_job_runs_as_often_as_its_policy_says() -> None:
    assert NewJob(kind="work").max_attempts == 1
    assert NewJob(kind="work", retry_policy=RetryPolicy(retries=4)).max_attempts == 5


@pytest.mark.parametrize("state", list(JobState))
def test_an_ending_knows_what_clients_will_see(state: JobState) -> None:
    ending = Ending(job_id="id", lease_token="token", state=state)
    assert ending.status is STATUSES[state]
    assert ending.is_final is (state in FINAL)


def test_what_only_workers_need_is_hidden() -> None:
    assert {"result", "lease_token", "lease_until"} <= set(JOBS.hidden)
    assert {"state", "kind", "queue", "attempt", "progress", "artifact_id"} <= set(JOBS.readable)


@pytest.mark.parametrize("name", ["a", "A-1", "send_mail", "v1.2", "9", "x" * 100])
def test_a_name_is_made_of_harmless_characters(name: str) -> None:
    assert msgspec.convert(name, Name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a\n", "a/b", "é", "$x", "x" * 101])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, Name)


def test_a_label_is_any_short_text() -> None:
    assert msgspec.convert("Übersicht für März", Label) == "Übersicht für März"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("x" * 201, Label)


@given(st.text(st.characters() | st.sampled_from("\0\ud800\udfff"), max_size=20), st.integers(0, 30))
def test_any_text_can_be_made_storable(text: str, most: int) -> None:
    stored = storable(text, most)
    assert len(stored) <= most
    assert "\0" not in stored
    stored.encode()


@pytest.mark.parametrize("text, stored", [("plain é", "plain é"), ("a\0b", "a\\0b"), ("\ud800", "\\ud800"), ("", "")])
def test_storable_text_stays_readable(text: str, stored: str) -> None:
    assert storable(text, 100) == stored
