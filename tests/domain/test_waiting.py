"""Why a job is where it is: the sentences that people read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.entity import new_id
from domain.graphs import On
from domain.jobs import FINAL, STATUSES, Job, JobState
from domain.waiting import why_blocked, why_later, why_over, why_queued, why_running
from domain.workers import WorkerInfo

MOMENT = datetime(2025, 1, 31, 12, tzinfo=UTC)
S = JobState
SUCCESS, FAILURE, ALWAYS = On


def job(state: JobState, **values: Any) -> Job:
    made: dict[str, Any] = {
        "kind": "work",
        "submitted_at": MOMENT,
        "run_at": MOMENT,
        "state": state,
        "status": STATUSES[state],
    }
    return Job(**(made | values))


def worker(**values: Any) -> WorkerInfo:
    made: dict[str, Any] = {
        "id": new_id(),
        "host": "here",
        "pid": 7,
        "queues": ("default",),
        "kinds": ("work",),
        "concurrency": 4,
    }
    return WorkerInfo(**(made | values))


def test_a_blocked_job_names_what_it_waits_for() -> None:
    a, b, c = (job(state, node=node) for state, node in [(S.RUNNING, "a"), (S.COMPLETED, "b"), (S.QUEUED, None)])
    why = why_blocked(job(S.BLOCKED), [(a, SUCCESS), (b, SUCCESS), (c, FAILURE)])
    assert (why.state, why.reason) == (S.BLOCKED, "blocked")
    assert why.text == f"blocked by a (running), {c.id} (queued, on failure)"
    assert why.facts == {
        "blocked_by": [
            {"job_id": a.id, "node": "a", "state": S.RUNNING, "on": SUCCESS},
            {"job_id": c.id, "node": None, "state": S.QUEUED, "on": FAILURE},
        ]
    }


@pytest.mark.parametrize(
    "seconds, text",
    [
        (40.0, "scheduled in 40 s"),
        (0.4, "scheduled in 0 s"),
        (119.0, "scheduled in 119 s"),
        (150.0, "scheduled in 2 min"),
        (7_199.0, "scheduled in 120 min"),
        (7_200.0, "scheduled in 2.0 h"),
        (90_000.0, "scheduled in 25.0 h"),
        (0.0, "scheduled now"),
        (-5.0, "scheduled now"),
    ],
)
def test_a_scheduled_job_says_when(seconds: float, text: str) -> None:
    why = why_later(job(S.SCHEDULED), seconds)
    assert (why.reason, why.text) == ("scheduled", text)
    assert why.facts == {"seconds": max(seconds, 0.0)}


def test_a_job_that_is_tried_again_says_why() -> None:
    again = job(S.RETRYING, attempt=3, losses=1, max_attempts=5, error="ValueError: wrong")
    why = why_later(again, 12.34567)
    assert (why.reason, why.text) == ("retrying", "attempt 3 of 5 in 12 s, after: ValueError: wrong")
    assert why.facts == {"seconds": 12.346}


def test_a_queued_job_without_worker_says_how_to_start_one() -> None:
    waiting = job(S.QUEUED, queue="mail")
    for workers in ([], [worker()], [worker(queues=("mail",), is_draining=True)]):
        why = why_queued(waiting, workers, [], 0)
        assert why.reason == "no_worker"
        assert (
            why.text == 'waiting: no worker takes jobs of queue "mail"; start one with `millrace worker --queues mail`'
        )
        assert why.facts == {"queue": "mail"}


def test_a_queued_job_that_no_worker_knows_says_so() -> None:
    why = why_queued(job(S.QUEUED, kind="new"), [worker(), worker()], [], 0)
    assert (why.reason, why.text) == ("unknown_task", 'waiting: no worker of queue "default" knows the task "new"')
    assert why.facts == {"kind": "new"}


def test_a_job_without_a_slot_names_those_that_have_it() -> None:
    holders = [job(S.RUNNING), job(S.CANCELING)]
    waiting = job(S.QUEUED, concurrency_key="tenant-7", concurrency_limit=2)
    why = why_queued(waiting, [worker()], holders, 3)
    assert why.reason == "concurrency"
    assert why.text == f"waiting: concurrency key tenant-7 2/2 held by {holders[0].id}, {holders[1].id}"
    assert why.facts == {"key": "tenant-7", "limit": 2, "held_by": [holder.id for holder in holders]}
    assert why_queued(waiting, [worker()], holders[:1], 3).reason == "queued"


def test_a_queued_job_says_how_many_come_first() -> None:
    workers = [worker(running=4), worker(running=1, concurrency=2), worker(queues=("other",), concurrency=99)]
    why = why_queued(job(S.QUEUED), workers, [], 12)
    assert why.reason == "queued"
    assert why.text == 'waiting: 12 jobs of queue "default" come first; its workers run 5 of 6 at a time'
    assert why.facts == {"ahead": 12, "running": 5, "concurrency": 6}


def test_a_running_job_says_where() -> None:
    here = worker()
    why = why_running(job(S.RUNNING, worker_id=here.id, attempt=2), [worker(), here])
    assert (why.reason, why.text) == ("running", "running on here, process 7, attempt 2")
    assert why.facts == {"worker_id": here.id, "attempt": 2, "is_worker_alive": True}
    gone = why_running(job(S.CANCELING, worker_id=new_id(), attempt=1), [here])
    assert gone.reason == "canceling"
    assert gone.text == "told to stop; it still runs on a worker that has not been heard of lately, attempt 1"
    assert gone.facts["is_worker_alive"] is False


@pytest.mark.parametrize(
    "over, text",
    [
        (job(S.COMPLETED), "completed"),
        (job(S.CANCELED), "canceled on request"),
        (job(S.FAILED, error="E: wrong"), "failed: E: wrong"),
        (job(S.DEAD, attempt=4, losses=1, error="E"), "dead after 4 attempts and 1 lost workers: E"),
        (job(S.SKIPPED), "skipped: not reachable"),
    ],
)
def test_an_ended_job_says_how_it_ended(over: Job, text: str) -> None:
    why = why_over(over, [])
    assert (why.state, why.reason, why.text) == (over.state, over.state.value, text)
    assert over.state in FINAL


def test_a_skipped_job_names_what_it_would_have_needed() -> None:
    ends = [
        (S.FAILED, SUCCESS),
        (S.COMPLETED, SUCCESS),
        (S.RUNNING, SUCCESS),
        (S.SKIPPED, ALWAYS),
        (S.CANCELED, FAILURE),
    ]
    parents = [(job(state, node=f"n{number}"), on) for number, (state, on) in enumerate(ends)]
    assert why_over(job(S.SKIPPED), parents).text == "skipped: n0 is failed, n4 is canceled"


def test_a_job_that_needs_a_process_waits_while_all_are_busy() -> None:
    workers = [worker(processes=2, busy_processes=2), worker(processes=1, busy_processes=1)]
    why = why_queued(job(S.QUEUED), workers, [], 0, is_process=True)
    assert (why.reason, why.facts) == ("processes", {"ahead": 0, "busy": 3, "processes": 3})
    assert why.text == 'waiting: all 3 processes of the workers of queue "default" are busy; 0 jobs come first'
    assert why_queued(job(S.QUEUED), workers, [], 0).reason == "queued"
    assert why_queued(job(S.QUEUED), [*workers, worker()], [], 0, is_process=True).reason == "queued"


def test_a_risky_job_says_whose_turn_it_is_while_every_worker_with_room_takes_no_further_risk() -> None:
    waiting = job(S.QUEUED, losses=2)
    careful, other, full = worker(), worker(), worker(running=4)
    risks = [job(S.RUNNING, losses=2, worker_id=at.id) for at in (careful, other)]
    why = why_queued(waiting, [careful, other, full], [], 5, risks=risks)
    behind = sorted(risk.id for risk in risks)
    assert (why.reason, why.facts) == ("suspect", {"losses": 2, "behind": behind})
    assert why.text == (
        "waiting: it has lost its worker 2 times, and such jobs begin one after the other; "
        f"now it is the turn of {behind[0]}, {behind[1]}"
    )
    once = why_queued(job(S.QUEUED, losses=1), [careful], [], 0, risks=risks[:1])
    assert once.text.startswith("waiting: it has lost its worker once, and")


def test_caution_is_no_reason_where_something_else_is() -> None:
    waiting = job(S.QUEUED, losses=2, concurrency_key="k")
    careful = worker(processes=1)
    risks = [job(S.RUNNING, losses=2, worker_id=careful.id)]

    def reason(*workers: WorkerInfo, holders: Sequence[Job] = (), **values: Any) -> str:
        return why_queued(waiting, workers, holders, 0, **{"risks": risks, **values}).reason

    def as_careful(**values: Any) -> WorkerInfo:
        return msgspec.structs.replace(careful, **values)

    assert reason(careful) == "suspect"
    assert reason(careful, risks=()) == "queued"
    assert reason(careful, worker()) == "queued"
    assert reason(careful, worker(kinds=("other",))) == "suspect"
    assert reason(as_careful(running=4)) == "queued"
    assert reason(as_careful(busy_processes=1)) == "suspect"
    assert reason(as_careful(busy_processes=1), is_process=True) == "processes"
    assert reason(careful, worker(busy_processes=1), is_process=True) == "suspect"
    assert reason(careful, holders=risks) == "concurrency"


def test_workers_that_do_not_know_a_job_have_no_room_for_it() -> None:
    workers = [worker(processes=1, busy_processes=1, running=1), worker(kinds=("other",))]
    assert why_queued(job(S.QUEUED), workers, [], 0, is_process=True).reason == "processes"
    assert why_queued(job(S.QUEUED), workers, [], 0).facts == {"ahead": 0, "running": 1, "concurrency": 4}
