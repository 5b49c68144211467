"""A walk by cursor while others write: whatever existed throughout is visited exactly once."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.query import Keyset, QueryOptions, Sort
from infra.database.repository import PiccoloRepository
from tests.infra.contracts.databases import BOUNDED, ids, items
from tests.sample import Color, Item

Repository = PiccoloRepository[Item]
DAY = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
async def repository(any_database_url: str) -> AsyncIterator[Repository]:
    async with items(any_database_url) as repository:
        yield repository


def some_item(chance: random.Random) -> Item:
    """An item whose values many others share."""
    return Item(
        name=chance.choice("abcXYZé"),
        note=chance.choice([None, "", "a", "B", "é"]),
        color=chance.choice(list(Color)),
        size=chance.randrange(5),
        ratio=chance.choice([None, 0.1, 0.1 + 0.2, 0.3]),
        price=chance.choice([None, Decimal("9.99"), Decimal("10.00"), Decimal("100.00")]),
        is_new=chance.choice([None, True, False]),
        seen_at=chance.choice([None, DAY, DAY + timedelta(microseconds=1)]),
        created_at=DAY + timedelta(microseconds=chance.randrange(3)),
    )


async def walk(repository: Repository, sort: tuple[Sort, ...]) -> AsyncIterator[str]:
    """The ids of all rows in `sort` order, a few at a time."""
    after: tuple[Any, ...] | None = None
    while True:
        listing = await repository.page(QueryOptions(sort=sort, window=Keyset(7, after)))
        for id in ids(listing.items):
            yield id
        if listing.next is None:
            return
        after = tuple(
            None if value is None else BOUNDED.fields[key.field].coerce(value, text=False, longest=99)
            for key, value in zip(sort, listing.next, strict=True)
        )


@pytest.mark.parametrize(
    "keys",
    [
        "id",
        "-id",
        "name",
        "-note",
        "size,-note",
        "-price,ratio",
        "is_new,-seen_at,color",
        "-created_at,-id",
        "note,-id",
    ],
)
async def test_a_walk_visits_what_stays_exactly_once(repository: Repository, keys: str) -> None:
    chance = random.Random(keys)
    sort = tuple(Sort(key.lstrip("-"), key.startswith("-")) for key in keys.split(","))
    if sort[-1].field != "id":
        sort += (Sort("id"),)
    staying = [some_item(chance) for _ in range(60)]
    leaving = [some_item(chance) for _ in range(60)]
    await repository.insert_all([*staying, *leaving])
    is_over = asyncio.Event()

    async def disturb() -> None:
        going = list(leaving)
        while not is_over.is_set():
            await repository.insert(some_item(chance))
            if going:
                await repository.delete([going.pop(chance.randrange(len(going))).id])

    disturbing = asyncio.create_task(disturb())
    visited = [id async for id in walk(repository, sort)]
    is_over.set()
    await disturbing
    assert len(set(visited)) == len(visited)
    stayed = {item.id for item in staying}
    assert {id for id in visited if id in stayed} == stayed
