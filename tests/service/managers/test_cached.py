"""Entities that are kept: read without the database until they change, however that happens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from domain.entity import new_id
from domain.errors import Misconfigured, NotFound
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.http.application import Service
from service.managers.cached import Cached
from service.settings import Settings
from tests.sample import ITEMS, Color, Detail, Item, Items


def service(url: str, hook: Cached[Any], redis_url: str | None = None, id: str = "kept") -> Service:
    """A service whose items are kept by nothing but the hook."""
    return (
        ServiceBuilder(info=ServiceInfo(id=id, display_name="Kept"))
        .with_database(url)
        .with_crud(ITEMS, table=Items, hooks=[hook], cache_ttl=0)
        .with_cache()
        .build(Settings(redis_url=redis_url))
    )


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Service]:
    app = service(url, Cached(**options))
    async with app.lifespan():
        yield app


def item(number: int = 1) -> Item:
    return Item(name=f"Item {number}")


async def loads(app: Service, id: str) -> int:
    """How many questions the database gets when an entity is asked for."""
    before = app.cache.stats.loads
    await app.manager(ITEMS).find(id)
    return app.cache.stats.loads - before


@pytest.mark.parametrize("groups", [0, 64])
async def test_an_entity_is_read_once_until_it_changes(database_url: str, groups: int) -> None:
    async with running(database_url, groups=groups) as app:
        manager = app.manager(ITEMS)
        entity = await manager.save(item())
        assert [await loads(app, entity.id) for _ in range(3)] == [1, 0, 0]
        assert await manager.get(entity.id) == entity
        document = await manager.document(entity.id)
        assert await manager.document(entity.id) == document
        assert await manager.document(entity.id, ["id", "name"]) != document
        changed = await manager.patch(entity.id, {"name": "Somebody else"})
        assert await manager.get(entity.id) == changed
        assert b"Somebody else" in (await manager.document(entity.id)).json
        await manager.delete(entity.id)
        assert await manager.find(entity.id) is None
        with pytest.raises(NotFound):
            await manager.document(entity.id)


@pytest.mark.parametrize("groups", [0, 64])
async def test_it_is_kept_that_there_is_no_such_entity_until_there_is_one(database_url: str, groups: int) -> None:
    async with running(database_url, groups=groups) as app:
        manager, id = app.manager(ITEMS), new_id()
        assert [await loads(app, id) for _ in range(2)] == [1, 0]
        made = item()
        made.id = id
        await manager.save(made)
        assert await manager.get(id) == made


async def test_a_field_of_every_kind_is_kept_as_it_is(database_url: str) -> None:
    async with running(database_url) as app:
        manager = app.manager(ITEMS)
        entity = item()
        entity.color, entity.ratio, entity.price, entity.is_new = Color.BLUE, 0.1, Decimal("12.50"), True
        entity.seen_at, entity.day, entity.clock = datetime(2025, 1, 2, 3, 4, 5, 6, UTC), date(2025, 1, 2), time(1, 2)
        entity.reference, entity.labels, entity.meta = uuid4(), ["ü"], {"a": [1, None, 1.5]}
        entity.big, entity.detail = 2**60, Detail(width=3)
        await manager.save(entity)
        assert [await manager.get(entity.id) for _ in range(2)] == [entity] * 2


async def test_what_is_read_is_the_readers_own(database_url: str) -> None:
    async with running(database_url) as app:
        manager = app.manager(ITEMS)
        entity = await manager.save(item())
        (await manager.get(entity.id)).tags.append("mine")
        assert (await manager.get(entity.id)).tags == []


async def test_with_groups_a_change_leaves_most_others_kept(database_url: str) -> None:
    async with running(database_url, groups=64) as app:
        manager = app.manager(ITEMS)
        entities = [item(number) for number in range(20)]
        await manager.save_all(entities)
        for entity in entities:
            await manager.get(entity.id)
        await manager.patch(entities[0].id, {"name": "Somebody else"})
        asked = [await loads(app, entity.id) for entity in entities]
        assert asked[0] == 1
        assert sum(asked) <= 5


async def test_a_statement_by_hand_is_a_change_like_any_other(database_url: str) -> None:
    async with running(database_url) as app:
        manager = app.manager(ITEMS)
        entity = await manager.save(item())
        assert (await manager.get(entity.id)).name == "Item 1"
        await Items.update({Items.name: "By hand"}).where(Items.id == entity.id)
        assert (await manager.get(entity.id)).name == "By hand"


async def test_in_a_transaction_its_own_changes_are_seen_and_never_kept(database_url: str) -> None:
    for groups in (0, 8):
        async with running(database_url, groups=groups) as app:
            manager = app.manager(ITEMS)
            entity = await manager.save(item(groups))
            assert (await manager.get(entity.id)).name == f"Item {groups}"
            with suppress(RuntimeError):
                async with manager.transactions.transaction():
                    await manager.patch(entity.id, {"name": "Never"})
                    assert (await manager.get(entity.id)).name == "Never"
                    raise RuntimeError
            assert (await manager.get(entity.id)).name == f"Item {groups}"


@pytest.mark.parametrize("groups", [0, 8])
async def test_processes_see_each_others_changes(database_url: str, redis_url: str, groups: int) -> None:
    id = f"test-{uuid4().hex}"
    one, other = [service(database_url, Cached(groups=groups), redis_url, id) for _ in range(2)]
    async with one.lifespan(), other.lifespan():
        entity = await one.manager(ITEMS).save(item())
        for number in range(5):
            for app in (one, other):
                app.enter_request()
                assert (await app.manager(ITEMS).get(entity.id)).name == f"Item {number + 1}"
            changing = (one, other)[number % 2]
            await changing.manager(ITEMS).patch(entity.id, {"name": f"Item {number + 2}"})


def test_a_hook_that_needs_a_cache_says_so(sqlite_url: str) -> None:
    builder = ServiceBuilder(info=ServiceInfo(id="kept", display_name="Kept")).with_database(sqlite_url)
    with pytest.raises(Misconfigured, match="with_cache"):
        builder.with_crud(ITEMS, table=Items, hooks=[Cached()]).build(Settings())


@pytest.mark.parametrize("options", [{"groups": -1}, {"groups": 65}, {"ttl_seconds": -1}])
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=next(iter(options))):
        Cached(**options)
