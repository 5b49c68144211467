"""Graphs in the database: whoever ends a job decides what that means for the others, and nobody is forgotten."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.entity import new_id, now_utc
from domain.errors import Conflict
from domain.graphs import Edge, Graph, On, rerun_plan
from domain.jobs import FINAL, IllegalTransition, Job, JobState, Retention
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import (
    TABLES,
    check,
    claim,
    count,
    ending,
    event_types,
    expire,
    finish,
    get,
    move,
    new,
    open_jobs,
)

COMPLETED, FAILED, DEAD, CANCELED = JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELED
SKIPPED, BLOCKED, QUEUED = JobState.SKIPPED, JobState.BLOCKED, JobState.QUEUED
ENDS = (COMPLETED, FAILED, DEAD, CANCELED)
Links = Sequence[tuple[int, int, On]]
Shape = Mapping[str, Mapping[str, str]]


async def submit(jobs: JobDatabase, shape: Shape, **values: Mapping[str, Any]) -> dict[str, str]:
    """Submit a graph, given as what each node depends on; returns the ids by name."""
    graph = Graph(submitted_at=now_utc(), size=len(shape), label="a graph")
    ids = {name: new_id() for name in shape}
    made = [
        new(id=ids[name], node=name, graph_id=graph.id, waits_for=len(parents), **values.get(name, {}))
        for name, parents in shape.items()
    ]
    edges = [Edge(ids[parent], ids[name], On(on)) for name, parents in shape.items() for parent, on in parents.items()]
    assert len(await jobs.insert_graph(graph, made, edges)) == len(shape)
    return ids


async def named_states(jobs: JobDatabase, ids: Mapping[str, str]) -> dict[str, JobState]:
    found = {job.id: job for job in await jobs.find_many(list(ids.values()))}
    for job in found.values():
        check(job)
    return {name: found[id].state for name, id in ids.items()}


async def take(jobs: JobDatabase, ids: Mapping[str, str], *names: str) -> list[Job]:
    """Claim everything that is ready, which must be these nodes."""
    claimed = await claim(jobs)
    assert {job.node for job in claimed} == set(names)
    return sorted(claimed, key=lambda job: names.index(str(job.node)))


async def rerun(jobs: JobDatabase, graph_id: str, start: Collection[str]) -> list[Job]:
    async with jobs.transaction():
        found, edges = await jobs.of_graph(graph_id, lock=True), await jobs.edges_of(graph_id)
        return await jobs.requeue(rerun_plan(start, found, edges))


# One at a time


async def test_a_graph_is_stored_whole(jobs: JobDatabase) -> None:
    ids = await submit(jobs, {"a": {}, "b": {"a": "success"}, "c": {"a": "always", "b": "failure"}})
    assert await named_states(jobs, ids) == {"a": QUEUED, "b": BLOCKED, "c": BLOCKED}
    graph_id = (await get(jobs, ids["a"])).graph_id or ""
    assert [job.node for job in await jobs.of_graph(graph_id)] == ["a", "b", "c"]
    assert await jobs.edges_of(graph_id) == [
        Edge(ids["a"], ids["b"], On.SUCCESS),
        Edge(ids["a"], ids["c"], On.ALWAYS),
        Edge(ids["b"], ids["c"], On.FAILURE),
    ]
    assert [(job.node, on) for job, on in await jobs.parents_of(ids["c"])] == [("a", On.ALWAYS), ("b", On.FAILURE)]
    assert await jobs.parents_of(ids["a"]) == []
    [(label, size)] = await jobs.engine.fetch("SELECT label, size FROM millrace_graphs")
    assert (label, size) == ("a graph", 3)


async def test_a_graph_with_a_taken_key_is_not_stored_at_all(jobs: JobDatabase) -> None:
    await jobs.insert([new(unique_key="k")])
    rows = {table: await count(jobs.engine, table) for table in TABLES}
    with pytest.raises(Conflict, match='unique key "k" of node "b"'):
        await submit(jobs, {"a": {}, "b": {"a": "success"}}, b={"unique_key": "k"})
    assert {table: await count(jobs.engine, table) for table in TABLES} == rows


async def test_a_join_is_ready_when_the_last_of_its_parents_has_ended(jobs: JobDatabase) -> None:
    ids = await submit(jobs, {"a": {}, "b": {}, "c": {}, "join": dict.fromkeys("abc", "success")})
    a, b, c = await take(jobs, ids, "a", "b", "c")
    assert (await finish(jobs, a)).ready == []
    assert (await get(jobs, ids["join"])).waits_for == 2
    ended = await jobs.finish([ending(b), ending(c)])
    assert [job.id for job in ended.ready] == [ids["join"]]
    check(ended.ready[0])
    assert await event_types(jobs, ids["join"]) == ["submitted", "waiting", "ready"]
    await take(jobs, ids, "join")


@pytest.mark.parametrize(
    "end, expected",
    [
        (COMPLETED, {"success": QUEUED, "failure": SKIPPED, "always": QUEUED}),
        (FAILED, {"success": SKIPPED, "failure": QUEUED, "always": QUEUED}),
        (DEAD, {"success": SKIPPED, "failure": QUEUED, "always": QUEUED}),
        (CANCELED, {"success": SKIPPED, "failure": SKIPPED, "always": QUEUED}),
        (JobState.RETRYING, {"success": BLOCKED, "failure": BLOCKED, "always": BLOCKED}),
        (JobState.QUEUED, {"success": BLOCKED, "failure": BLOCKED, "always": BLOCKED}),
    ],
)
async def test_what_depends_on_a_job_hears_how_it_ended(
    jobs: JobDatabase, end: JobState, expected: dict[str, JobState]
) -> None:
    ids = await submit(jobs, {"parent": {}, **{on: {"parent": on} for on in expected}})
    delay = 9.0 if end is JobState.RETRYING else None
    ended = await finish(jobs, *await take(jobs, ids, "parent"), state=end, delay_seconds=delay)
    assert {job.node for job in ended.ready} == {on for on, state in expected.items() if state is QUEUED}
    found = await named_states(jobs, ids)
    assert {on: found[on] for on in expected} == expected


async def test_what_cannot_run_any_more_is_skipped_at_once_and_so_is_what_depends_on_it(jobs: JobDatabase) -> None:
    shape = {
        "bad": {},
        "slow": {},
        "join": {"bad": "success", "slow": "success"},
        "after": {"join": "success"},
        "last": {"after": "always", "slow": "always"},
    }
    ids = await submit(jobs, shape)
    bad, slow = await take(jobs, ids, "bad", "slow")
    assert (await finish(jobs, bad, state=FAILED)).ready == []
    found = await named_states(jobs, ids)
    assert [found[name] for name in ("join", "after", "last")] == [SKIPPED, SKIPPED, BLOCKED]
    assert [job.node for job in (await finish(jobs, slow)).ready] == ["last"]
    assert await event_types(jobs, ids["join"]) == ["submitted", "skipped"]


async def test_a_delayed_node_waits_for_both(jobs: JobDatabase) -> None:
    ids = await submit(
        jobs,
        {"a": {}, "late": {"a": "success"}, "due": {"a": "success"}},
        late={"delay_seconds": 99.0},
        due={"delay_seconds": 99.0},
    )
    await move(jobs, "run_at", -1.0, ids["due"])
    ended = await finish(jobs, *await take(jobs, ids, "a"))
    assert [job.id for job in ended.ready] == [ids["due"]]
    assert (await named_states(jobs, ids))["late"] is JobState.SCHEDULED
    await move(jobs, "run_at", -1.0, ids["late"])
    await jobs.promote()
    await take(jobs, ids, "due", "late")


async def test_a_whole_graph_can_be_canceled(jobs: JobDatabase) -> None:
    shape = {"a": {}, "done": {}, "b": {"a": "always"}, "c": {"b": "always"}, "late": {}}
    ids = await submit(jobs, shape, late={"delay_seconds": 99.0})
    a, done = await take(jobs, ids, "a", "done")
    await finish(jobs, done)
    canceled = await jobs.cancel(list(ids.values()))
    assert canceled.ready == []
    assert await named_states(jobs, ids) == {
        "a": JobState.CANCELING,
        "done": COMPLETED,
        "b": CANCELED,
        "c": CANCELED,
        "late": CANCELED,
    }
    assert (await finish(jobs, a, state=CANCELED)).ready == []
    assert (await named_states(jobs, ids))["a"] is CANCELED
    assert await claim(jobs) == []


async def test_a_parent_that_is_taken_away_or_lost_lets_its_children_go_on(jobs: JobDatabase) -> None:
    shape = {
        "lost": {},
        "taken": {},
        "a": {"lost": "failure"},
        "b": {"taken": "always"},
        "c": {"taken": "success"},
    }
    ids = await submit(jobs, shape)
    lost, taken = await take(jobs, ids, "lost", "taken")
    await expire(jobs, lost.id)
    assert [job.id for job in (await jobs.reap(1)).ready] == [ids["a"]]
    async with jobs.transaction():
        assert [job.id for job in (await jobs.cancel([taken.id], is_at_once=True)).ready] == [ids["b"]]
        await jobs.delete([taken.id])
    del ids["taken"]
    assert await named_states(jobs, ids) == {"lost": DEAD, "a": QUEUED, "b": QUEUED, "c": SKIPPED}
    assert await jobs.parents_of(ids["b"]) == []


async def test_a_graph_is_gone_with_the_last_of_its_jobs(jobs: JobDatabase) -> None:
    ids = await submit(jobs, {"a": {}, "b": {"a": "success"}, "c": {"b": "success"}})
    assert await jobs.delete([ids["b"]]) == 1
    assert await count(jobs.engine, "millrace_graphs") == 1
    assert await count(jobs.engine, "millrace_job_edges") == 0
    assert await jobs.delete([ids["a"], ids["c"]]) == 2
    assert [await count(jobs.engine, table) for table in TABLES] == [0] * len(TABLES)


async def test_the_jobs_of_a_graph_are_kept_until_all_of_them_may_go(jobs: JobDatabase) -> None:
    shape: Shape = {"a": {}, "b": {}, "c": {"a": "success", "b": "failure"}}
    ids = await submit(jobs, shape)
    alone = [job.id for job in await jobs.insert([new(priority=-1)])]
    a, b, single = await claim(jobs)
    await finish(jobs, a, single)
    await move(jobs, "finished_at", -8 * 86_400.0, a.id, single.id)
    assert await jobs.outdated(Retention()) == alone
    assert await jobs.outdated(Retention(most_jobs=0)) == alone
    await finish(jobs, b, state=FAILED)
    [c] = await take(jobs, ids, "c")
    await finish(jobs, c)
    await move(jobs, "finished_at", -8 * 86_400.0, b.id, c.id)
    assert await jobs.outdated(Retention()) == alone
    await move(jobs, "finished_at", -31 * 86_400.0, b.id)
    gone: set[str] = set()
    while some := await jobs.outdated(Retention()):
        gone |= set(some)
        await jobs.delete(some)
    assert gone == {a.id, b.id, c.id, single.id}
    assert await count(jobs.engine, "millrace_graphs") == 0


async def test_a_graph_of_a_thousand_nodes_is_run(jobs: JobDatabase) -> None:
    middle = [f"n{number}" for number in range(1_000)]
    ids = await submit(
        jobs,
        {"root": {}, **{name: {"root": "success"} for name in middle}, "join": dict.fromkeys(middle, "always")},
    )
    assert len((await finish(jobs, *await take(jobs, ids, "root"))).ready) == 1_000
    claimed = await claim(jobs, 1_000)
    failing, rest = claimed[:300], claimed[300:]
    assert (await finish(jobs, *failing, state=FAILED)).ready == []
    assert [job.id for job in (await finish(jobs, *rest)).ready] == [ids["join"]]


# Against an oracle


def is_met(on: On, state: JobState) -> bool:
    return {
        On.ALWAYS: True,
        On.SUCCESS: state is COMPLETED,
        On.FAILURE: state in {FAILED, DEAD},
    }[on]


def expected_states(size: int, links: Links, ends: Sequence[JobState]) -> list[JobState]:
    """How the nodes of a graph end, when node `n` ends in `ends[n]` should it run."""
    found: list[JobState] = []
    for node in range(size):
        is_reached = all(is_met(on, found[parent]) for parent, child, on in links if child == node)
        found.append(ends[node] if is_reached else SKIPPED)
    return found


def expected_again(
    size: int, links: Links, before: Sequence[JobState], ends: Sequence[JobState], start: Collection[int]
) -> list[JobState]:
    """How they end when the nodes `start` run again: by what else runs again, and by what was before."""
    found, again = list(before), set[int]()
    for node in range(size):
        anew = [(parent, on) for parent, child, on in links if child == node and parent in again]
        kept = [(parent, on) for parent, child, on in links if child == node and parent not in again]
        if node in start or (anew and all(is_met(on, found[parent]) for parent, on in kept)):
            again.add(node)
            found[node] = ends[node] if all(is_met(on, found[parent]) for parent, on in anew) else SKIPPED
    return found


class Story(NamedTuple):
    """A graph, how its nodes end when they run for the first and for the second time, and which run again."""

    size: int
    links: Links
    first: list[JobState]
    second: list[JobState]
    start: set[int]
    seed: int


@st.composite
def some_stories(draw: st.DrawFn) -> Story:
    size = draw(st.integers(1, 8))
    pairs = [(parent, child) for child in range(size) for parent in range(child)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=16)) if pairs else []
    some_ends = st.lists(st.sampled_from(ENDS), min_size=size, max_size=size)
    return Story(
        size,
        [(parent, child, draw(st.sampled_from(On))) for parent, child in chosen],
        draw(some_ends),
        draw(some_ends),
        draw(st.sets(st.integers(0, size - 1), min_size=1)),
        draw(st.integers(0, 99)),
    )


def shape_of(size: int, links: Links) -> Shape:
    # Not in the order of their dependencies, nor are their ids.
    nodes = list(range(size))
    random.Random(size).shuffle(nodes)
    return {str(node): {str(parent): on for parent, child, on in links if child == node} for node in nodes}


async def work_off(jobs: JobDatabase, ends: Sequence[JobState], chance: random.Random) -> list[int]:
    """Run everything that becomes ready, a few at a time in any order; returns what ran."""
    held: list[Job] = []
    ran: list[int] = []
    while True:
        claimed = await claim(jobs, chance.randint(1, 4))
        held += claimed
        ran += [int(job.node or "") for job in claimed]
        if not held:
            return ran
        chance.shuffle(held)
        some, held = held[: (most := chance.randint(1, 4))], held[most:]
        ended = await jobs.finish([ending(job, ends[int(job.node or "")]) for job in some])
        assert len(ended.jobs) == len(some)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_stories())
async def test_every_graph_ends_as_its_conditions_say_and_so_does_its_rerun(jobs: JobDatabase, story: Story) -> None:
    size, links, chance = story.size, story.links, random.Random(story.seed)
    ids = await submit(jobs, shape_of(size, links))
    ran = await work_off(jobs, story.first, chance)
    first = expected_states(size, links, story.first)
    found = await named_states(jobs, ids)
    assert [found[str(node)] for node in range(size)] == first
    assert sorted(ran) == [node for node in range(size) if first[node] is not SKIPPED]

    graph_id = (await get(jobs, ids["0"])).graph_id or ""
    await rerun(jobs, graph_id, [ids[str(node)] for node in story.start])
    await work_off(jobs, story.second, chance)
    found = await named_states(jobs, ids)
    second = expected_again(size, links, first, story.second, story.start)
    assert [found[str(node)] for node in range(size)] == second
    await jobs.delete(list(ids.values()))


# Several at a time


async def test_of_many_who_end_the_parents_of_a_job_one_finds_it_ready(jobs: JobDatabase, jobs_url: str) -> None:
    parents = [f"p{number}" for number in range(6)]
    async with open_jobs(jobs_url, pool_size=4) as other:
        for _ in range(10):
            ids = await submit(
                jobs,
                {
                    **{name: {} for name in parents},
                    "join": dict.fromkeys(parents, "always"),
                    "end": {"join": "success"},
                },
            )
            claimed = await take(jobs, ids, *parents)
            ended = await asyncio.gather(
                *(finish((jobs, other)[number % 2], job) for number, job in enumerate(claimed[:5])),
                other.cancel([claimed[5].id], is_at_once=True),
            )
            assert [job.id for part in ended for job in part.ready] == [ids["join"]]
            await finish(jobs, *await take(jobs, ids, "join"))
            await finish(jobs, *await take(jobs, ids, "end"))


async def test_a_rerun_while_another_parent_ends_leaves_nobody_waiting_for_ever(
    jobs: JobDatabase, jobs_url: str
) -> None:
    async with open_jobs(jobs_url) as other:
        for _ in range(15):
            ids = await submit(jobs, {"a": {}, "b": {}, "c": {"a": "success", "b": "success"}})
            a, b = await take(jobs, ids, "a", "b")
            await finish(jobs, a, state=FAILED)
            assert (await named_states(jobs, ids))["c"] is SKIPPED
            await asyncio.gather(rerun(jobs, a.graph_id or "", [a.id]), finish(other, b))
            await finish(jobs, *await take(jobs, ids, "a"))
            await finish(jobs, *await take(jobs, ids, "c"))
            assert set((await named_states(jobs, ids)).values()) == {COMPLETED}


async def test_graphs_that_are_worked_on_canceled_lost_and_rerun_by_many_at_once_all_end(
    jobs: JobDatabase, jobs_url: str
) -> None:
    """Nobody waits in a circle (that would be a `Conflict`), and no job is left waiting."""
    layers = {f"{layer}{number}": layer for layer in range(4) for number in range(5)}
    chance = random.Random(7)
    shape = {
        name: {
            other: chance.choice(list(On)) if chance.random() < 0.3 else On.ALWAYS
            for other, above in layers.items()
            if above == layer - 1 and chance.random() < 0.6
        }
        for name, layer in layers.items()
    }
    graphs = [await submit(jobs, shape) for _ in range(5)]
    everything = [id for ids in graphs for id in ids.values()]
    is_over = asyncio.Event()

    async def labour(own: JobDatabase) -> None:
        while not is_over.is_set():
            claimed = await claim(own, chance.randint(1, 6), worker_id=new_id())
            chance.shuffle(claimed)
            await own.finish([ending(job, chance.choice(ENDS)) for job in claimed])

    async def disturb(own: JobDatabase) -> None:
        for _ in range(25):
            some = chance.sample(everything, 6)
            await own.cancel(some)
            await expire(own, *some)
            await own.reap(99)
            graph_id = (await get(own, some[0])).graph_id or ""
            # Most of the time some of it runs, and is not run again.
            with suppress(IllegalTransition):
                await rerun(own, graph_id, chance.sample(everything, 1))

    async with open_jobs(jobs_url, pool_size=6) as other, asyncio.timeout(60):
        working = [asyncio.create_task(labour(own)) for own in (jobs, other, other)]
        await asyncio.gather(disturb(jobs), disturb(other))
        while any(not job.is_final for job in await jobs.find_many(everything)):
            assert not any(task.done() for task in working)
            await asyncio.sleep(0.01)
        is_over.set()
        await asyncio.gather(*working)
    for job in await jobs.find_many(everything):
        check(job)
        assert job.state in FINAL
