"""What every repository does, on every database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from piccolo.columns import JSONB, Array, Integer, Text

from domain.entity import Entity
from domain.errors import Conflict, Invalid
from domain.query import (
    BY_ID,
    Comparison,
    Count,
    Keyset,
    Kind,
    Operator,
    Paged,
    QueryLimits,
    QueryOptions,
    Resource,
    Sort,
    Whole,
)
from infra.database.repository import PiccoloRepository
from infra.database.schema import synchronize
from infra.database.table import EntityTable, bounds_of
from tests.infra.contracts.databases import BOUNDED, TEXTS, decoded, ids, items, refill
from tests.infra.contracts.oracle import fold
from tests.infra.database.engines import opened
from tests.sample import ITEMS, Color, Detail, Item, Items

Repository = PiccoloRepository[Item]
EARLY = datetime(2025, 1, 31, 12, 0, 0, 1, UTC)

FULL = Item(
    created_at=EARLY,
    updated_at=EARLY,
    tags=["a", "é"],
    name='"quoted" \\ \n\t \U0001f600',
    note="",
    color=Color.BLUE,
    size=-(2**31),
    big=2**63 - 1,
    ratio=0.1 + 0.2,
    price=Decimal("-1234567890.12"),
    is_new=False,
    seen_at=EARLY + timedelta(days=1),
    day=date(2024, 2, 29),
    clock=time(23, 59, 59, 999999),
    reference=UUID(int=1),
    labels=["", "x", 'a"b', "{}"],
    numbers=[-(2**63), 0, 2**63 - 1],
    meta={"a": {"b": [None, True, 1.5, "\u2028"]}, "": 10**30},
    detail=Detail(width=3, unit="mm"),
)


@pytest.fixture
async def repository(any_database_url: str) -> AsyncIterator[Repository]:
    async with items(any_database_url) as repository:
        yield repository


def limited(repository: Repository, **limits: Any) -> Repository:
    """The same table under other limits."""
    resource = Resource(Item, "items", limits=QueryLimits(**limits)).bounded(bounds_of(Items))
    return PiccoloRepository(resource, Items, repository.engine)


def made(*sizes: int, **values: Any) -> list[Item]:
    return [Item(name=f"n{size}", size=size, **values) for size in sizes]


def by(*keys: str, **options: Any) -> QueryOptions:
    sort = tuple(Sort(key.lstrip("-"), key.startswith("-")) for key in keys)
    return QueryOptions(sort=(*sort, Sort("id")), **options)


# One entity


async def test_an_entity_comes_back_as_it_was_stored(repository: Repository) -> None:
    plain = Item(name="plain")
    await repository.insert(FULL)
    await repository.insert(plain)
    assert await repository.find(FULL.id) == FULL
    assert await repository.find(plain.id) == plain
    assert await repository.find(FULL.id, lock=True) == FULL
    assert await repository.find("0" * 26) is None
    assert await repository.exists(plain.id)
    assert not await repository.exists("0" * 26)


async def test_a_document_is_the_entity_as_json_and_its_version(repository: Repository) -> None:
    await repository.insert_all([FULL])
    document = await repository.document(FULL.id)
    assert document is not None
    assert document.version == "2025-01-31T12:00:00.000001Z"
    shown = decoded(document.json)
    assert list(shown) == list(ITEMS.readable)
    assert shown["updated_at"] == document.version
    assert shown["price"] == "-1234567890.12"
    assert b'"big":9223372036854775807' in document.json.replace(b": ", b":")
    assert shown["ratio"] == 0.1 + 0.2
    assert shown["is_new"] is False
    assert msgspec.convert(shown, Item) == FULL
    assert await repository.document("0" * 26) is None


async def test_a_document_has_the_fields_asked_for_in_their_order(repository: Repository) -> None:
    await repository.insert(FULL)
    document = await repository.document(FULL.id, ("size", "id"))
    assert document is not None
    assert list(decoded(document.json).items()) == [("size", FULL.size), ("id", FULL.id)]


async def test_a_hidden_field_is_stored_and_not_shown(repository: Repository) -> None:
    hiding = PiccoloRepository(Resource(Item, "items", hidden={"note"}), Items, repository.engine)
    await hiding.insert(Item(id="0" * 26, name="a", note="secret"))
    document = await hiding.document("0" * 26)
    assert document is not None
    assert b"secret" not in document.json
    assert b"secret" not in (await hiding.page(BY_ID)).items
    found = await hiding.find("0" * 26)
    assert found is not None
    assert found.note == "secret"


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)])
async def test_the_first_and_the_last_moment_of_all_are_kept(repository: Repository, moment: datetime) -> None:
    item = Item(name="a", seen_at=moment, day=moment.date(), clock=moment.time())
    await repository.insert(item)
    assert await repository.find(item.id) == item
    query = by("seen_at", "day", filter=Comparison("seen_at", Operator.EQ, moment), window=Keyset(1))
    assert (await repository.page(query)).size == 1


WIDE = [f"x{number}" for number in range(150)]


async def test_an_entity_may_have_very_many_fields(any_database_url: str) -> None:
    annotations: dict[str, Any] = {"__annotations__": dict.fromkeys(WIDE, int), "__module__": __name__}
    entity = type("Wide", (Entity,), annotations, kw_only=True)
    table = type("Wides", (EntityTable,), {name: Integer() for name in WIDE} | {"__module__": __name__})
    async with opened(any_database_url) as engine:
        await engine.execute("DROP TABLE IF EXISTS wides")
        await synchronize(engine, [table])
        repository = PiccoloRepository(Resource(entity, "wides"), table, engine)
        row = entity(**{name: number for number, name in enumerate(WIDE)})
        await repository.insert(row)
        assert await repository.find_all(BY_ID) == [row]
        for names in (WIDE[:60], WIDE[:61], [*WIDE, "id"]):
            document = await repository.document(row.id, names)
            assert document is not None
            assert decoded(document.json) == {name: getattr(row, name) for name in names}


# Changes


async def test_named_fields_are_updated_and_others_stay(repository: Repository) -> None:
    other = Item(name="other")
    await repository.insert_all([FULL, other])
    changes = {
        "name": "new",
        "note": None,
        "color": Color.GREEN,
        "detail": None,
        "labels": [],
        "price": Decimal("1.00"),
    }
    await repository.update(FULL.id, {**changes, "meta": {"x": [1]}, "seen_at": None})
    expected = msgspec.structs.replace(FULL, **changes, meta={"x": [1]}, seen_at=None)
    assert await repository.find(FULL.id) == expected
    assert await repository.find(other.id) == other


async def test_entities_are_removed_and_counted(repository: Repository) -> None:
    rows = made(*range(5))
    await repository.insert_all(rows)
    assert await repository.delete([]) == 0
    assert await repository.delete([rows[0].id, rows[1].id, rows[0].id, "0" * 26]) == 2
    assert await repository.delete([rows[0].id]) == 0
    assert await repository.find_all(BY_ID) == rows[2:]


async def test_a_great_many_entities_go_in_and_are_found_and_removed_by_id(repository: Repository) -> None:
    rows = made(*range(33_000))
    await repository.insert_all(rows)
    names = [row.id for row in rows]
    assert len(await repository.find_many(names)) == 33_000
    assert await repository.delete(names) == 33_000


async def test_no_entities_go_in_as_none(repository: Repository) -> None:
    await repository.insert_all([])
    assert await repository.find_all(BY_ID) == []
    assert (await repository.page(BY_ID)).items == b"[]"


async def test_a_conflict_names_the_field_and_undoes_the_whole_batch(repository: Repository) -> None:
    await repository.engine.execute("CREATE UNIQUE INDEX one_name_per_size ON items (name, size)")
    first = Item(name="a", size=1)
    await repository.insert(first)
    for writing, fields in (
        (repository.insert(msgspec.structs.replace(first, name="b")), ["id"]),
        (repository.insert(Item(name="a", size=1)), ["name", "size"]),
        (repository.insert_all([*made(1, 2, 3), Item(name="a", size=1)]), ["name", "size"]),
        (repository.insert_all([*made(1, 2), first]), None),
    ):
        with pytest.raises(Conflict) as caught:
            await writing
        assert caught.value.extensions["constraint"] == "unique"
        assert fields is None or caught.value.extensions["fields"] == fields
        assert "already taken" in caught.value.detail
    other = Item(name="b", size=1)
    await repository.insert(other)
    with pytest.raises(Conflict) as caught:
        await repository.update(other.id, {"name": "a"})
    assert caught.value.extensions["fields"] == ["name", "size"]
    assert len(await repository.find_all(BY_ID)) == 2


async def test_a_missing_value_and_a_broken_rule_are_conflicts(repository: Repository) -> None:
    await repository.insert(FULL)
    with pytest.raises(Conflict, match='"name" must have a value') as caught:
        await repository.update(FULL.id, {"name": None})
    assert caught.value.extensions == {"constraint": "not_null", "fields": ["name"]}


async def test_a_value_beyond_its_column_is_invalid(repository: Repository) -> None:
    with pytest.raises(Invalid, match="does not fit"):
        await repository.insert(Item(name="a", big=2**63))


async def test_a_row_that_is_no_longer_what_is_declared_says_so(repository: Repository) -> None:
    await repository.insert(FULL)
    await repository.engine.execute("UPDATE items SET color = 'mauve'")
    for reading in (repository.find(FULL.id), repository.find_all(BY_ID), repository.find_many([FULL.id])):
        with pytest.raises(Conflict, match="stored Item no longer satisfies its declaration"):
            await reading
    # Documents are what the database says.
    assert b"mauve" in (await repository.page(BY_ID)).items


# Many entities


async def test_many_are_found_in_the_order_of_their_ids(repository: Repository) -> None:
    rows = made(1, 2, 3)
    await repository.insert_all(rows)
    assert await repository.find_many([]) == []
    wanted = [rows[2].id, "0" * 26, rows[0].id, rows[2].id]
    assert await repository.find_many(wanted) == [rows[0], rows[2]]
    async with repository.engine.transaction():
        assert await repository.find_many(wanted, lock=True) == [rows[0], rows[2]]


async def test_many_documents_are_those_that_are_found_one_by_one(repository: Repository) -> None:
    rows = made(1, 2, 3)
    await repository.insert_all(rows)
    found = await repository.documents([rows[2].id, "0" * 26, rows[0].id])
    singles = [await repository.document(row.id) for row in (rows[0], rows[2])]
    assert found == [single.json for single in singles if single is not None]
    assert len(found) == 2
    assert await repository.documents([]) == []


async def test_all_are_found_whatever_the_window(repository: Repository) -> None:
    rows = made(*range(10))
    await repository.insert_all(rows)
    for window in (Paged(2, 3), Keyset(3)):
        query = by(
            "-size", filter=Comparison("size", Operator.GTE, 5), window=window, fields=("id",), count=Count.EXACT
        )
        assert await repository.find_all(query) == rows[:4:-1]
    assert await limited(repository, list_length=3).find_all(BY_ID) == rows


@pytest.mark.parametrize(
    "page, size, expected",
    [(1, 4, [0, 1, 2, 3]), (2, 4, [4, 5, 6, 7]), (3, 4, [8, 9]), (4, 4, []), (2**31 - 1, 100, [])],
)
async def test_a_page_is_a_window_of_the_whole(
    repository: Repository, page: int, size: int, expected: list[int]
) -> None:
    await repository.insert_all(made(*range(10)))
    listing = await repository.page(by("size", window=Paged(page, size), count=Count.EXACT))
    assert [item["size"] for item in decoded(listing.items)] == expected
    assert (listing.size, listing.total, listing.is_at_least, listing.next) == (len(expected), 10, False, None)


@pytest.mark.parametrize(
    "count, ceiling, total, is_at_least",
    [
        (Count.NONE, 5, None, False),
        (Count.EXACT, 5, 10, False),
        (Count.CAPPED, 5, 5, True),
        (Count.CAPPED, 9, 9, True),
        (Count.CAPPED, 10, 10, False),
        (Count.CAPPED, 11, 10, False),
    ],
)
async def test_a_total_is_counted_as_far_as_it_was_asked_for(
    repository: Repository, count: Count, ceiling: int, total: int | None, is_at_least: bool
) -> None:
    bounded = limited(repository, count_ceiling=ceiling)
    await bounded.insert_all(made(*range(10)))
    for window in (Paged(1, 2), Keyset(2)):
        listing = await bounded.page(by(window=window, count=count))
        assert (listing.size, listing.total, listing.is_at_least) == (2, total, is_at_least)
    assert await bounded.count(by(filter=Comparison("size", Operator.LT, 3), count=Count.EXACT)) == 3


async def test_a_cursor_continues_behind_the_last_row(repository: Repository) -> None:
    rows = made(3, 1, 2)
    await repository.insert_all(rows)
    first = await repository.page(by("size", window=Keyset(2), fields=("id",)))
    assert ids(first.items) == [rows[1].id, rows[2].id]
    assert first.next == (2, rows[2].id)
    last = await repository.page(by("size", window=Keyset(2, first.next)))
    assert ids(last.items) == [rows[0].id]
    assert last.next is None
    assert (await repository.page(by("size", window=Keyset(3)))).next is None


async def test_the_bare_list_is_bounded_and_says_how_to_go_on(repository: Repository) -> None:
    rows = made(*range(5))
    await repository.insert_all(rows)
    for length in (1, 3, 4):
        listing = await limited(repository, list_length=length).page(by("-size"))
        assert ids(listing.items) == [row.id for row in rows[::-1][:length]]
        assert listing.next == (5 - length, rows[5 - length].id)
        rest = await repository.page(by("-size", window=Keyset(9, listing.next)))
        assert ids(rest.items) == [row.id for row in rows[::-1][length:]]
    for length in (5, 6, None):
        listing = await limited(repository, list_length=length).page(by("-size"))
        assert (listing.size, listing.next) == (5, None)


# Order


NULLABLE = [name for name in ITEMS.sortable if ITEMS.fields[name].nullable]


@pytest.mark.parametrize("is_descending", [False, True])
async def test_nulls_are_last_in_both_directions_for_every_kind(repository: Repository, is_descending: bool) -> None:
    assert {ITEMS.fields[name].kind for name in NULLABLE} == set(Kind) - {
        Kind.ID,
        Kind.ENUM,
        Kind.LIST,
        Kind.JSON,
    }
    empty = Item(name="empty")
    later = {
        "note": "é",
        "big": 2**63 - 1,
        "ratio": 1e300,
        "price": Decimal("9.00"),
        "is_new": True,
        "seen_at": EARLY,
        "day": date(9999, 1, 1),
        "clock": time(23),
        "reference": UUID(int=2**127),
    }
    earlier = {
        "note": "",
        "big": -(2**63),
        "ratio": -1e300,
        "price": Decimal("-9.00"),
        "is_new": False,
        "seen_at": EARLY - timedelta(days=1),
        "day": date(1, 1, 2),
        "clock": time(0),
        "reference": UUID(int=0),
    }
    low, high = Item(name="low", **earlier), Item(name="high", **later)
    await repository.insert_all([high, empty, low])
    expected = [high.id, low.id, empty.id] if is_descending else [low.id, high.id, empty.id]
    for name in NULLABLE:
        query = QueryOptions(sort=(Sort(name, is_descending), Sort("id")))
        assert ids((await repository.page(query)).items) == expected, name


async def test_text_is_ordered_by_code_point(repository: Repository) -> None:
    rows = [Item(name="a", note=text) for text in TEXTS]
    await refill(repository.engine, repository, rows)
    in_order = sorted(TEXTS)
    for key, expected in (("note", in_order), ("-note", in_order[::-1])):
        listing = await repository.page(by(key))
        assert [item["note"] for item in decoded(listing.items)] == expected
    for text in TEXTS:
        query = by("note", filter=Comparison("note", Operator.LT, text), fields=("note",))
        found = [item["note"] for item in decoded((await repository.page(query)).items)]
        assert found == [other for other in in_order if other < text]
    first = await repository.page(by("note", window=Keyset(20)))
    rest = await repository.page(by("note", window=Keyset(99, first.next)))
    assert [item["note"] for item in decoded(first.items) + decoded(rest.items)] == in_order


async def test_decimals_are_ordered_as_numbers_on_every_kind_of_page(repository: Repository) -> None:
    rows = [Item(name="a", price=Decimal(text)) for text in ("10.00", "9.99", "-10.00", "-9.99", "100.00")]
    await repository.insert_all(rows)
    in_order = ["-10.00", "-9.99", "9.99", "10.00", "100.00"]
    for window in (Whole(), Paged(1, 9), Keyset(9)):
        for key, expected in (("price", in_order), ("-price", in_order[::-1])):
            listing = await repository.page(by(key, window=window))
            assert [item["price"] for item in decoded(listing.items)] == expected
    first = await repository.page(by("price", window=Keyset(3)))
    assert first.next == ("9.99", rows[1].id)


class Odd(Entity, kw_only=True):
    """Fields whose names also mean something to a database, or in the statements we make."""

    j: int
    r: int
    q: int
    c: int
    n: int
    row: int
    order: int
    select: int
    value: list[str]
    path: list[str]
    key: list[str]
    json: list[str]
    root: list[str]


class Odds(EntityTable, tablename="group"):
    j = Integer()
    r = Integer()
    q = Integer()
    c = Integer()
    n = Integer()
    row = Integer()
    order = Integer()
    select = Integer()
    value = JSONB()
    path = JSONB()
    key = Array(base_column=Text())
    json = JSONB()
    root = Array(base_column=Text())


async def test_a_field_may_have_any_name(any_database_url: str) -> None:
    numbers, lists = ("j", "r", "q", "c", "n", "row", "order", "select"), ("value", "path", "key", "json", "root")
    rows = [Odd(**dict.fromkeys(numbers, size), **{name: [f"l{size}"] for name in lists}) for size in (2, 10, 1)]  # type: ignore[arg-type]
    async with opened(any_database_url) as engine:
        await engine.execute('DROP TABLE IF EXISTS "group"')
        await synchronize(engine, [Odds])
        repository = PiccoloRepository(Resource(Odd, "odds"), Odds, engine)
        await repository.insert_all(rows)
        assert await repository.find_all(BY_ID) == rows
        for name in numbers:
            for window in (Whole(), Paged(1, 9), Keyset(9)):
                query = by(name, window=window, filter=Comparison(name, Operator.GT, 1), count=Count.EXACT)
                assert ids((await repository.page(query)).items) == [rows[0].id, rows[1].id], name
        for name in lists:
            query = by("-j", filter=Comparison(name, Operator.HAS, "l10"))
            assert ids((await repository.page(query)).items) == [rows[1].id], name


async def test_case_is_folded_alike(repository: Repository) -> None:
    rows = [Item(name="a", note=text) for text in TEXTS]
    await refill(repository.engine, repository, rows)
    for text in TEXTS:
        query = by("id", filter=Comparison("note", Operator.ICONTAINS, text))
        expected = sorted(row.id for row in rows if fold(text) in fold(row.note or ""))
        assert ids((await repository.page(query)).items) == expected, text


async def test_a_long_text_may_be_the_place_of_a_cursor(repository: Repository) -> None:
    rows = [Item(name="a", note="x" * 20_000 + letter) for letter in "abc"]
    await repository.insert_all(rows)
    first = await repository.page(by("note", window=Keyset(1)))
    assert first.next == (rows[0].note, rows[0].id)
    assert (await repository.page(by("note", window=Keyset(5, first.next)))).size == 2


# Locks


async def test_a_locked_row_waits_for_the_change_that_reads_it(repository: Repository) -> None:
    item = Item(name="a", size=0)
    await repository.insert(item)

    async def increment() -> None:
        async with repository.engine.transaction():
            found = await repository.find(item.id, lock=True)
            assert found is not None
            await repository.update(item.id, {"size": found.size + 1})

    await asyncio.gather(*(increment() for _ in range(20)))
    found = await repository.find(item.id)
    assert found is not None
    assert found.size == 20


def test_every_field_of_the_sample_has_a_bound_where_its_column_has_one() -> None:
    assert BOUNDED.fields["name"].max_length == 50
    assert BOUNDED.fields["size"].maximum == 2**31 - 1
    assert (BOUNDED.fields["price"].precision, BOUNDED.fields["price"].scale) == (12, 2)
