"""Computations of several processes: each is done by one of them, and a Redis in trouble is a matter of speed alone."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from domain.caching import LONGEST_SHARED_BYTES
from domain.computations import Lifetime, Outcome
from domain.redis_url import parse_redis_url
from infra.cache.generations import MemoryGenerations
from infra.cache.link import RedisLink
from infra.cache.memory import InMemoryCache
from infra.cache.redis import RedisCache, RedisLocks
from infra.cache.tiers import TieredCache
from service.managers.computations import Computations
from tests.servers import redis
from tests.service.managers.stampede import shared

ROOT = Path(__file__).parents[3]
PROCESSES, CALLERS = 4, 20


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid4().hex}"


@asynccontextmanager
async def linked(url: str, **options: float) -> AsyncIterator[RedisLink]:
    """The way to a Redis."""
    link = RedisLink(parse_redis_url(url), **{"answer_seconds": 5, **options})
    try:
        yield link
    finally:
        await link.close()


def test_one_of_four_processes_with_twenty_callers_each_computes(redis_url: str, namespace: str) -> None:
    command = [sys.executable, "-m", "tests.service.managers.stampede", redis_url, namespace, str(CALLERS)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        reports = [[int(number) for number in process.communicate(timeout=30)[0].split()] for process in processes]
    computations, misses, coalesced, hits = [sum(numbers) for numbers in zip(*reports, strict=True)]
    assert computations == 1
    # The one of the process itself is a question, too; it was asked under the same key by all four.
    assert misses == 1 + 1
    assert coalesced + hits + misses == PROCESSES * (CALLERS + 1)


async def test_the_lock_of_a_process_that_has_died_ends_by_itself(redis_url: str, namespace: str) -> None:
    async with linked(redis_url) as link:
        locks = RedisLocks(link, namespace=namespace)
        cached = shared(link, namespace)

        async def work() -> int:
            return 1

        # Nobody will give it back.
        first = await cached.look_up("probe", work, lifetime=Lifetime(ttl_seconds=60))
        assert first.outcome is Outcome.MISS
        keys = [key async for key in link.client.scan_iter(f"{namespace}:*:probe*")]
        name = str(keys[0], "utf-8").split(":", 2)[2].replace("probe", "dead")
        assert await locks.take(name, seconds=0.3)
        assert await cached.get_or_load("dead", work, ttl_seconds=60) == 1


async def test_work_that_takes_longer_than_its_lock_keeps_it(redis_url: str, namespace: str) -> None:
    count = 0

    async def work() -> int:
        nonlocal count
        count += 1
        await asyncio.sleep(1.0)
        return count

    async with linked(redis_url) as one, linked(redis_url) as other:
        both = [shared(link, namespace, lock_seconds=0.3) for link in (one, other)]
        assert await asyncio.gather(*[cached.get_or_load("a", work, ttl_seconds=60) for cached in both]) == [1, 1]


async def test_whoever_has_waited_long_enough_computes_by_himself(redis_url: str, namespace: str) -> None:
    gate = asyncio.Event()

    async def never() -> str:
        await gate.wait()
        return "late"

    async def work() -> str:
        return "soon"

    async with linked(redis_url) as one, linked(redis_url) as other:
        slow = shared(one, namespace)
        waiting = asyncio.create_task(slow.get_or_load("a", never, ttl_seconds=60))
        await asyncio.sleep(0.1)
        impatient = shared(other, namespace, most_wait_seconds=0.2)
        assert await impatient.get_or_load("a", work, ttl_seconds=60) == "soon"
        gate.set()
        assert await waiting == "late"


async def test_work_that_takes_less_time_than_it_is_worth_asks_for_no_lock(redis_url: str, namespace: str) -> None:
    taken = []

    class Counted(RedisLocks):
        async def take(self, key: str, *, seconds: float) -> str | None:
            taken.append(key)
            return await super().take(key, seconds=seconds)

    async def quick() -> int:
        return 1

    async def slow() -> int:
        await asyncio.sleep(0.25)
        return 1

    async def long() -> str:
        await asyncio.sleep(0.25)
        return "x" * (LONGEST_SHARED_BYTES + 1)

    async with linked(redis_url) as link:
        cache = RedisCache(link, namespace=namespace)
        cached = Computations(
            TieredCache(InMemoryCache(), cache),
            MemoryGenerations(),
            Counted(link, namespace=namespace),
            least_seconds=0.2,
        )

        async def ask(name: str, work: Callable[[], Awaitable[Any]]) -> None:
            await cached.look_up(name, work, lifetime=Lifetime(ttl_seconds=60), tags=["a"], group=name[:4])

        # Nothing is known of the first of a group, and the second is judged by it.
        for name, work in (("fast1", quick), ("fast2", quick), ("slow1", slow), ("slow2", slow)):
            await ask(name, work)
        assert [key[:5] for key in taken] == ["fast1", "slow1", "slow2"]
        await cached.invalidate("a")
        for name, work in (("fast1", quick), ("slow1", slow)):
            await ask(name, work)
        assert [key[:5] for key in taken[3:]] == ["slow1"]
        # Nobody who waits for it could find it.
        for _ in range(2):
            await ask("long1", long)
            await cached.invalidate("a")
        assert [key[:5] for key in taken[4:]] == ["long1"]
        await cached.close()


async def test_a_lock_is_given_back_only_by_who_took_it(redis_url: str, namespace: str) -> None:
    async with linked(redis_url) as link:
        locks = RedisLocks(link, namespace=namespace)
        token = await locks.take("a", seconds=60)
        assert token is not None
        await locks.release("a", "somebody else's")
        await locks.extend("a", "somebody else's", seconds=0.001)
        assert await locks.take("a", seconds=60) is None
        await locks.release("a", token)
        assert await locks.take("a", seconds=60) is not None


async def test_a_lock_that_was_being_taken_is_given_back(redis_url: str, namespace: str) -> None:
    async with linked(redis_url) as link:
        locks = RedisLocks(link, namespace=namespace)
        for steps in range(30):
            taking = asyncio.create_task(locks.take("a", seconds=600))
            for _ in range(steps):
                await asyncio.sleep(0)
            taking.cancel()
            [token] = await asyncio.gather(taking, return_exceptions=True)
            if isinstance(token, str):
                await locks.release("a", token)
            async with asyncio.timeout(5):
                while (token := await locks.take("a", seconds=600)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await locks.release("a", token)


async def test_a_cancelled_computation_gives_its_lock_back(redis_url: str, namespace: str) -> None:
    begun = asyncio.Event()

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def work() -> int:
        return 1

    async with linked(redis_url) as link:
        cached = shared(link, namespace, lock_seconds=60, most_wait_seconds=60)
        asking = asyncio.create_task(cached.get_or_load("a", never, ttl_seconds=60))
        await begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(5):
            assert await cached.get_or_load("a", work, ttl_seconds=60) == 1


async def test_what_another_process_has_computed_again_early_is_not_computed_once_more(
    redis_url: str, namespace: str
) -> None:
    counts = [0, 0]

    def work(number: int) -> Callable[[], asyncio.Future[int]]:
        async def compute() -> int:
            counts[number] += 1
            return sum(counts)

        return compute  # type: ignore[return-value]

    async with linked(redis_url) as link:
        one, other = shared(link, namespace), shared(link, namespace)
        for cached, number in ((one, 0), (other, 1)):
            assert await cached.get_or_load("a", work(number), ttl_seconds=1.5) == 1
        await asyncio.sleep(1.33)
        # Both hold what is nearly over; the first to ask has it computed again, the second finds it.
        for cached, number in ((one, 0), (other, 1)):
            assert await cached.get_or_load("a", work(number), ttl_seconds=1.5) in {1, 2}
            async with asyncio.timeout(5):
                while await cached.get_or_load("a", work(number), ttl_seconds=1.5) == 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert sum(counts) == 2


async def test_a_redis_that_is_not_there_is_counted_and_no_error(namespace: str) -> None:
    async with linked("redis://127.0.0.1:1", answer_seconds=0.25) as link:
        cached = shared(link, namespace)

        async def work() -> int:
            return 1

        for key in "abcdef":
            assert [await cached.get_or_load(key, work, ttl_seconds=60) for _ in range(2)] == [1, 1]
        stats = cached._cache.tiers()["redis"]
        assert (stats.errors, stats.breaker) == (5, "open")
        assert stats.skipped > 0
        assert cached.stats.loads == 6


async def test_a_redis_without_room_is_no_error_and_stays_in_use(namespace: str) -> None:
    with redis(settings={"maxmemory": "1", "maxmemory-policy": "noeviction"}) as server:
        async with linked(server.url) as link:
            cache = RedisCache(link, namespace=namespace)
            for _ in range(10):
                await cache.set("a", b"1", ttl_seconds=60)
                assert await cache.get("a") is None
            assert (cache.stats().errors, cache.stats().breaker) == (20, "closed")


class World:
    """Something that changes, and how often a cache has told of a state that was over before it was asked."""

    def __init__(self, caches: list[Computations]) -> None:
        self.caches = caches
        self.value = 0
        self.asked = 0
        self.wrong = 0
        self.longest = 0.0
        self.is_over = False

    async def read(self) -> int:
        value = self.value
        await asyncio.sleep(random.uniform(0, 0.01))
        return value

    async def ask(self, cached: Computations) -> None:
        """Ask again and again; an error ends it."""
        loop = asyncio.get_running_loop()
        while not self.is_over:
            at_least, started = self.value, loop.time()
            found = await cached.get_or_load("world", self.read, ttl_seconds=60, tags=["world"])
            self.longest = max(self.longest, loop.time() - started)
            self.asked += 1
            self.wrong += found < at_least
            await asyncio.sleep(0.001)

    async def change(self) -> None:
        """Change it again and again; every process counts generations, as each sees those of the database."""
        while not self.is_over:
            # Written before it is told of, and told of before the change is acknowledged.
            value = self.value + 1
            self.value = value
            for cached in self.caches:
                await cached.invalidate("world")
            await asyncio.sleep(0.02)


async def test_answers_are_right_while_redis_is_killed_paused_and_flushed_under_load(namespace: str) -> None:
    """Each state is held until the breaker has seen it."""
    with redis() as server:
        async with (
            linked(server.url, answer_seconds=0.1, pause_seconds=0.3) as one,
            linked(server.url, answer_seconds=0.1, pause_seconds=0.3) as other,
        ):
            links = [one, other]
            world = World([shared(link, namespace) for link in links])

            async def until(state: str) -> None:
                async with asyncio.timeout(20):
                    while any(link.breaker.state != state for link in links):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)

            async with asyncio.TaskGroup() as group:
                for cached in world.caches:
                    for _ in range(5):
                        group.create_task(world.ask(cached))
                group.create_task(world.change())
                await asyncio.sleep(0.3)
                await until("closed")
                async with Redis.from_url(server.url) as administrator:
                    for _ in range(10):
                        await administrator.flushall()
                        await asyncio.sleep(0.02)
                os.kill(server.pid, signal.SIGSTOP)
                await until("open")
                await asyncio.sleep(0.5)
                os.kill(server.pid, signal.SIGCONT)
                await until("closed")
                os.kill(server.pid, signal.SIGKILL)
                await until("open")
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await until("closed")
                await asyncio.sleep(0.3)
                world.is_over = True
            assert world.wrong == 0
            assert world.asked > 500
            # Nobody has waited much longer than a few answers that did not come.
            assert world.longest < 3
