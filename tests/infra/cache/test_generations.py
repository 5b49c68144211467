"""Generations without a database: each change is another one, counted in this process or kept in Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.redis_url import parse_redis_url
from infra.cache.generations import MemoryGenerations, RedisGenerations
from infra.cache.link import RedisLink
from tests.servers import redis

NAMES = ["users", "orders"]


@asynccontextmanager
async def shared(url: str, namespace: str) -> AsyncIterator[RedisGenerations]:
    """The generations of one process."""
    link = RedisLink(parse_redis_url(url), answer_seconds=5)
    try:
        yield RedisGenerations(link, namespace=namespace)
    finally:
        await link.close()


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), max_size=30), st.integers(1, 4))
async def test_a_change_gives_a_name_a_generation_that_it_never_had(changes: list[list[str]], most: int) -> None:
    generations = MemoryGenerations(most_names=most)
    had: dict[str, set[int]] = {name: set(generations.known([name])) for name in "abcdef"}
    for names in changes:
        await generations.bump(names)
        for name in set(names):
            (now,) = await generations.current([name])
            assert now > max(had[name])
        for name, values in had.items():
            values.update(generations.known([name]))
        assert len(generations._last_change) <= most


async def test_a_change_leaves_other_names_alone() -> None:
    generations = MemoryGenerations()
    before = generations.known(["users", "orders"])
    await generations.bump(["users"])
    after = generations.known(["users", "orders"])
    assert after[0] != before[0]
    assert after[1] == before[1]


async def test_a_change_is_seen_by_all_processes_and_by_those_that_start_later(redis_url: str) -> None:
    namespace = f"test-{uuid4().hex}"
    async with shared(redis_url, namespace) as one, shared(redis_url, namespace) as other:
        before = await one.current(NAMES)
        assert await other.current(NAMES) == before
        assert one.known(NAMES) is None
        await other.bump(["users"])
        after = await one.current(NAMES)
        assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    async with shared(redis_url, namespace) as late:
        assert await late.current(NAMES) == after


async def test_what_redis_forgets_counts_as_changed() -> None:
    with redis() as server:
        async with shared(server.url, "test") as generations, Redis.from_url(server.url) as administrator:
            had = [await generations.current(NAMES)]
            for _ in range(3):
                await administrator.flushall()
                had.append(await generations.current(NAMES))
            for column in zip(*had, strict=True):
                assert len(set(column)) == 4


async def test_a_change_that_cannot_be_told_is_an_error() -> None:
    async with shared("redis://127.0.0.1:1", "test") as generations:
        with pytest.raises(Unavailable):
            await generations.bump(["users"])
        with pytest.raises(Unavailable):
            await generations.current(["users"])
