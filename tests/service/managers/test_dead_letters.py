"""Dead jobs that are to run again: what stands in the way of some does not keep the others from it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import msgspec
import pytest

from domain.entity import new_id, now_utc
from domain.errors import Conflict
from domain.graphs import Edge, Graph, GraphRequest, On
from domain.jobs import Job, JobState, NewJob
from service.managers.jobs import Jobs
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, queue_name, works


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        yield opened


@pytest.fixture
async def jobs(service: Works) -> AsyncIterator[Jobs]:
    yield service.opened.managers.jobs
    rows = await service.engine.fetch("SELECT id FROM millrace_jobs")
    await service.store.cancel([id for (id,) in rows], is_at_once=True)
    await service.store.delete([id for (id,) in rows])


async def bury(service: Works, *ids: str) -> None:
    """Have these jobs be dead."""
    listed = ", ".join(f"'{id}'" for id in ids)
    await service.engine.execute(
        "UPDATE millrace_jobs SET state = 'dead', status = 'failed', waits_for = 0, finished_at = submitted_at "
        f"WHERE id IN ({listed})"
    )


async def dead(service: Works, unique_key: str | None = None) -> Job:
    job = await service.add(tasks.echo, queue=queue_name(), unique_key=unique_key)
    await bury(service, job.id)
    return job


async def graph(jobs: Jobs, service: Works, **keys: str | None) -> dict[str, str]:
    """A chain of nodes with these unique keys, the first dead and the others skipped; returns the ids by name."""
    names = list(keys)
    nodes = {
        name: {
            "task": "echo",
            "unique_key": keys[name],
            "depends_on": names[place - 1 : place] if place else [],
            "delay_seconds": 600,
        }
        for place, name in enumerate(names)
    }
    view = await service.opened.managers.graphs.submit(msgspec.convert({"nodes": nodes}, GraphRequest))
    ids = {name: node.job_id for name, node in view.nodes.items()}
    await jobs.cancel(ids[names[0]])
    await bury(service, ids[names[0]])
    return ids


def ids_of(found: Sequence[Job]) -> list[str]:
    return [job.id for job in found]


async def test_dead_jobs_that_cannot_run_again_do_not_keep_others_from_it(service: Works, jobs: Jobs) -> None:
    key = queue_name()
    older, newer, alone = await dead(service, key), await dead(service, key), await dead(service)
    found = await jobs.requeue_dead([older.id, newer.id, alone.id], 100)
    assert ids_of(found.jobs) == [newer.id, alone.id]
    assert found.left_out == {older.id: f'job {newer.id} has the same unique key "{key}"'}
    again = await jobs.requeue_dead([older.id], 100)
    assert (again.jobs, again.left_out) == ([], found.left_out)


async def test_behind_dead_jobs_whose_keys_are_taken_others_run_again(service: Works, jobs: Jobs) -> None:
    keys = [queue_name() for _ in range(5)]
    stuck = [await dead(service, key) for key in keys]
    holders = [await service.add(tasks.echo, unique_key=key) for key in keys]
    free = [await dead(service, queue_name()), await dead(service), await dead(service)]
    found = await jobs.requeue_dead(None, 2)
    assert ids_of(found.jobs) == ids_of(free[:2])
    assert found.left_out == {
        job.id: f'job {holder.id} has the same unique key "{key}"'
        for job, holder, key in [*zip(stuck, holders, keys, strict=True)][:2]
    }
    assert ids_of((await jobs.requeue_dead(None, 9)).jobs) == ids_of(free[2:])
    found = await jobs.requeue_dead(None, 9)
    assert (found.jobs, list(found.left_out)) == ([], ids_of(stuck))
    await jobs.cancel(holders[3].id)
    assert ids_of((await jobs.requeue_dead(None, 1)).jobs) == [stuck[3].id]


async def test_a_graph_with_a_taken_key_is_left_out_whole_and_keeps_nobody_else(service: Works, jobs: Jobs) -> None:
    first, second = queue_name(), queue_name()
    begins = await graph(jobs, service, a=first, b=None)
    goes_on = await graph(jobs, service, a=None, b=second)
    free = await graph(jobs, service, a=None, b=None)
    alone = await dead(service)
    holders = [await service.add(tasks.echo, unique_key=key) for key in (first, second)]
    found = await jobs.requeue_dead(None, 3)
    assert {job.id: job.state for job in found.jobs} == {
        free["a"]: JobState.QUEUED,
        free["b"]: JobState.BLOCKED,
        alone.id: JobState.QUEUED,
    }
    assert found.left_out == {
        begins["a"]: f'job {holders[0].id} has the same unique key "{first}"',
        goes_on["a"]: f'job {holders[1].id} has the same unique key "{second}"',
    }
    for ids in (begins, goes_on):
        states = [job.state for job in await service.store.find_many(list(ids.values()))]
        assert sorted(states) == [JobState.DEAD, JobState.SKIPPED]


async def test_of_a_graph_and_a_job_with_the_same_key_one_runs_again(service: Works, jobs: Jobs) -> None:
    key = queue_name()
    ids = await graph(jobs, service, a=None, b=key)
    alone = await dead(service, key)
    found = await jobs.requeue_dead([ids["a"], alone.id], 9)
    assert ids_of(found.jobs) == [alone.id]
    assert found.left_out == {ids["a"]: f'job {alone.id} has the same unique key "{key}"'}


@pytest.mark.parametrize("module_database_url", ["postgresql"], indirect=True)
async def test_many_who_let_the_same_graphs_and_jobs_run_again_never_wait_in_a_circle(
    service: Works, jobs: Jobs
) -> None:
    chance = random.Random(11)
    # Of graphs that are submitted in the same moment the ids of the nodes lie among each other.
    ids = chance.sample([new_id() for _ in range(18)], 18)
    chains = [ids[start : start + 3] for start in range(0, 18, 3)]
    for chain in chains:
        of = Graph(submitted_at=now_utc(), size=3)
        nodes = [NewJob(id=id, kind="echo", graph_id=of.id, waits_for=min(place, 1)) for place, id in enumerate(chain)]
        await service.store.insert_graph(of, nodes, [Edge(*pair, On.SUCCESS) for pair in pairwise(chain)])
        await service.store.cancel(chain)
    alone = [await dead(service) for _ in range(12)]
    everything = [*ids_of(alone), *(id for chain in chains for id in (chain[0], chain[2]))]
    for _ in range(30):
        await bury(service, *everything)
        asked = [chance.sample(everything, 16) for _ in range(4)]
        *found, _ = await asyncio.gather(
            *(jobs.requeue_dead(some, 100) for some in asked),
            service.store.cancel(chance.sample(everything, 9)),
        )
        still = {job.id for job in await service.store.find_many(everything) if job.state is JobState.DEAD}
        left_out = {id for part in found for id in part.left_out}
        assert still & {id for some in asked for id in some} <= left_out
        await service.store.cancel(everything)


async def test_a_key_that_is_taken_in_the_same_moment_is_a_conflict_and_nothing_is_half_done(
    service: Works, jobs: Jobs
) -> None:
    for _ in range(10):
        key = new_id()
        both = [await dead(service, key), await dead(service)]
        found, added = await asyncio.gather(
            jobs.requeue_dead(ids_of(both), 9), jobs.submit(tasks.echo, unique_key=key), return_exceptions=True
        )
        assert not isinstance(added, BaseException)
        states = [(await service.get(job)).state for job in both]
        if isinstance(found, BaseException):
            assert isinstance(found, Conflict)
            assert states == [JobState.DEAD, JobState.DEAD]
        else:
            assert states == [JobState.QUEUED if added.is_duplicate else JobState.DEAD, JobState.QUEUED]


@pytest.mark.parametrize("module_database_url", ["postgresql"], indirect=True)
async def test_keys_that_are_wanted_by_others_in_the_same_moment_are_waited_for_in_no_circle(
    service: Works, jobs: Jobs
) -> None:
    chance = random.Random(5)
    for _ in range(25):
        keys = [new_id() for _ in range(150)]
        made = await service.store.insert(
            [NewJob(kind="echo", unique_key=key) for key in chance.sample(keys, len(keys))]
        )
        await bury(service, *ids_of(made))
        wanted = [NewJob(kind="echo", unique_key=key) for key in chance.sample(keys, len(keys))]

        async def submit(wanted: list[NewJob] = wanted) -> None:
            await asyncio.sleep(chance.random() * 0.03)
            await jobs.add(wanted)

        found, added = await asyncio.gather(jobs.requeue_dead(ids_of(made), 1_000), submit(), return_exceptions=True)
        assert added is None
        # Whose keys were all free when it looked, and are not any more; a circle would be another conflict.
        assert not isinstance(found, BaseException) or (
            isinstance(found, Conflict) and (found.extensions or {}).get("fields") == ["unique_key"]
        )
        rows = await service.engine.fetch("SELECT id FROM millrace_jobs")
        await service.store.cancel([id for (id,) in rows], is_at_once=True)
        await service.store.delete([id for (id,) in rows])
