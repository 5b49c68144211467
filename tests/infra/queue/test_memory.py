"""The doorbell within one process, beyond what every doorbell promises."""

import pytest

from infra.queue.memory import MemoryDoorbell
from tests.infra.queue.wakes import Wakes


async def test_a_ring_has_woken_everybody_when_it_returns() -> None:
    doorbell, first, second = MemoryDoorbell(), Wakes(), Wakes()
    async with doorbell.answered(["mail"], first), doorbell.answered(["mail", "reports"], second):
        doorbell.ring("mail", "1")
        doorbell.ring("reports", "2")
    doorbell.ring("mail", "3")
    assert (first.count, second.count) == (1, 2)


async def test_a_worker_that_cannot_be_woken_keeps_neither_the_ringer_nor_others_from_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise LookupError("nobody there")

    doorbell, wakes = MemoryDoorbell(), Wakes()
    async with doorbell.answered(["mail"], fail), doorbell.answered(["mail"], wakes):
        doorbell.ring("mail", "1")
    assert wakes.count == 1
    assert "LookupError: nobody there" in caplog.text


async def test_who_answers_with_the_same_function_twice_leaves_twice() -> None:
    doorbell, wakes = MemoryDoorbell(), Wakes()
    async with doorbell.answered(["mail"], wakes):
        async with doorbell.answered(["mail"], wakes):
            doorbell.ring("mail", "1")
        doorbell.ring("mail", "2")
    assert wakes.count == 3
