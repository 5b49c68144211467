"""Which work waits for its turn among processes, and that nobody holds one who is through with it."""

import asyncio

from service.managers.turns import MOST_REMEMBERED, TIMES, Turns, Worth


def test_what_was_never_done_is_worth_a_turn() -> None:
    assert Worth(0.01).is_given("items", "a")


def test_work_is_judged_by_the_last_time() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.02)
    worth.took("items", "b", 0.002)
    assert worth.is_given("items", "a")
    assert not worth.is_given("items", "b")
    worth.took("items", "a", 0.002)
    assert not worth.is_given("items", "a")


def test_work_that_is_new_is_judged_by_the_shortest_of_its_kind_lately() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.5)
    assert worth.is_given("items", "new")
    worth.took("items", "b", 0.002)
    assert not worth.is_given("items", "new")
    assert worth.is_given("users", "new")
    for _ in range(TIMES):
        worth.took("items", "a", 0.5)
    assert worth.is_given("items", "new")


def test_new_work_of_no_kind_is_always_worth_a_turn() -> None:
    worth = Worth(0.01)
    worth.took("", "a", 0.002)
    assert not worth.is_given("", "a")
    assert worth.is_given("", "new")


def test_work_of_which_nothing_came_is_not_waited_for() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.5)
    worth.failed("a")
    assert not worth.is_given("items", "a")
    assert worth.is_given("items", "new")


def test_without_a_least_time_all_work_is_worth_a_turn() -> None:
    worth = Worth(0.0)
    worth.took("items", "a", 0.0)
    worth.failed("a")
    assert worth.is_given("items", "a")


def test_what_is_remembered_has_a_limit() -> None:
    worth = Worth(0.01)
    for number in range(MOST_REMEMBERED * 2):
        worth.took("items", str(number), 0.002)
    assert len(worth._work) == MOST_REMEMBERED


class Lossy:
    """Locks of a client that loses a cancellation, as that of Redis may before Python 3.12."""

    def __init__(self) -> None:
        self.extending = asyncio.Event()
        self.extended = 0

    async def take(self, key: str, *, seconds: float) -> str | None:
        return "token"

    async def extend(self, key: str, token: str, *, seconds: float) -> None:
        self.extended += 1
        self.extending.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    async def release(self, key: str, token: str) -> None:
        return


async def nothing() -> None:
    """What is found of work that nobody has done."""


async def test_who_is_through_with_its_turn_does_not_keep_it_when_a_cancellation_is_lost() -> None:
    locks, before = Lossy(), asyncio.all_tasks()
    turns = Turns(locks, most_wait_seconds=1, lock_seconds=0.03)
    async with turns.turn("a", nothing, is_urgent=True) as turn:
        assert turn.is_ours
        await locks.extending.wait()
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert locks.extended == 1
