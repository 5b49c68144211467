"""The context of a unit of work belongs to its task."""

import asyncio

import pytest

from domain.context import ANONYMOUS, DEFAULT_TENANT, Context, acting_as, current_context, enter


def test_outside_of_a_request_everybody_is_anonymous() -> None:
    assert current_context() == Context(request_id="", principal=ANONYMOUS, tenant=DEFAULT_TENANT)


def test_a_block_acts_as_someone_and_gives_the_former_context_back() -> None:
    outer, inner = Context(principal="ada"), Context(principal="grace")
    with acting_as(outer) as entered:
        assert entered is current_context() is outer
        with acting_as(inner):
            assert current_context() is inner
        assert current_context() is outer
    assert current_context().principal == ANONYMOUS


def test_a_failing_block_gives_the_former_context_back() -> None:
    def fail() -> None:
        with acting_as(Context(principal="ada")):
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert current_context().principal == ANONYMOUS


async def test_each_task_has_its_own_context() -> None:
    met = asyncio.Barrier(3)

    async def work(name: str) -> str:
        enter(Context(principal=name))
        await met.wait()
        return current_context().principal

    assert await asyncio.gather(*(work(name) for name in "abc")) == ["a", "b", "c"]
    assert current_context().principal == ANONYMOUS


async def test_a_task_inherits_the_context_it_was_started_in() -> None:
    async def who() -> str:
        return current_context().principal

    with acting_as(Context(principal="ada")):
        task = asyncio.create_task(who())
    assert await task == "ada"
