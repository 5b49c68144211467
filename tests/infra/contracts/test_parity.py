"""Both databases answer every query as the oracle does: same rows, same order, same counts, same values."""

import sys
import unicodedata
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.query import (
    AllOf,
    AnyOf,
    Comparison,
    Count,
    FilterSpec,
    Keyset,
    Kind,
    Negation,
    Operator,
    Paged,
    QueryOptions,
    Sort,
    Whole,
)
from infra.database.postgres import PostgresEngine
from infra.database.repository import PiccoloRepository
from infra.database.sqlite_dialect import fold_case
from tests.infra.contracts.databases import BOUNDED, TEXTS, choices, decoded, ids, items, refill, some_items, some_text
from tests.infra.contracts.oracle import answer, plain, values
from tests.sample import ITEMS, Item

Both = tuple[PiccoloRepository[Item], PiccoloRepository[Item]]
parity = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
async def both(contract_postgres_url: str) -> AsyncIterator[Both]:
    async with items("sqlite:///:memory:") as lite, items(contract_postgres_url, pool_size=1) as postgres:
        yield lite, postgres


@st.composite
def comparisons(draw: st.DrawFn) -> FilterSpec:
    """A comparison of a field with values it may well have, or nearly."""
    field = ITEMS.fields[draw(st.sampled_from(ITEMS.filterable))]
    operator = draw(st.sampled_from(field.operators))
    if operator is Operator.NULL:
        return Comparison(field.name, operator, draw(st.booleans()))
    if operator is Operator.HAS:
        target: st.SearchStrategy[Any] = {"tags": st.sampled_from(["a", "b", "c"]), "labels": some_text}.get(
            field.name, st.sampled_from([-1, 0, 1, 2, 2**53, 2**53 + 1, 2**63 - 1])
        )
    elif field.kind is Kind.ID:
        target = choices["name"].map(lambda _: "0" * 26) | st.sampled_from([IDS_LOW, IDS_HIGH])
    else:
        target = choices[field.name].filter(lambda value: value is not None).map(plain)
    if operator is Operator.BETWEEN:
        return Comparison(field.name, operator, draw(st.tuples(target, target)))
    if operator in {Operator.IN, Operator.NIN}:
        return Comparison(field.name, operator, tuple(draw(st.lists(target, min_size=1, max_size=3))))
    return Comparison(field.name, operator, draw(target))


IDS_LOW, IDS_HIGH = "00000000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
filters = st.recursive(
    comparisons(),
    lambda inner: (
        st.builds(lambda parts: AllOf(tuple(parts)), st.lists(inner, max_size=3))
        | st.builds(lambda parts: AnyOf(tuple(parts)), st.lists(inner, max_size=3))
        | st.builds(Negation, inner)
    ),
    max_leaves=5,
)


@st.composite
def sorts(draw: st.DrawFn) -> tuple[Sort, ...]:
    names = draw(st.lists(st.sampled_from([name for name in ITEMS.sortable if name != "id"]), max_size=3, unique=True))
    return tuple(Sort(name, draw(st.booleans())) for name in [*names, "id"])


@st.composite
def queries(draw: st.DrawFn) -> QueryOptions:
    return QueryOptions(
        sort=draw(sorts()),
        filter=draw(st.none() | filters),
        search=tuple(draw(st.lists(some_text.filter(lambda text: bool(text.strip())), max_size=2) | st.just([]))),
        fields=draw(st.none() | st.just(("id",)) | st.just(("name", "id", "ratio"))),
        window=draw(
            st.just(Whole())
            | st.builds(Paged, st.integers(1, 3), st.integers(1, 5))
            | st.builds(Keyset, st.integers(1, 5))
        ),
        count=draw(st.sampled_from(Count)),
    )


def as_json(item: Item, names: Any) -> dict[str, Any]:
    """An item as a client sees it."""
    values = msgspec.to_builtins(item, enc_hook=str)
    return {name: values[name] for name in names}


def same(shown: dict[str, Any], item: Item) -> bool:
    """Whether the JSON of an item says what the item does, whatever its spelling of numbers and times."""
    read = msgspec.convert(shown, Item)
    return all(getattr(read, name) == getattr(item, name) for name in shown)


@given(rows=some_items(), drawn=st.lists(queries(), min_size=3, max_size=3))
@parity
async def test_every_query_has_one_answer(both: Both, rows: list[Item], drawn: list[QueryOptions]) -> None:
    for repository in both:
        await refill(repository.engine, repository, rows)
        found = await repository.find_all(QueryOptions(sort=(Sort("id"),)))
        assert found == sorted(rows, key=lambda row: row.id)
    for query in drawn:
        shown, total = answer(rows, query)
        for repository in both:
            listing = await repository.page(query)
            assert ids(listing.items) == [row.id for row in shown], repository.compiler.dialect.name
            assert listing.size == len(shown)
            assert listing.total == (None if query.count is Count.NONE else total)
            assert await repository.count(query) == total
            for json, item in zip(decoded(listing.items), shown, strict=True):
                assert list(json) == list(query.fields or BOUNDED.readable)
                assert same({"name": item.name, **json}, item)


@given(rows=some_items(), sort=sorts(), limit=st.integers(1, 4), spec=st.none() | filters)
@parity
async def test_a_walk_by_cursor_visits_every_row_once_in_order(
    both: Both, rows: list[Item], sort: tuple[Sort, ...], limit: int, spec: FilterSpec | None
) -> None:
    expected, _ = answer(rows, QueryOptions(sort=sort, filter=spec))
    for repository in both:
        await refill(repository.engine, repository, rows)
        visited: list[str] = []
        after: tuple[Any, ...] | None = None
        while True:
            query = QueryOptions(sort=sort, filter=spec, window=Keyset(limit, after))
            listing = await repository.page(query)
            visited += ids(listing.items)
            if listing.next is None:
                break
            assert listing.size == limit
            # What travels is JSON; what comes back is typed again.
            travelled = msgspec.json.decode(msgspec.json.encode(listing.next))
            after = tuple(
                None if value is None else BOUNDED.fields[key.field].coerce(value, text=False, longest=999)
                for key, value in zip(sort, travelled, strict=True)
            )
            assert after == values(expected[len(visited) - 1], sort)
        assert visited == [row.id for row in expected]


@given(spec=filters)
@parity
async def test_a_filter_and_its_negation_divide_the_rows(both: Both, spec: FilterSpec) -> None:
    everything = QueryOptions(sort=(Sort("id"),))
    for repository in both:
        counts = [
            await repository.count(msgspec.structs.replace(everything, filter=part))
            for part in (None, spec, Negation(spec))
        ]
        assert counts[0] == counts[1] + counts[2]


def assigned_characters() -> str:
    """What Python's own tables know; a newer server may fold more."""
    points = (chr(point) for point in range(1, sys.maxunicode + 1))
    return "".join(c for c in points if unicodedata.category(c) not in {"Cs", "Cn", "Co"})


async def test_both_databases_fold_every_character_alike(both: Both) -> None:
    _, postgres = both
    engine = postgres.engine
    assert isinstance(engine, PostgresEngine)
    characters = assigned_characters()
    folded = engine.dialect.folded("c")
    rows = await engine.fetch(f"SELECT c, {folded} FROM unnest($1::text[]) AS c", list(characters))
    different = [(c, theirs, fold_case(c)) for c, theirs in rows if theirs != fold_case(c)]
    assert different == []
    assert len(rows) == len(characters)


async def test_every_pair_of_texts_is_matched_and_ordered_alike(both: Both) -> None:
    rows = [Item(name=text or "-", note=text) for text in TEXTS]
    operators = [
        operator
        for operator in ITEMS.fields["note"].operators
        if operator.value not in {"in", "nin", "null", "between"}
    ]
    for repository in both:
        await refill(repository.engine, repository, rows)
    for text in TEXTS:
        for operator in operators:
            query = QueryOptions(
                sort=(Sort("note"), Sort("id")), filter=Comparison("note", operator, text), fields=("id",)
            )
            expected = [row.id for row in answer(rows, query)[0]]
            for repository in both:
                assert ids((await repository.page(query)).items) == expected, (text, operator)
