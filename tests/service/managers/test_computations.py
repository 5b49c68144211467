"""Computations: done once for all who ask at the same time, kept until they are old or what they are of has changed."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from domain.computations import Lifetime, Outcome
from domain.errors import Misconfigured, NotFound, Unavailable
from infra.cache.generations import MemoryGenerations
from infra.cache.memory import InMemoryCache
from service.managers.computations import Computations
from tests.infra.cache.clocks import Clock


class Weather(msgspec.Struct):
    city: str
    degrees: list[float]


class Work:
    """Counts how often it is done, and waits for its gate; `result` is what comes of it, or the error it raises."""

    def __init__(self, result: Any = "result") -> None:
        self.result = result
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.cancelled = 0

    async def __call__(self) -> Any:
        self.count += 1
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Distant(MemoryGenerations):
    """Generations of which nothing is certain without asking, and which may be away."""

    is_away = False
    is_inside = False

    def known(self, names: Sequence[str]) -> Any:
        return None

    async def current(self, names: Sequence[str]) -> Any:
        if self.is_away:
            raise Unavailable("the database is away")
        return None if self.is_inside else super().known(names)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cached(clock: Clock) -> AsyncIterator[Computations]:
    computations = Computations(InMemoryCache(clock=clock), MemoryGenerations(), clock=clock)
    yield computations
    await computations.close()


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_result_is_computed_once_while_it_is_good(cached: Computations, clock: Clock) -> None:
    work = Work({"degrees": [1.5]})
    for _ in range(3):
        assert await cached.get_or_load("a", work, ttl_seconds=100) == {"degrees": [1.5]}
    assert work.count == 1
    # Twelve percent more than asked for is later than any jitter.
    clock.now += 112
    assert await cached.get_or_load("a", work, ttl_seconds=100) == {"degrees": [1.5]}
    assert work.count == 2
    assert await cached.get_or_load("b", work, ttl_seconds=100) == {"degrees": [1.5]}
    assert work.count == 3
    assert (cached.stats.hits, cached.stats.misses, cached.stats.loads) == (2, 3, 3)


async def test_results_have_the_type_that_was_asked_for_and_are_nobody_elses(cached: Computations) -> None:
    work = Work(Weather("Oslo", [1.0]))
    first = await cached.get_or_load("a", work, returns=Weather, ttl_seconds=100)
    first.degrees.append(2.0)
    second = await cached.get_or_load("a", work, returns=Weather, ttl_seconds=100)
    assert second == Weather("Oslo", [1.0])
    # A miss gives what a hit gives.
    assert await cached.get_or_load("plain", work, ttl_seconds=100) == await cached.get_or_load(
        "plain", work, ttl_seconds=100
    )
    assert work.count == 2


async def test_what_is_not_of_its_type_is_not_kept(cached: Computations) -> None:
    work = Work({"city": "Oslo"})
    for _ in range(2):
        with pytest.raises(msgspec.ValidationError, match="degrees"):
            await cached.get_or_load("a", work, returns=Weather, ttl_seconds=100)
    assert work.count == 2


async def test_those_who_ask_at_the_same_time_wait_for_one_computation(cached: Computations) -> None:
    work = Work()
    work.gate.clear()
    asking = [asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100)) for _ in range(20)]
    await work.begun.wait()
    work.gate.set()
    assert await asyncio.gather(*asking) == ["result"] * 20
    assert work.count == 1
    assert (cached.stats.misses, cached.stats.coalesced) == (1, 19)


async def test_a_cancelled_leader_does_not_cancel_those_who_wait(cached: Computations) -> None:
    work = Work()
    work.gate.clear()
    leader = asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100))
    await work.begun.wait()
    follower = asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100))
    await settle()
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    assert leader.cancelled()
    work.gate.set()
    assert await follower == "result"
    assert (work.count, work.cancelled) == (1, 0)


async def test_work_that_nobody_waits_for_any_more_ends_and_can_be_begun_again(cached: Computations) -> None:
    work = Work()
    work.gate.clear()
    asking = [asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100)) for _ in range(3)]
    await work.begun.wait()
    await settle()
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    # Whoever comes now does not get what has been given up.
    work.gate.set()
    assert await cached.get_or_load("a", work, ttl_seconds=100) == "result"
    assert (work.count, work.cancelled) == (2, 1)


async def test_work_that_cancels_itself_is_unavailable_to_those_who_wait(cached: Computations) -> None:
    async def work() -> str:
        raise asyncio.CancelledError

    with pytest.raises(Unavailable):
        await cached.get_or_load("a", work, ttl_seconds=100)


async def test_all_who_wait_hear_of_a_failure_and_it_is_not_kept(cached: Computations) -> None:
    work = Work(NotFound("no such city"))
    work.gate.clear()
    asking = [asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100)) for _ in range(3)]
    await work.begun.wait()
    work.gate.set()
    assert [type(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == [NotFound] * 3
    work.result = "found"
    assert await cached.get_or_load("a", work, ttl_seconds=100) == "found"
    assert (work.count, cached.stats.errors) == (2, 1)


async def test_nothing_that_was_kept_is_found_after_a_change(cached: Computations) -> None:
    work = Work(1)
    assert await cached.get_or_load("a", work, ttl_seconds=100, tags=["users", "orders"]) == 1
    work.result = 2
    await cached.invalidate("orders")
    assert await cached.get_or_load("a", work, ttl_seconds=100, tags=["users", "orders"]) == 2
    await cached.invalidate("others")
    work.result = 3
    assert await cached.get_or_load("a", work, ttl_seconds=100, tags=["users", "orders"]) == 2


async def test_a_change_during_the_computation_has_the_next_caller_compute_again(cached: Computations) -> None:
    work = Work("old")
    work.gate.clear()
    asking = asyncio.create_task(cached.get_or_load("a", work, ttl_seconds=100, tags=["users"]))
    await work.begun.wait()
    await cached.invalidate("users")
    # Whoever asks after the change does not even wait for what was begun before it.
    fresh = Work("new")
    assert await cached.get_or_load("a", fresh, ttl_seconds=100, tags=["users"]) == "new"
    work.gate.set()
    assert await asking == "old"
    assert await cached.get_or_load("a", work, ttl_seconds=100, tags=["users"]) == "new"


@pytest.mark.parametrize("stale_seconds", [0, 1_000])
async def test_a_change_is_never_hidden_by_what_is_stale(
    cached: Computations, clock: Clock, stale_seconds: float
) -> None:
    work = Work(1)
    options: Any = {"ttl_seconds": 100, "tags": ["users"], "stale_while_revalidate_seconds": stale_seconds}
    options["stale_if_error_seconds"] = stale_seconds
    assert await cached.get_or_load("a", work, **options) == 1
    clock.now += 150
    await cached.invalidate("users")
    work.result = 2
    assert await cached.get_or_load("a", work, **options) == 2
    await cached.invalidate("users")
    work.result = Unavailable("away")
    with pytest.raises(Unavailable):
        await cached.get_or_load("a", work, **options)


async def test_no_result_is_kept_as_long_as_was_said(cached: Computations, clock: Clock) -> None:
    work = Work(None)
    for _ in range(2):
        assert await cached.get_or_load("a", work, ttl_seconds=100, negative_ttl_seconds=10) is None
    assert work.count == 1
    clock.now += 11.2
    assert await cached.get_or_load("a", work, ttl_seconds=100, negative_ttl_seconds=10) is None
    assert work.count == 2
    for _ in range(2):
        assert await cached.get_or_load("never", work, ttl_seconds=100, negative_ttl_seconds=0) is None
    assert work.count == 4
    for _ in range(2):
        assert await cached.get_or_load("as others", work, returns=Weather | None, ttl_seconds=100) is None
    assert work.count == 5


async def test_shortly_before_its_end_a_result_is_computed_again_by_nobody_who_waits(
    cached: Computations, clock: Clock
) -> None:
    work = Work(1)
    await cached.get_or_load("a", work, ttl_seconds=100)
    work.result = 2
    work.gate.clear()
    # 89 is later than 80 % of 110, and earlier than 90.
    clock.now += 89
    assert [await cached.get_or_load("a", work, ttl_seconds=100) for _ in range(5)] == [1] * 5
    await work.begun.wait()
    work.gate.set()
    await settle()
    assert await cached.get_or_load("a", work, ttl_seconds=100) == 2
    assert (work.count, cached.stats.refreshes, cached.stats.misses) == (2, 1, 1)
    # It is good from now on for as long as any other.
    clock.now += 60
    assert await cached.get_or_load("a", work, ttl_seconds=100) == 2
    await settle()
    assert work.count == 2


async def test_what_is_stale_is_given_away_within_its_limit_while_it_is_computed_again(
    cached: Computations, clock: Clock
) -> None:
    work = Work(1)
    lifetime = Lifetime(ttl_seconds=100, stale_while_revalidate_seconds=30)
    await cached.look_up("a", work, lifetime=lifetime)
    work.result = 2
    clock.now += 115
    answer = await cached.look_up("a", work, lifetime=lifetime)
    assert (answer.value, answer.outcome, answer.ttl_seconds) == (1, Outcome.STALE, 0)
    await settle()
    assert (await cached.look_up("a", work, lifetime=lifetime)).value == 2
    clock.now += 200
    work.result = 3
    answer = await cached.look_up("a", work, lifetime=lifetime)
    assert (answer.value, answer.outcome) == (3, Outcome.MISS)
    assert 90 <= answer.ttl_seconds <= 110


async def test_what_is_stale_is_better_than_an_error_within_its_limit(cached: Computations, clock: Clock) -> None:
    work = Work(1)
    lifetime = Lifetime(ttl_seconds=100, stale_if_error_seconds=1_000)
    await cached.look_up("a", work, lifetime=lifetime)
    work.result = Unavailable("away")
    clock.now += 500
    answer = await cached.look_up("a", work, lifetime=lifetime)
    assert (answer.value, answer.outcome) == (1, Outcome.STALE)
    # What is wrong for another reason is told.
    work.result = NotFound("gone")
    with pytest.raises(NotFound):
        await cached.look_up("a", work, lifetime=lifetime)
    clock.now += 1_000
    work.result = Unavailable("away")
    with pytest.raises(Unavailable):
        await cached.look_up("a", work, lifetime=lifetime)


async def test_a_failure_in_the_background_is_logged_and_nobody_else_hears_of_it(
    cached: Computations, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(1)
    await cached.get_or_load("a", work, ttl_seconds=100)
    clock.now += 89
    work.result = RuntimeError("broken")
    assert await cached.get_or_load("a", work, ttl_seconds=100) == 1
    await settle()
    assert await cached.get_or_load("a", work, ttl_seconds=100) == 1
    await settle()
    gc.collect()
    assert "broken" in caplog.text


async def test_what_is_computed_in_a_transaction_is_not_kept() -> None:
    generations = Distant()
    cached = Computations(InMemoryCache(), generations)
    work = Work("committed")
    assert await cached.get_or_load("a", work, ttl_seconds=100) == "committed"
    generations.is_inside = True
    work.result = "not committed"
    assert (await cached.look_up("a", work, lifetime=Lifetime(ttl_seconds=100))).outcome is Outcome.BYPASS
    assert await cached.get_or_load("b", work, ttl_seconds=100) == "not committed"
    generations.is_inside = False
    assert await cached.get_or_load("a", work, ttl_seconds=100) == "committed"
    work.result = "committed"
    assert await cached.get_or_load("b", work, ttl_seconds=100) == "committed"


async def test_while_nobody_knows_the_generations_it_is_computed_or_as_it_was_when_they_were_known(
    clock: Clock,
) -> None:
    generations = Distant()
    cached = Computations(InMemoryCache(clock=clock), generations, clock=clock)
    work = Work(1)
    options: Any = {"ttl_seconds": 100, "tags": ["users"], "stale_if_error_seconds": 50}
    assert await cached.get_or_load("a", work, **options) == 1
    generations.is_away = True
    work.result = 2
    assert await cached.get_or_load("a", work, **options) == 2
    work.result = Unavailable("away")
    assert await cached.get_or_load("a", work, **options) == 1
    with pytest.raises(Unavailable):
        await cached.get_or_load("a", work, ttl_seconds=100, tags=["users"])
    clock.now += 200
    with pytest.raises(Unavailable):
        await cached.get_or_load("a", work, **options)
    generations.is_away = False
    work.result = 3
    assert await cached.get_or_load("a", work, **options) == 3


async def test_what_depends_on_nothing_is_kept_while_nobody_knows_the_generations(clock: Clock) -> None:
    generations = Distant()
    cached = Computations(InMemoryCache(clock=clock), generations, clock=clock)
    generations.is_away = True
    work = Work(1)
    assert [await cached.get_or_load("a", work, ttl_seconds=100) for _ in range(3)] == [1, 1, 1]
    assert work.count == 1


async def test_everything_is_computed_again_after_a_clearing(cached: Computations) -> None:
    work = Work(1)
    for key in ("a", "b"):
        await cached.get_or_load(key, work, ttl_seconds=100)
    assert await cached.clear() == 2
    work.result = 2
    assert [await cached.get_or_load(key, work, ttl_seconds=100) for key in ("a", "b")] == [2, 2]


async def test_a_text_is_no_list_of_tags(cached: Computations) -> None:
    with pytest.raises(Misconfigured, match="'users'"):
        await cached.get_or_load("a", Work(), ttl_seconds=100, tags="users")
