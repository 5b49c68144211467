"""What every repository does with many rows at once: the same rows come of it, whichever way they are written."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import Meta
from piccolo.columns import Integer, Varchar

from domain.entity import Entity
from domain.errors import Conflict
from domain.query import BY_ID, Resource
from infra.database.postgres import PostgresEngine
from infra.database.repository import PiccoloRepository
from infra.database.schema import synchronize
from infra.database.table import EntityTable, bounds_of
from tests.infra.contracts.databases import DAYS, MOMENTS, items, refill, some_items
from tests.infra.contracts.test_repository import FULL, Odd, Odds
from tests.infra.database.engines import opened
from tests.sample import Item

Repository = PiccoloRepository[Item]


class Member(Entity, kw_only=True):
    """Something with two values that must be unique."""

    email: Annotated[str, Meta(max_length=50)]
    number: int | None = None
    size: int = 0


class Members(EntityTable, tablename="members"):
    email = Varchar(length=50, unique=True)
    number = Integer(null=True, default=None, unique=True)
    size = Integer()


MEMBERS = Resource(Member, "members").bounded(bounds_of(Members))


@pytest.fixture
async def repository(any_database_url: str) -> AsyncIterator[Repository]:
    async with items(any_database_url) as repository:
        yield repository


@pytest.fixture
async def members(any_database_url: str) -> AsyncIterator[PiccoloRepository[Member]]:
    async with opened(any_database_url) as engine:
        await engine.execute("DROP TABLE IF EXISTS members")
        await synchronize(engine, [Members])
        yield PiccoloRepository(MEMBERS, Members, engine)


async def raw(repository: Repository) -> Sequence[Any]:
    """All rows as they are stored."""
    columns = ", ".join(repository.compiler.columns.values())
    # As one text, PostgreSQL shows infinities, which in Python are moments like others.
    shown = "items::text" if isinstance(repository.engine, PostgresEngine) else columns
    return [tuple(row) for row in await repository.engine.fetch(f"SELECT {shown} FROM items ORDER BY id")]


@given(rows=some_items())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_rows_are_the_same_whichever_way_they_are_written(repository: Repository, rows: list[Item]) -> None:
    rows = [*rows, FULL]
    await refill(repository.engine, repository, rows)
    expected = await raw(repository)
    await repository.engine.execute("DELETE FROM items")
    assert await repository.insert_free(rows) == {row.id for row in rows}
    assert await raw(repository) == expected
    await refill(repository.engine, repository, [Item(id=row.id, name="before") for row in rows])
    await repository.update_all(rows, [name for name in repository.resource.fields if name != "id"])
    assert await raw(repository) == expected


async def test_the_first_and_the_last_moment_are_stored_alike(repository: Repository) -> None:
    rows = [
        Item(name="a", seen_at=moment, created_at=moment, updated_at=moment, day=day)
        for moment in MOMENTS
        for day in (*DAYS, None)
    ]
    await repository.insert_all(rows)
    expected = await raw(repository)
    await repository.engine.execute("DELETE FROM items")
    await repository.insert_free(rows)
    assert await raw(repository) == expected
    assert await repository.find_all(BY_ID) == rows
    assert MOMENTS[0] == datetime.min.replace(tzinfo=UTC)
    assert DAYS[0] == date.min


async def test_of_new_entities_only_the_free_ones_are_stored(members: PiccoloRepository[Member]) -> None:
    stored = Member(email="a", number=1)
    await members.insert(stored)
    twin = Member(email="b", number=2)
    given = [
        Member(email="a"),
        twin,
        Member(email="b"),
        Member(email="c", number=1),
        Member(id=stored.id, email="d"),
        Member(email="e"),
        Member(email="a", number=2),
    ]
    free = await members.insert_free(given)
    assert free == {twin.id, given[5].id}
    assert await members.find_all(BY_ID) == [stored, twin, given[5]]
    taken = await members.taken([each for each in given if each.id not in free])
    assert {id: sorted(fields) for id, fields in taken.items()} == {
        given[0].id: ["email"],
        given[2].id: ["email"],
        given[3].id: ["number"],
        stored.id: ["id"],
        given[6].id: ["email", "number"],
    }
    assert await members.insert_free([]) == set()
    assert await members.taken([]) == {}


async def test_other_rules_than_uniqueness_are_still_conflicts(members: PiccoloRepository[Member]) -> None:
    nameless = Member(email="a")
    nameless.email = None  # type: ignore[assignment]
    with pytest.raises(Conflict) as caught:
        await members.insert_free([Member(email="b"), nameless])
    assert caught.value.extensions["constraint"] == "not_null"
    assert await members.find_all(BY_ID) == []


async def test_many_rows_are_updated_in_the_named_fields_and_others_stay(members: PiccoloRepository[Member]) -> None:
    rows = [Member(email=f"e{number}", number=number) for number in range(3_000)]
    await members.insert_all(rows)
    changed = [Member(id=row.id, email=row.email, number=None, size=7) for row in rows[:2_999]]
    await members.update_all(changed, ["size"])
    found = await members.find_all(BY_ID)
    assert [(row.number, row.size) for row in found] == [*((number, 7) for number in range(2_999)), (2_999, 0)]
    with pytest.raises(Conflict) as caught:
        await members.update_all([Member(id=row.id, email="same") for row in rows], ["email"])
    assert caught.value.extensions["fields"] == ["email"]
    assert await members.find_all(BY_ID) == found


async def test_a_field_may_have_any_name(any_database_url: str) -> None:
    numbers, lists = ("j", "r", "q", "c", "n", "row", "order", "select"), ("value", "path", "key", "json", "root")
    rows = [Odd(**dict.fromkeys(numbers, size), **{name: [f"l{size}"] for name in lists}) for size in (2, 10, 1)]  # type: ignore[arg-type]
    async with opened(any_database_url) as engine:
        await engine.execute('DROP TABLE IF EXISTS "group"')
        await synchronize(engine, [Odds])
        repository = PiccoloRepository(Resource(Odd, "odds"), Odds, engine)
        assert await repository.insert_free(rows) == {row.id for row in rows}
        changed = [msgspec.structs.replace(row, r=5, order=6, root=["x"]) for row in rows]
        await repository.update_all(changed, ["r", "order", "root"])
        assert await repository.find_all(BY_ID) == changed
