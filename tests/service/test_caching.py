"""The cache of a running service: alone, in several processes, with a database and a Redis or without."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from domain.cache_options import CacheOptions
from domain.errors import Misconfigured, Unavailable
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.caching import CacheDesign, open_caching
from service.http.application import Service
from service.settings import Settings
from tests.sample import ITEMS, Item, Items
from tests.servers import redis


def service(url: str | None, redis_url: str | None = None, id: str = "cached") -> Service:
    """A service with a cache, and with a database if there is a URL."""
    builder = ServiceBuilder(info=ServiceInfo(id=id, display_name="Cached"))
    if url is not None:
        builder = builder.with_database(url)
    return builder.with_cache().build(Settings(redis_url=redis_url))


def counted() -> tuple[list[int], Callable[[], Awaitable[int]]]:
    """Work whose result is how often it was done."""
    done: list[int] = []

    async def work() -> int:
        done.append(1)
        return len(done)

    return done, work


@pytest.mark.parametrize("has_database", [True, False])
async def test_processes_share_results_and_hear_of_changes(has_database: bool, sqlite_url: str, redis_url: str) -> None:
    url, id = sqlite_url if has_database else None, f"test-{uuid4().hex}"
    one, other = service(url, redis_url, id), service(url, redis_url, id)
    done, work = counted()
    async with one.lifespan(), other.lifespan():
        for app in (one, other, one, other):
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 1
        await one.cache.invalidate("news")
        for app in (other, one):
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 2
        await other.cache.clear()
        for app in (one, other):
            found = await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"])
            assert found > 2
    # What was kept outlives all of them.
    late = service(url, redis_url, id)
    async with late.lifespan():
        assert await late.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == found
    assert len(done) == found


async def test_a_change_of_a_resource_is_heard_by_results_also_if_its_replies_are_not_kept(database_url: str) -> None:
    app = (
        ServiceBuilder(info=ServiceInfo(id="cached", display_name="Cached"))
        .with_database(database_url)
        .with_crud(ITEMS, table=Items, cache_ttl=0)
        .with_cache()
        .build()
    )
    async with app.lifespan():
        manager = app.manager(ITEMS)

        async def count() -> int:
            return await app.cache.get_or_load("count", manager.count, returns=int, ttl_seconds=60, tags=["items"])

        assert [await count(), await count()] == [0, 0]
        await manager.save(Item(name="a"))
        assert await count() == 1


async def test_another_database_has_nothing_in_common(sqlite_url: str, tmp_path: Path, redis_url: str) -> None:
    id = f"test-{uuid4().hex}"
    one, other = service(sqlite_url, redis_url, id), service(f"sqlite:///{tmp_path}/other.sqlite3", redis_url, id)
    _done, work = counted()
    async with one.lifespan(), other.lifespan():
        assert [await app.cache.get_or_load("a", work, ttl_seconds=60) for app in (one, other)] == [1, 2]


async def test_a_redis_that_goes_away_leaves_what_the_process_knows(sqlite_url: str) -> None:
    with redis() as server:
        app = service(sqlite_url, server.url)
        _done, work = counted()
        async with app.lifespan():
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 1
            server.stop()
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 1
            await app.cache.invalidate("news")
            for _ in range(10):
                assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 2
            for key in range(10):
                assert await app.cache.get_or_load(f"other {key}", work, ttl_seconds=60) == 3 + key
            assert app.running.caching is not None
            assert app.running.caching.near.tiers()["redis"].breaker == "open"


async def test_without_a_database_tags_need_the_redis_they_are_kept_in() -> None:
    with redis() as server:
        app = service(None, server.url)
        _done, work = counted()
        async with app.lifespan():
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 1
            assert await app.cache.get_or_load("b", work, ttl_seconds=60) == 2
            server.stop()
            # Another process may have changed something: it is computed each time rather than wrong.
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 3
            assert await app.cache.get_or_load("a", work, ttl_seconds=60, tags=["news"]) == 4
            for _ in range(3):
                assert await app.cache.get_or_load("c", work, ttl_seconds=60) == 5
            with pytest.raises(Unavailable):
                await app.cache.invalidate("news")


async def test_a_redis_url_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match="REDIS_URL"):
        async with open_caching(
            CacheDesign(options=CacheOptions()), None, service="test", folder=Path("cache"), redis_url="http://cache"
        ):
            pass
