"""What every doorbell promises: a ring wakes those who answer for its queue, and nobody's absence does any harm."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple
from uuid import uuid4

import pytest

from domain.ports import Doorbell
from infra.queue.arq import ArqDoorbell
from infra.queue.memory import MemoryDoorbell
from tests.infra.queue.wakes import Wakes, until


class Rung(NamedTuple):
    """A doorbell, and how often it wakes by itself those who begin to answer."""

    doorbell: Doorbell
    greetings: int

    def ring(self, queue: str) -> None:
        self.doorbell.ring(queue, uuid4().hex)

    def answered(self, wakes: Wakes, *queues: str) -> AbstractAsyncContextManager[None]:
        return self.doorbell.answered(queues, wakes)

    async def greeted(self, wakes: Wakes, queues: int = 1) -> int:
        """Wait for the wakes that nobody rang for; returns how many there were."""
        await wakes.reach(self.greetings * queues)
        return wakes.count


@pytest.fixture(params=["memory", "arq"])
async def rung(request: pytest.FixtureRequest) -> AsyncIterator[Rung]:
    if request.param == "memory":
        yield Rung(MemoryDoorbell(), 0)
        return
    doorbell = ArqDoorbell(request.getfixturevalue("redis_url"), namespace=f"test-{uuid4().hex}")
    yield Rung(doorbell, 1)
    await doorbell.close()
    assert doorbell.lost_rings == 0


async def test_a_ring_wakes_whoever_answers_for_its_queue(rung: Rung) -> None:
    wakes = Wakes()
    async with rung.answered(wakes, "mail"):
        greetings = await rung.greeted(wakes)
        for number in range(3):
            rung.ring("mail")
            await wakes.reach(greetings + number + 1)


async def test_rings_of_other_queues_do_not_wake(rung: Rung) -> None:
    quiet, busy = Wakes(), Wakes()
    async with rung.answered(quiet, "mail"), rung.answered(busy, "reports"):
        greetings = await rung.greeted(quiet)
        await rung.greeted(busy)
        for number in range(10):
            rung.ring("reports")
            rung.ring("nobody's")
            await busy.reach(greetings + number + 1)
        assert quiet.count == greetings


async def test_one_may_answer_for_several_queues(rung: Rung) -> None:
    wakes = Wakes()
    async with rung.answered(wakes, "mail", "reports", "mail"):
        woken = await rung.greeted(wakes, queues=2)
        for queue in ("mail", "reports"):
            rung.ring(queue)
            await wakes.reach(woken + 1)
            woken = wakes.count


async def test_many_rings_wake_at_least_once(rung: Rung) -> None:
    wakes = Wakes()
    async with rung.answered(wakes, "mail"):
        greetings = await rung.greeted(wakes)
        for _ in range(1000):
            rung.ring("mail")
        await wakes.reach(greetings + 1)


async def test_ringing_where_nobody_answers_is_harmless(rung: Rung) -> None:
    rung.ring("mail")
    wakes = Wakes()
    async with rung.answered(wakes, "mail"):
        await rung.greeted(wakes)
    woken = wakes.count
    rung.ring("mail")
    assert wakes.count == woken


async def test_of_several_that_answer_a_ring_wakes_at_least_one(rung: Rung) -> None:
    first, second = Wakes(), Wakes()
    async with rung.answered(first, "mail"):
        async with rung.answered(second, "mail"):
            greetings = await rung.greeted(first) + await rung.greeted(second)
            for number in range(20):
                rung.ring("mail")
                await until(lambda wanted=greetings + number + 1: first.count + second.count >= wanted)
        woken = first.count
        rung.ring("mail")
        await first.reach(woken + 1)


async def test_whoever_answers_again_is_woken_again(rung: Rung) -> None:
    for _ in range(3):
        wakes = Wakes()
        async with rung.answered(wakes, "mail"):
            greetings = await rung.greeted(wakes)
            rung.ring("mail")
            await wakes.reach(greetings + 1)
