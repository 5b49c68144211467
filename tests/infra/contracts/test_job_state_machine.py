"""Everything that can happen to jobs, in any order, beside a model of it in plain Python."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.entity import new_id, now_utc
from domain.graphs import Edge, Graph, On, is_met
from domain.jobs import FINAL, STATUSES, TRANSITIONS, Job, JobState, Progress
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import check, claim, empty, ending, expire, move, new, open_jobs
from tests.servers import Postgres

T = TypeVar("T")
S = JobState
MAX_LOSSES = 3
MOST_OPEN = 8
LATER = 3600.0
RUNNING = (S.RUNNING, S.CANCELING)
WAITING = (S.SCHEDULED, S.RETRYING)
KEYS = {"single": 1, "double": 2}

keys = st.sampled_from([None, None, *KEYS])
picks = st.integers(0, 1_000)
ends = st.sampled_from([S.COMPLETED, S.FAILED, S.DEAD, S.CANCELED, S.RETRYING, S.QUEUED])


class Known(msgspec.Struct):
    """What the model knows of a job."""

    id: str
    state: JobState
    attempt: int = 0
    losses: int = 0
    unique_key: str | None = None
    key: str | None = None
    is_due: bool = True
    is_lost: bool = False
    parent: str | None = None
    on: On = On.SUCCESS
    tokens: list[str] = []
    row: Job | None = None


class World:
    """The database under test, in a loop of its own, for Hypothesis knows no coroutines."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self.jobs: JobDatabase = self.run(self._opened.enter_async_context(open_jobs(url)))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.run(self._opened.aclose())
        self._runner.close()


class JobMachine(RuleBasedStateMachine):
    """Does something to the jobs and the same to the model; after every step both must say the same."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Known] = {}

    @property
    def jobs(self) -> JobDatabase:
        return self.world.jobs

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.world.run(coroutine)

    @property
    def has_room(self) -> bool:
        return len(self.known) - len(self.among(*FINAL)) < MOST_OPEN

    def among(self, *states: JobState) -> list[Known]:
        return [known for known in self.known.values() if known.state in states]

    def some(self, pick: int, *states: JobState) -> Known:
        found = self.among(*states) if states else list(self.known.values())
        return found[pick % len(found)]

    @initialize()
    def begin(self) -> None:
        self.run(empty(self.jobs.engine))

    # What comes in

    @rule(
        unique_key=st.sampled_from([None, None, "a", "b"]), key=keys, is_due=st.booleans(), priority=st.integers(0, 1)
    )
    def submit(self, unique_key: str | None, key: str | None, is_due: bool, priority: int) -> None:
        job = new(
            priority=priority,
            unique_key=unique_key,
            concurrency_key=key,
            concurrency_limit=KEYS[key] if key else 1,
            delay_seconds=None if is_due else LATER,
        )
        inserted = self.run(self.jobs.insert([job]))
        unfinished = {known.unique_key for known in self.known.values() if known.state not in FINAL}
        is_taken = unique_key is not None and unique_key in unfinished
        assert [found.id for found in inserted] == ([] if is_taken else [job.id])
        if not is_taken:
            state = S.QUEUED if is_due else S.SCHEDULED
            self.known[job.id] = Known(job.id, state, unique_key=unique_key, key=key, is_due=is_due)

    @precondition(lambda self: self.has_room)
    @rule(on=st.sampled_from(On), key=keys, is_due=st.booleans())
    def submit_two_of_which_one_waits(self, on: On, key: str | None, is_due: bool) -> None:
        graph = Graph(submitted_at=now_utc(), size=2)
        parent = new(graph_id=graph.id, node="parent")
        child = new(
            graph_id=graph.id,
            node="child",
            waits_for=1,
            concurrency_key=key,
            concurrency_limit=KEYS[key] if key else 1,
            delay_seconds=None if is_due else LATER,
        )
        self.run(self.jobs.insert_graph(graph, [parent, child], [Edge(parent.id, child.id, on)]))
        self.known[parent.id] = Known(parent.id, S.QUEUED)
        self.known[child.id] = Known(child.id, S.BLOCKED, key=key, is_due=is_due, parent=parent.id, on=on)

    # What workers do

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        rows = sorted(
            (known for known in self.among(S.QUEUED)),
            key=lambda known: (-known.row.priority, known.row.run_at, known.id) if known.row else (),
        )
        slots = Counter(known.key for known in self.among(*RUNNING))
        expected: list[Known] = []
        for known in rows:
            if len(expected) < limit and (known.key is None or slots[known.key] < KEYS[known.key]):
                slots[known.key] += 1
                expected.append(known)
        claimed = self.run(claim(self.jobs, limit))
        assert [job.id for job in claimed] == [known.id for known in expected]
        for known, job in zip(expected, claimed, strict=True):
            assert job.lease_token not in known.tokens
            known.state, known.attempt, known.is_lost = S.RUNNING, known.attempt + 1, False
            known.tokens = [*known.tokens, job.lease_token or ""]

    @precondition(lambda self: self.among(*RUNNING))
    @rule(pick=picks, end=ends, is_due=st.booleans())
    def finish(self, pick: int, end: JobState, is_due: bool) -> None:
        known = self.some(pick, *RUNNING)
        assert known.row is not None
        delay = None if end is not S.RETRYING else 0.0 if is_due else LATER
        last = ending(known.row, end, delay_seconds=delay, is_undone=end is S.QUEUED, result=b"1", error="E")
        ended = self.run(self.jobs.finish([last]))
        assert [job.id for job in ended.jobs] == [known.id]
        known.attempt -= end is S.QUEUED and known.state is S.RUNNING
        if end is S.RETRYING:
            known.is_due = is_due
        self.become(known, end if known.state is S.RUNNING or end is S.COMPLETED else S.CANCELED)
        self.expect_ready(ended.ready)

    @precondition(lambda self: self.among(S.QUEUED))
    @rule(limit=st.integers(1, 4), last=st.lists(ends, min_size=4, max_size=4), is_due=st.booleans())
    def work(self, limit: int, last: list[JobState], is_due: bool) -> None:
        self.claim(limit)
        self.both_say_the_same()
        for end, _ in zip(last, self.among(*RUNNING), strict=False):
            self.finish(0, end, is_due)
            self.both_say_the_same()

    @precondition(lambda self: any(known.tokens for known in self.known.values()))
    @rule(pick=picks, end=ends)
    def come_too_late(self, pick: int, end: JobState) -> None:
        """A worker that has lost its lease tries everything."""
        had = [known for known in self.known.values() if known.tokens]
        known = had[pick % len(had)]
        is_held = known.state in RUNNING
        for token in known.tokens[:-1] if is_held else known.tokens:
            assert known.row is not None
            stale = msgspec.structs.replace(known.row, lease_token=token)
            assert self.run(self.jobs.finish([ending(stale, end, result=b"2")])).jobs == []
            assert self.run(self.jobs.renew([(known.id, token)], lease_seconds=60.0)) == {}
            assert self.run(self.jobs.held([(known.id, token)])) == {}
            self.run(self.jobs.report([(known.id, token, Progress(percent=1.0))]))
            self.run(self.jobs.write_logs([(known.id, token, "log", "late")]))
        assert self.run(self.jobs.logs(known.id, after=0, limit=9)) == []

    @precondition(lambda self: self.among(*RUNNING))
    @rule(pick=picks)
    def renew(self, pick: int) -> None:
        known = self.some(pick, *RUNNING)
        found = self.run(self.jobs.renew([(known.id, known.tokens[-1])], lease_seconds=60.0))
        assert found == {known.id: known.state}
        known.is_lost = False

    @precondition(lambda self: self.among(*RUNNING))
    @rule(pick=picks)
    def expire(self, pick: int) -> None:
        known = self.some(pick, *RUNNING)
        self.run(expire(self.jobs, known.id))
        known.is_lost = True

    @precondition(lambda self: self.among(S.QUEUED, *RUNNING))
    @rule(limit=st.integers(1, 4), pick=picks)
    def lose_a_worker(self, limit: int, pick: int) -> None:
        self.claim(limit)
        self.both_say_the_same()
        if self.among(*RUNNING):
            self.expire(pick)
        self.reap()

    @rule()
    def reap(self) -> None:
        lost = [known for known in self.among(*RUNNING) if known.is_lost]
        reaped = self.run(self.jobs.reap(MAX_LOSSES))
        assert {job.id for job in reaped.jobs} == {known.id for known in lost}
        for known in lost:
            known.losses += 1
            is_over = known.losses >= MAX_LOSSES
            self.become(known, S.CANCELED if known.state is S.CANCELING else S.DEAD if is_over else S.QUEUED)
        self.expect_ready(reaped.ready)

    @precondition(lambda self: self.among(S.BLOCKED, *WAITING))
    @rule(pick=picks)
    def let_time_pass(self, pick: int) -> None:
        known = self.some(pick, S.BLOCKED, *WAITING)
        self.run(move(self.jobs, "run_at", -1.0, known.id))
        known.is_due = True

    @rule()
    def promote(self) -> None:
        due = [known for known in self.among(*WAITING) if known.is_due]
        seconds = self.run(self.jobs.promote())
        for known in due:
            known.state = S.QUEUED
        if due:
            assert seconds == 0.01
        else:
            assert (seconds is None) is (not self.among(*WAITING))

    # What people do

    @precondition(lambda self: self.known)
    @rule(picked=st.lists(picks, min_size=1, max_size=2), is_at_once=st.sampled_from([False, False, True]))
    def cancel(self, picked: list[int], is_at_once: bool) -> None:
        chosen = {known.id: known for known in map(self.some, picked)}
        open_ = {id: known for id, known in chosen.items() if known.state not in FINAL}
        changed = {id for id, known in open_.items() if is_at_once or known.state is not S.CANCELING}
        canceled = self.run(self.jobs.cancel(list(chosen), is_at_once=is_at_once))
        assert {job.id for job in canceled.jobs} == changed
        # All of them first: what one of them means for another counts no more.
        ended = [open_[id] for id in changed if is_at_once or open_[id].state is not S.RUNNING]
        for id in changed:
            open_[id].state = S.CANCELED if open_[id] in ended else S.CANCELING
        for known in ended:
            self.become(known, S.CANCELED)
        self.expect_ready(canceled.ready)

    @precondition(lambda self: self.known)
    @rule(pick=picks)
    def requeue(self, pick: int) -> None:
        known = self.some(pick)
        others = {other.unique_key for other in self.known.values() if other.state not in FINAL}
        if known.unique_key is not None and known.unique_key in others:
            return
        requeued = self.run(self.jobs.requeue({known.id: 0}))
        assert [job.id for job in requeued] == [known.id] * (known.state in FINAL)
        if requeued:
            known.state, known.attempt, known.losses, known.is_due = S.QUEUED, 0, 0, True

    @precondition(lambda self: self.among(*FINAL))
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        known = self.some(pick, *FINAL)
        assert self.run(self.jobs.delete([known.id])) == 1
        del self.known[known.id]
        for other in self.known.values():
            if other.parent == known.id:
                other.parent = None

    # The model

    def become(self, known: Known, state: JobState) -> None:
        """A job has another state; whoever waits for it hears of its end."""
        known.state = state
        for child in self.known.values():
            if child.parent == known.id and child.state is S.BLOCKED and state in FINAL:
                if not is_met(child.on, state):
                    child.state = S.SKIPPED
                else:
                    child.state = S.QUEUED if child.is_due else S.SCHEDULED

    def expect_ready(self, ready: list[Job]) -> None:
        for job in ready:
            assert self.known[job.id].state is S.QUEUED
            assert job.waits_for == 0

    @invariant()
    def both_say_the_same(self) -> None:
        rows = {job.id: job for job in self.run(self.jobs.find_many(list(self.known)))}
        assert rows.keys() == self.known.keys()
        for id, job in rows.items():
            known = self.known[id]
            check(job)
            assert (job.state, job.attempt, job.losses) == (known.state, known.attempt, known.losses)
            assert job.status is STATUSES[known.state]
            assert job.state not in RUNNING or job.lease_token == known.tokens[-1]
            if known.row is not None:
                before, after = known.row, job
                assert after.revision >= before.revision
                if before.state is not after.state:
                    assert after.revision > before.revision
                    assert after.state in TRANSITIONS[before.state]
            known.row = job

    @invariant()
    def limits_hold(self) -> None:
        slots = Counter(known.key for known in self.among(*RUNNING))
        assert all(slots[key] <= limit for key, limit in KEYS.items())
        unfinished = Counter(known.unique_key for known in self.known.values() if known.state not in FINAL)
        assert all(times == 1 for key, times in unfinished.items() if key is not None)

    def teardown(self) -> None:
        """The history of every job has a line for each of its changes."""
        for known in self.known.values():
            events = self.run(self.jobs.events(known.id, after=0, limit=1_000))
            assert known.row is not None
            assert len(events) == known.row.revision


@pytest.fixture(scope="module", params=["SQLite in memory", "PostgreSQL"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "PostgreSQL":
        server: Postgres = request.getfixturevalue("postgres_server")
        name = f"machine_{new_id().lower()}"
        world = World(server.create_database(name))
    else:
        world = World("sqlite:///:memory:")
    yield world
    world.close()
    if request.param == "PostgreSQL":
        server.drop_database(name)


def test_jobs_go_through_their_states_as_the_model_does(world: World) -> None:
    class Machine(JobMachine):
        pass

    Machine.world = world
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=35,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
