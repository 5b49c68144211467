"""Graphs that are canceled and run again while their members end: nobody waits in a circle, and nobody is forgotten."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
import pytest

from domain.entity import new_id
from domain.graphs import Edge, GraphRequest, On
from domain.jobs import IllegalTransition, Job, JobState
from service.managers.graphs import GraphManager
from tests.infra.contracts.job_databases import check, ending
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, queue_name, works

pytestmark = pytest.mark.parametrize("module_database_url", ["postgresql"], indirect=True)
ENDS = (JobState.COMPLETED, JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.QUEUED)
ROUNDS, GRAPHS, NODES = 40, 3, 8


@pytest.fixture(scope="module")
async def services(module_database_url: str) -> AsyncIterator[list[Works]]:
    """Three services on one database, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(works(module_database_url)) for _ in range(3)]


class Round:
    """Some graphs of any shape, whose members end while others change them; all that happens is drawn from `seed`."""

    def __init__(self, services: Sequence[Works], seed: int) -> None:
        self.chance = random.Random(seed)
        self.services = services
        self.queue = queue_name()
        self.graphs: list[str] = []
        self.is_over = False

    @property
    def service(self) -> Works:
        """Any of the services."""
        return self.chance.choice(self.services)

    @property
    def manager(self) -> GraphManager:
        """That of any of the services."""
        return self.service.opened.managers.graphs

    async def submit(self) -> None:
        """Submit the graphs."""
        for _ in range(GRAPHS):
            nodes: dict[str, Any] = {}
            for number in range(NODES):
                parents = {name: self.chance.choice(list(On)) for name in nodes if self.chance.random() < 0.35}
                nodes[f"n{number}"] = {"task": tasks.echo.kind, "queue": self.queue, "depends_on": parents}
            view = await self.manager.submit(msgspec.convert({"nodes": nodes}, GraphRequest))
            self.graphs.append(view.id)

    async def jobs(self) -> list[Job]:
        """All jobs."""
        return [job for id in self.graphs for job in await self.services[0].store.of_graph(id)]

    async def labour(self, *, until: Callable[[], Awaitable[bool]]) -> None:
        """Claim and end jobs, one by one or several of different graphs with one statement."""
        while not await until():
            store = self.service.store
            limit = self.chance.randint(1, 5)
            claimed = await store.claim(self.queue, [tasks.echo.kind], limit, worker_id=new_id(), lease_seconds=600)
            self.chance.shuffle(claimed)
            await asyncio.sleep(self.chance.random() * 0.003)
            # What comes back to the queue is taken again.
            await store.finish([ending(job, self.chance.choice(ENDS)) for job in claimed])
            await asyncio.sleep(0)

    async def disturb(self) -> None:
        """Cancel graphs, and let parts of them run again, which nobody may while they run."""
        for _ in range(6):
            await asyncio.sleep(self.chance.random() * 0.005)
            id = self.chance.choice(self.graphs)
            change = self.chance.choice((self._cancel, self._rerun, self._rerun_node, self._requeue))
            with suppress(IllegalTransition):
                await change(id)

    async def _cancel(self, id: str) -> None:
        await self.manager.cancel(id)

    async def _rerun(self, id: str) -> None:
        await self.manager.rerun(id)

    async def _rerun_node(self, id: str) -> None:
        await self.manager.rerun(id, f"n{self.chance.randrange(NODES)}")

    async def _requeue(self, id: str) -> None:
        dead = [job.id for job in await self.jobs() if job.state is JobState.DEAD]
        await self.service.opened.managers.jobs.requeue_dead(self.chance.sample(dead, len(dead) // 2), 100)

    async def rage(self) -> None:
        """Everything at once."""

        async def is_over() -> bool:
            return self.is_over

        labour = [asyncio.create_task(self.labour(until=is_over)) for _ in range(4)]
        try:
            await asyncio.gather(*(self.disturb() for _ in range(5)))
        finally:
            self.is_over = True
            await asyncio.gather(*labour)

    async def check(self) -> None:
        """That each job waits for exactly those of its parents that have not ended. Nothing runs meanwhile."""
        for id in self.graphs:
            jobs = {job.id: job for job in await self.services[0].store.of_graph(id)}
            parents: dict[str, list[Edge]] = {job: [] for job in jobs}
            for edge in await self.services[0].store.edges_of(id):
                parents[edge.child].append(edge)
            for job in jobs.values():
                check(job)
                assert job.state not in {JobState.RUNNING, JobState.CANCELING}
                is_waiting = job.state in {JobState.BLOCKED, JobState.QUEUED}
                still = [edge for edge in parents[job.id] if not jobs[edge.parent].is_final]
                assert not is_waiting or job.waits_for == len(still), (job, still)

    async def calm(self) -> None:
        """Work until nothing is left: what was forgotten would wait for ever."""

        async def have_ended() -> bool:
            return all(job.is_final for job in await self.jobs())

        await self.labour(until=have_ended)


async def test_graphs_that_are_canceled_and_run_again_while_their_members_end_all_come_to_an_end(
    services: list[Works],
) -> None:
    """A circle would be a `Conflict` that is no `IllegalTransition`."""
    ends: set[JobState] = set()
    for seed in range(ROUNDS):
        played = Round(services, seed)
        async with asyncio.timeout(30):
            await played.submit()
            await played.rage()
            await played.check()
            await played.calm()
            await played.check()
        ends |= {job.state for job in await played.jobs()}
    assert ends == {JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELED, JobState.SKIPPED}


async def test_a_cancel_and_the_end_of_the_last_parent_leave_nothing_that_waits(services: list[Works]) -> None:
    nodes = {
        **{name: {"task": tasks.echo.kind} for name in ("a", "b")},
        "join": {"task": tasks.echo.kind, "depends_on": {"a": "always", "b": "always"}},
    }
    for number in range(40):
        first, second, third = services
        queue = queue_name()
        request = {"nodes": {name: {**node, "queue": queue} for name, node in nodes.items()}}
        view = await first.opened.managers.graphs.submit(msgspec.convert(request, GraphRequest))
        claimed = await first.store.claim(queue, [tasks.echo.kind], 9, worker_id=new_id(), lease_seconds=600)
        assert len(claimed) == 2
        await asyncio.gather(
            second.store.finish([ending(claimed[number % 2])]),
            first.opened.managers.graphs.cancel(view.id),
            third.store.finish([ending(claimed[1 - number % 2])]),
        )
        found = (await first.opened.managers.graphs.view(view.id)).nodes
        assert {found[name].state for name in ("a", "b")} == {JobState.COMPLETED}
        # Ready before the cancel, or blocked: it does not go on either way.
        assert found["join"].state is JobState.CANCELED


async def test_a_rerun_and_the_ends_beside_it_agree_on_who_is_ready(services: list[Works]) -> None:
    names = ("a", "b", "c")
    nodes: dict[str, Any] = {name: {"task": tasks.echo.kind} for name in names}
    nodes["join"] = {"task": tasks.echo.kind, "depends_on": list(names)}
    for _ in range(40):
        queue = queue_name()
        request = {"nodes": {name: {**node, "queue": queue} for name, node in nodes.items()}}
        graphs, store = services[0].opened.managers.graphs, services[0].store
        view = await graphs.submit(msgspec.convert(request, GraphRequest))
        bad, *others = await store.claim(queue, [tasks.echo.kind], 9, worker_id=new_id(), lease_seconds=600)
        await store.finish([ending(bad, JobState.FAILED)])
        await asyncio.gather(
            services[0].opened.managers.graphs.rerun(view.id, bad.node),
            *(service.store.finish([ending(job)]) for service, job in zip(services[1:], others, strict=True)),
        )
        [again] = await store.claim(queue, [tasks.echo.kind], 9, worker_id=new_id(), lease_seconds=600)
        assert again.id == bad.id
        await store.finish([ending(again)])
        [join] = await store.claim(queue, [tasks.echo.kind], 9, worker_id=new_id(), lease_seconds=600)
        assert join.node == "join"
        await store.finish([ending(join)])
        assert (await graphs.view(view.id)).counts == {JobState.COMPLETED: 4}
