"""What a kept result costs: in memory about as much as one of bare aiocache, from Redis little more than a bare GET."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from uuid import uuid4

import pytest
from aiocache import SimpleMemoryCache
from redis.asyncio import Redis

from bench.budgets import Promise
from bench.holding import compared, hold
from bench.results import Figure
from domain.redis_url import parse_redis_url
from domain.registration import ServiceInfo
from domain.transformations import TransformationRouter
from infra.cache.generations import MemoryGenerations
from infra.cache.link import RedisLink
from infra.cache.memory import InMemoryCache
from infra.cache.redis import RedisCache, RedisLocks
from infra.cache.tiers import TieredCache
from service.builder import ServiceBuilder
from service.managers.computations import Computations
from tests.sample import serving
from tests.servers import redis

MEMORY, REDIS = "in memory", "redis"
PEEKED = Promise("peek, to aiocache's get", MEMORY, "x", gate=3, aim=8, is_least=True)
KEPT = Promise("kept result, to aiocache's get", MEMORY, "x", gate=0.25, aim=0.8, is_least=True)
REPEATED = Promise("repeated transformations, hit rate", MEMORY, "%", gate=80, aim=100, is_least=True)
SHARED = Promise("kept result, to a bare GET", REDIS, "x", gate=0.25, aim=0.6, is_least=True)

VALUE = b"x" * 9_000
TIMES, TIMES_THERE = 20_000, 1_000
INPUTS, REPEATS, CALLERS = 50, 20, 8
ROUNDS = 7


class Total(TransformationRouter):
    """The sum of numbers."""

    def transform(self, data: list[int]) -> int:
        return sum(data)


async def rate(work: Callable[[], Awaitable[object]], times: int) -> float:
    """How often work is done in a second, one after the other."""
    began = time.perf_counter()
    for _ in range(times):
        await work()
    return times / (time.perf_counter() - began)


async def never() -> bytes:
    """What is computed for nobody."""
    raise AssertionError


async def test_a_hit_in_memory() -> None:
    cache = InMemoryCache()
    computations = Computations(cache, MemoryGenerations())
    bare = SimpleMemoryCache(timeout=0)

    async def load() -> bytes:
        return VALUE

    await bare.set("key", VALUE)
    cache.set_now("key", VALUE, ttl_seconds=600)
    await computations.get_or_load("key", load, returns=bytes, ttl_seconds=600, tags=["users"])

    async def hit() -> object:
        return await computations.get_or_load("key", never, returns=bytes, ttl_seconds=600, tags=["users"])

    async def peek() -> object:
        return cache.peek("key")

    async def peer() -> object:
        return await bare.get("key")

    async def measured() -> list[Figure]:
        rounds = [(await rate(peek, TIMES), await rate(hit, TIMES), await rate(peer, TIMES)) for _ in range(ROUNDS)]
        return [
            compared(PEEKED, [(one, three) for one, _, three in rounds], "peek", "aiocache"),
            compared(KEPT, [(two, three) for _, two, three in rounds], "hit", "aiocache"),
        ]

    await hold(measured)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A Redis."""
    with redis() as server:
        yield server.url


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink(parse_redis_url(url), answer_seconds=5)
    try:
        yield link
    finally:
        await link.close()


async def test_a_hit_in_redis(url: str) -> None:
    async with linked(url) as link, Redis.from_url(url) as bare:
        namespace = f"bench-{uuid4().hex}"
        memory = InMemoryCache()
        cache = TieredCache(memory, RedisCache(link, namespace=namespace))
        computations = Computations(cache, MemoryGenerations(), RedisLocks(link, namespace=namespace))

        async def load() -> bytes:
            return VALUE

        await computations.get_or_load("key", load, returns=bytes, ttl_seconds=600)
        await bare.set("key", VALUE)

        async def hit() -> object:
            memory.clear_now()
            return await computations.get_or_load("key", never, returns=bytes, ttl_seconds=600)

        async def peer() -> object:
            return await bare.get("key")

        async def measured() -> list[Figure]:
            rounds = [(await rate(hit, TIMES_THERE), await rate(peer, TIMES_THERE)) for _ in range(ROUNDS)]
            return [compared(SHARED, rounds, "hit", "GET")]

        await hold(measured)


async def test_repeats_of_a_transformation_are_hits() -> None:
    made = ServiceBuilder(info=ServiceInfo(id="totals", display_name="Totals")).with_transformations(Total).with_cache()

    async def measure() -> Sequence[Figure]:
        asked = [number for number in range(INPUTS) for _ in range(REPEATS + 1)]
        Random(7).shuffle(asked)

        async def call() -> None:
            while asked:
                number = asked.pop()
                reply = await client.post("/api/v1/transformations/total", json={"data": [number, 1]})
                assert reply.json() == number + 1

        async with serving(made.build()) as client:
            await asyncio.gather(*[call() for _ in range(CALLERS)])
            [total] = (await client.get("/api/v1/transformations")).json()
        used = total["cache"]
        share = (used["hits"] + used["coalesced"]) / (INPUTS * REPEATS)
        return [Figure(REPEATED, 100 * share, f"{used['misses']} computed")]

    await hold(measure)
