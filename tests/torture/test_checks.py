"""That the checks after a storm see what they are for: each case breaks one promise in a record that keeps them all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from domain.jobs import JobState
from tests.torture.checks import violations
from tests.torture.ledger import SUCCESS, Ledger, Promise
from tests.torture.record import Event, JobRow, Line, Record, TickRow
from tests.torture.report import counts

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TICKS = {"S": (NOON, NOON + timedelta(seconds=2))}


def at(seconds: float) -> datetime:
    """A moment after noon."""
    return NOON + timedelta(seconds=seconds)


def job(id: str, **values: object) -> JobRow:
    """A job that was completed at its second run, two seconds after noon."""
    row = JobRow(
        id=id,
        kind="keyed",
        label=id,
        state="completed",
        status="completed",
        attempt=2,
        losses=1,
        finished_at=at(2),
        result=None,
        graph_id=None,
        node=None,
        schedule_id=None,
        unique_key=None,
        concurrency_key=None,
        lease_token=None,
        submitted_at=NOON,
        error=None,
    )
    return row._replace(**values)  # type: ignore[arg-type]


class Books:
    """A record and a ledger that agree."""

    def __init__(self) -> None:
        self.jobs = {id: job(id, concurrency_key="lane") for id in ("A", "B")}
        self.jobs |= {id: job(id, graph_id="G", node=node, kind="node") for id, node in (("N1", "n1"), ("N2", "n2"))}
        self.jobs |= {f"T{n}": job(f"T{n}", schedule_id="S", kind="instant") for n in range(3)}
        self.jobs |= {"U1": job("U1", unique_key="one", kind="brief")}
        late = {"submitted_at": at(2), "finished_at": at(4)}
        self.jobs |= {"U2": job("U2", unique_key="one", kind="brief", **late)}
        kinds = ("submitted", "running", "lost", "running", "completed")
        self.events = [
            Event(id, at(place / 2), kind, (place + 1) // 2) for id in self.jobs for place, kind in enumerate(kinds)
        ]
        self.lines = []
        for id in self.jobs:
            self.lines.append(Line(f"{id}-1", "start", id, 1, 1, at(0.6)))
            self.lines.append(Line(f"{id}-2", "start", id, 2, 2, at(1.6)))
            self.lines.append(Line(f"{id}-2", "end", id, 2, 2, at(1.9)))
        self.ticks = [TickRow("S", at(n), "fired", f"T{n}") for n in range(3)]
        self.graphs = {"graph": "G"}
        self.leftovers: list[str] = []
        self.ledger = Ledger()
        self.ledger.accepted = {"A": SUCCESS, "B": SUCCESS}
        self.ledger.removed = {"gone": True, "U1": False}
        self.lines.append(Line("X", "start", "gone", 1, 1, at(1)))
        self.ledger.doubtful = {"U1": SUCCESS, "never stored": SUCCESS}
        self.ledger.graphs = {"G": {"n1": SUCCESS, "n2": SUCCESS}}
        self.ledger.doubtful_graphs = {"graph": {"n1": SUCCESS, "n2": SUCCESS}, "never stored": {}}

    def change(self, id: str, **values: object) -> None:
        """Change a job's row."""
        self.jobs[id] = self.jobs[id]._replace(**values)  # type: ignore[arg-type]

    def record(self) -> Record:
        """What there is in the tables."""
        return Record(list(self.jobs.values()), self.events, self.lines, self.ticks, self.graphs, self.leftovers)

    def violations(self) -> list[str]:
        """What the checks find."""
        return violations(self.record(), self.ledger, TICKS)


def lose_job(books: Books) -> None:
    books.ledger.accepted["lost"] = SUCCESS


def fail_job(books: Books) -> None:
    books.change("A", state="failed")


def change_result(books: Books) -> None:
    books.ledger.accepted["A"] = Promise(SUCCESS.states, 7)


def fail_doubtful_job(books: Books) -> None:
    books.change("U1", state="dead")


def keep_removed_job(books: Books) -> None:
    books.ledger.removed["A"] = True


def fail_job_that_may_be_removed(books: Books) -> None:
    books.ledger.removed["U1"] = False
    books.change("U1", state="dead")


def leave_lines_over(books: Books) -> None:
    books.leftovers.append("millrace_job_logs of X")


def lose_node(books: Books) -> None:
    del books.jobs["N2"]


def fail_node(books: Books) -> None:
    books.change("N2", state=JobState.SKIPPED)


def lose_graph(books: Books) -> None:
    books.graphs = {}


def go_on(books: Books) -> None:
    books.change("A", state="running", finished_at=None)


def keep_lease(books: Books) -> None:
    books.change("A", lease_token="token")


def end_twice(books: Books) -> None:
    books.events += [Event("A", at(3), "running", 3), Event("A", at(4), "completed", 3)]


def miscount_attempts(books: Books) -> None:
    books.change("A", attempt=3)


def miscount_losses(books: Books) -> None:
    books.change("A", losses=0)


def claim_twice(books: Books) -> None:
    books.events = [event for event in books.events if (event.job_id, event.type) != ("A", "lost")]
    books.change("A", losses=0)


def begin_unclaimed(books: Books) -> None:
    books.lines.append(Line("X", "start", "A", 2, 3, at(1.7)))


def begin_after_the_end(books: Books) -> None:
    books.lines[0] = books.lines[0]._replace(at=at(2.5))


def invent_success(books: Books) -> None:
    books.lines = [line for line in books.lines if (line.job_id, line.moment) != ("A", "end")]


def run_what_is_not_there(books: Books) -> None:
    books.lines.append(Line("X", "start", "X", 1, 1, at(1)))


def crowd_lane(books: Books) -> None:
    books.jobs["C"] = job("C", concurrency_key="lane")
    books.events += [event._replace(job_id="C") for event in books.events if event.job_id == "A"]
    books.lines += [line._replace(job_id="C", run_id="C") for line in books.lines if line.run_id == "A-2"]


def share_name(books: Books) -> None:
    books.change("U2", submitted_at=at(1))


def miss_tick(books: Books) -> None:
    del books.ticks[1], books.jobs["T1"]


def double_tick(books: Books) -> None:
    books.ticks.append(books.ticks[1])


def tick_between(books: Books) -> None:
    books.ticks.append(TickRow("S", at(0.5), "skipped", None))


def lose_job_of_tick(books: Books) -> None:
    del books.jobs["T1"]


def double_job_of_tick(books: Books) -> None:
    books.jobs["T9"] = job("T9", schedule_id="S")
    books.events += [event._replace(job_id="T9") for event in books.events if event.job_id == "T1"]
    books.lines += [line._replace(job_id="T9") for line in books.lines if line.job_id == "T1"]


def fail_tick(books: Books) -> None:
    books.ticks[1] = books.ticks[1]._replace(outcome="failed")


BREAKS = [
    *(lose_job, fail_job, change_result, fail_doubtful_job, lose_node, fail_node, lose_graph, go_on, keep_lease),
    *(keep_removed_job, fail_job_that_may_be_removed, leave_lines_over),
    *(end_twice, miscount_attempts, miscount_losses, claim_twice, begin_unclaimed, begin_after_the_end),
    *(invent_success, run_what_is_not_there, crowd_lane, share_name, miss_tick, double_tick, tick_between),
    *(lose_job_of_tick, double_job_of_tick, fail_tick),
]


def test_nothing_is_wrong_with_a_record_that_keeps_every_promise() -> None:
    assert Books().violations() == []


@pytest.mark.parametrize("break_one", BREAKS)
def test_every_broken_promise_is_seen(break_one: Callable[[Books], None]) -> None:
    books = Books()
    break_one(books)
    assert books.violations()


def test_of_the_accepted_jobs_those_that_have_ended_are_counted_however_they_have() -> None:
    books = Books()
    assert _accepted_and_ended(books) == (4, 4)
    books.change("A", state="dead")
    books.change("N1", state="canceled")
    assert _accepted_and_ended(books) == (4, 4)
    books.change("A", state="queued")
    books.change("N1", state="blocked")
    assert _accepted_and_ended(books) == (4, 2)
    lose_job(books)
    assert _accepted_and_ended(books) == (5, 2)


def _accepted_and_ended(books: Books) -> tuple[int, int]:
    found = counts(books.record(), books.ledger, {})
    return found["jobs accepted"], found["… of them ended"]
