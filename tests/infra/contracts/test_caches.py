"""What every cache promises: bytes by key for a while, nothing after that, and never an error."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from domain.caching import Cache
from domain.redis_url import parse_redis_url
from infra.cache.disk import DiskCache
from infra.cache.link import RedisLink
from infra.cache.memory import InMemoryCache
from infra.cache.redis import RedisCache
from infra.cache.tiers import TieredCache


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    """The way to a Redis."""
    # A machine that is busy with other tests may be slow without being away.
    link = RedisLink(parse_redis_url(url), answer_seconds=5)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def opened(kind: str, url: Callable[[], str], namespace: str, folder: Path = Path()) -> AsyncIterator[Cache]:
    """A cache of a kind."""
    if kind == "memory":
        yield InMemoryCache()
        return
    if kind == "disk":
        yield DiskCache(folder, namespace=namespace, most_bytes=1_000_000)
        return
    async with linked(url()) as link:
        far = RedisCache(link, namespace=namespace)
        if kind == "redis":
            yield far
            return
        tiered = TieredCache(InMemoryCache(), far)
        try:
            yield tiered
        finally:
            await tiered.close()


@pytest.fixture(params=["memory", "disk", "redis", "tiers"])
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cache]:
    name = f"test-{uuid4().hex}"
    async with opened(request.param, lambda: request.getfixturevalue("redis_url"), name, tmp_path) as made:
        yield made


async def test_what_is_kept_comes_back_as_it_was(cache: Cache) -> None:
    values = {"a": b"", "ü key": b"\x00\xff" * 10_000, "a:b": b"1"}
    for key, value in values.items():
        await cache.set(key, value, ttl_seconds=60)
    assert {key: await cache.get(key) for key in values} == values
    assert {key: await cache.renewed(key) for key in values} == values
    assert await cache.get("unknown") is None
    assert await cache.renewed("unknown") is None


async def test_the_last_value_counts(cache: Cache) -> None:
    for value in (b"1", b"2"):
        await cache.set("a", value, ttl_seconds=60)
    assert await cache.get("a") == b"2"


async def test_what_is_deleted_is_gone_and_deleting_it_again_is_no_error(cache: Cache) -> None:
    await cache.set("a", b"1", ttl_seconds=60)
    await cache.set("b", b"1", ttl_seconds=60)
    for _ in range(2):
        await cache.delete("a")
    assert [await cache.get("a"), await cache.get("b")] == [None, b"1"]


async def test_a_value_ends(cache: Cache) -> None:
    await cache.set("a", b"1", ttl_seconds=0.05)
    await cache.set("b", b"1", ttl_seconds=60)
    async with asyncio.timeout(10):
        while await cache.get("a") is not None:  # noqa: ASYNC110 - what ends by itself tells nobody
            await asyncio.sleep(0.01)
    assert await cache.get("b") == b"1"


async def test_a_value_for_no_time_at_all_is_not_kept_and_neither_is_what_was_there(cache: Cache) -> None:
    await cache.set("a", b"1", ttl_seconds=60)
    await cache.set("a", b"2", ttl_seconds=0)
    assert await cache.get("a") is None


async def test_a_cleared_cache_is_empty_and_can_be_filled_again(cache: Cache) -> None:
    for key in ("a", "b"):
        await cache.set(key, b"1", ttl_seconds=60)
    await cache.clear()
    assert [await cache.get(key) for key in ("a", "b")] == [None, None]
    await cache.set("a", b"2", ttl_seconds=60)
    assert await cache.get("a") == b"2"


@pytest.mark.parametrize("value", [bytearray(b"1"), "1", None])
async def test_only_bytes_are_kept(cache: Cache, value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        await cache.set("a", value, ttl_seconds=60)  # type: ignore[arg-type]


async def test_what_happens_is_counted(cache: Cache) -> None:
    await cache.get("a")
    await cache.set("a", b"1", ttl_seconds=60)
    for _ in range(2):
        await cache.get("a")
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.sets, stats.errors) == (2, 1, 1, 0)
    nearest, *others = cache.tiers().values()
    assert nearest.hits == 2
    assert all(other.hits == 0 for other in others)


async def test_caches_of_other_services_and_other_code_have_nothing_in_common(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        one, other, same = [
            await stack.enter_async_context(opened("redis", lambda: redis_url, name))
            for name in ("test:a:1", "test:a:2", "test:a:1")
        ]
        await one.set("a", b"1", ttl_seconds=60)
        assert [await cache.get("a") for cache in (one, other, same)] == [b"1", None, b"1"]
        await other.clear()
        assert await one.get("a") == b"1"
        await one.clear()
        assert await one.get("a") is None


async def test_what_another_process_keeps_is_remembered_for_no_longer_than_there(redis_url: str) -> None:
    namespace = f"test-{uuid4().hex}"
    async with linked(redis_url) as link:
        far = RedisCache(link, namespace=namespace)
        near = InMemoryCache()
        mine, others = TieredCache(near, far), TieredCache(InMemoryCache(), far)
        await others.set("a", b"1", ttl_seconds=60)
        assert await mine.get("a") == b"1"
        assert near.peek("a") == b"1"
        ends_at = near._backend._cache["a"][1]
        assert 50 < ends_at - time.monotonic() <= 60
        # What others have put there since then counts only for who asks for it.
        await others.set("a", b"2", ttl_seconds=60)
        assert [await mine.get("a"), await mine.renewed("a"), await mine.get("a")] == [b"1", b"2", b"2"]


async def test_what_is_set_at_once_gets_to_the_others_soon(redis_url: str) -> None:
    async with linked(redis_url) as link:
        far = RedisCache(link, namespace=f"test-{uuid4().hex}")
        tiered = TieredCache(InMemoryCache(), far)
        tiered.set_now("a", b"1", ttl_seconds=60)
        assert tiered.peek("a") == b"1"
        await tiered.close()
        assert await far.get("a") == b"1"
