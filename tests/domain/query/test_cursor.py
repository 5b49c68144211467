"""Cursors come back as they were made, and only where they were made for."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.query import BY_ID, AllOf, Comparison, Keyset, Operator, Paged, QueryOptions, Resource, Sort
from domain.query.cursor import BadCursor, CursorMismatch, decode_cursor, encode_cursor
from tests.domain.query.queries import ID, KEY, VALUES, values, wire
from tests.sample import ITEMS, Item

QUERY = QueryOptions(
    sort=(Sort("name", is_descending=True), Sort("id")),
    filter=Comparison("size", Operator.GT, 1),
    search=("a", "b"),
    window=Keyset(10),
)
AFTER = ("ü", ID)
CURSOR = encode_cursor(ITEMS, QUERY, AFTER, KEY)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("name", "a\n\U0001f600", "a\n\U0001f600"),
        ("name", "x" * 100_000, "x" * 100_000),
        ("note", None, None),
        ("color", "red", "red"),
        ("size", -5, -5),
        ("big", 2**63 - 1, 2**63 - 1),
        ("ratio", 0.1 + 0.2, 0.1 + 0.2),
        ("ratio", 1, 1.0),
        ("price", "1.50", Decimal("1.50")),
        ("is_new", False, False),
        ("seen_at", "2025-01-31T12:00:00.000001Z", datetime(2025, 1, 31, 12, 0, 0, 1, UTC)),
        ("day", "2025-01-31", date(2025, 1, 31)),
        ("clock", "12:00:00.5", time(12, 0, 0, 500000)),
        ("reference", "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
    ],
)
def test_a_cursor_brings_back_typed_values(name: str, value: Any, expected: Any) -> None:
    query = QueryOptions(sort=(Sort(name), Sort("id")), window=Keyset(1))
    text = encode_cursor(ITEMS, query, (value, ID), KEY)
    assert decode_cursor(ITEMS, query, text, KEY) == (expected, ID)


@given(st.data())
def test_any_sort_values_come_back(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(ITEMS.sortable), unique=True, min_size=1, max_size=4))
    query = QueryOptions(sort=tuple(Sort(name, data.draw(st.booleans())) for name in names), window=Keyset(1))
    after = tuple(
        data.draw(st.none() | values(ITEMS.fields[name]))
        if ITEMS.fields[name].nullable
        else data.draw(values(ITEMS.fields[name]))
        for name in names
    )
    found = decode_cursor(ITEMS, query, encode_cursor(ITEMS, query, after, KEY), KEY)
    for name, sent, got in zip(names, after, found, strict=True):
        assert sent is got is None or ITEMS.fields[name].coerce(wire(got), text=False, longest=100) == got
        assert (sent is None) == (got is None)


def test_a_cursor_needs_no_escaping_in_a_url() -> None:
    assert CURSOR.replace("-", "").replace("_", "").isalnum()
    assert CURSOR.isascii()


@pytest.mark.parametrize("at", range(len(CURSOR)))
def test_a_cursor_with_any_character_changed_is_not_ours(at: int) -> None:
    for character in "Aa0-_=.é\0":
        text = CURSOR[:at] + character + CURSOR[at + 1 :]
        if text != CURSOR:
            with pytest.raises(BadCursor):
                decode_cursor(ITEMS, QUERY, text, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "A",
        "AAAA",
        CURSOR[:-1],
        CURSOR + "A",
        CURSOR + "=",
        CURSOR + "==",
        " " + CURSOR,
        CURSOR[::-1],
        "x" * 9999,
    ],
)
def test_any_other_text_is_not_ours(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(ITEMS, QUERY, text, KEY)


@given(st.text(st.characters()))
def test_no_text_is_taken_for_a_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(ITEMS, QUERY, text, KEY)


def test_a_cursor_of_another_service_is_not_ours() -> None:
    with pytest.raises(BadCursor):
        decode_cursor(ITEMS, QUERY, CURSOR, b"another key")


@pytest.mark.parametrize(
    "changes",
    [
        {"sort": (Sort("name"), Sort("id"))},
        {"sort": (Sort("name", is_descending=True), Sort("id", is_descending=True))},
        {"sort": (Sort("id"),)},
        {"filter": None},
        {"filter": Comparison("size", Operator.GTE, 1)},
        {"filter": Comparison("size", Operator.GT, 2)},
        {"filter": Comparison("big", Operator.GT, 1)},
        {"filter": AllOf((Comparison("size", Operator.GT, 1),))},
        {"search": ()},
        {"search": ("a b",)},
        {"search": ("b", "a")},
    ],
)
def test_a_cursor_is_bound_to_order_filter_and_search(changes: dict[str, Any]) -> None:
    with pytest.raises(CursorMismatch):
        decode_cursor(ITEMS, msgspec.structs.replace(QUERY, **changes), CURSOR, KEY)


@pytest.mark.parametrize("changes", [{"fields": ("id",)}, {"window": Keyset(500)}, {"window": Paged(1, 2)}])
def test_the_size_of_a_page_and_its_fields_may_change(changes: dict[str, Any]) -> None:
    assert decode_cursor(ITEMS, msgspec.structs.replace(QUERY, **changes), CURSOR, KEY) == AFTER


def test_a_cursor_is_bound_to_its_resource() -> None:
    with pytest.raises(CursorMismatch):
        decode_cursor(Resource(Item, "others"), QUERY, CURSOR, KEY)


def test_a_cursor_by_id_alone_is_short() -> None:
    assert len(encode_cursor(ITEMS, BY_ID, (ID,), KEY)) < 100


def test_every_sortable_kind_can_be_drawn() -> None:
    for name in ITEMS.sortable:
        field = ITEMS.fields[name]
        assert field.choices or field.kind in VALUES
