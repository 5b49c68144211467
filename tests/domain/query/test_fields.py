"""Fields: from an annotation to a kind, and from what a client sends to a typed value."""

import contextlib
import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from domain.errors import Misconfigured
from domain.query.derive import field_of
from domain.query.fields import INT64, Field, Kind, Operator, WrongValue, storable_text, to_utc
from tests.sample import ITEMS, Color

ID = "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"
REFERENCE = UUID("12345678-1234-5678-1234-567812345678")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Inner(msgspec.Struct):
    a: int


class Ambiguous:
    """No type for a field."""


def field(annotation: Any, name: str = "x") -> Field:
    return field_of(name, annotation, owner="Thing")


def coerced(annotation: Any, value: Any, *, text: bool, name: str = "x") -> Any:
    return field(annotation, name).coerce(value, text=text, longest=30)


@pytest.mark.parametrize(
    "annotation, kind, nullable",
    [
        (str, Kind.TEXT, False),
        (str | None, Kind.TEXT, True),
        (Annotated[str, Meta(max_length=5)], Kind.TEXT, False),
        (Annotated[str | None, Meta(max_length=5)], Kind.TEXT, True),
        (Annotated[str, Meta(max_length=5)] | None, Kind.TEXT, True),
        (int, Kind.INTEGER, False),
        (bool, Kind.BOOLEAN, False),
        (float, Kind.NUMBER, False),
        (Decimal, Kind.DECIMAL, False),
        (datetime, Kind.DATETIME, False),
        (date, Kind.DATE, False),
        (time, Kind.TIME, False),
        (UUID, Kind.UUID, False),
        (Color, Kind.ENUM, False),
        (Level | None, Kind.ENUM, True),
        (Literal["a", "b"], Kind.ENUM, False),
        (list[str], Kind.LIST, False),
        (set[int], Kind.LIST, False),
        (frozenset[str] | None, Kind.LIST, True),
        (list, Kind.LIST, False),
        (dict[str, int], Kind.JSON, False),
        (Mapping[str, Any], Kind.JSON, False),
        (Inner | None, Kind.JSON, True),
        (Any, Kind.JSON, True),
    ],
)
def test_an_annotation_has_a_kind(annotation: Any, kind: Kind, nullable: bool) -> None:
    made = field(annotation)
    assert (made.kind, made.nullable) == (kind, nullable)
    assert made.is_sortable == (kind not in {Kind.LIST, Kind.JSON})


def test_the_field_named_id_is_an_id() -> None:
    assert field(str, "id").kind is Kind.ID


@pytest.mark.parametrize("annotation", [Ambiguous, bytes, timedelta, int | str, tuple[int, int], complex])
def test_a_type_that_cannot_be_stored_is_refused_with_those_that_can(annotation: Any) -> None:
    with pytest.raises(Misconfigured, match=r"Thing\.x has type .*: use str, int"):
        field(annotation)


@pytest.mark.parametrize(
    "annotation, item",
    [(list[str], Kind.TEXT), (list[Color], Kind.ENUM), (list[list[int]], None), (list[Any], None), (list, None)],
)
def test_a_list_knows_what_its_members_are(annotation: Any, item: Kind | None) -> None:
    made = field(annotation)
    assert (made.item.kind if made.item else None) == item
    assert (Operator.HAS in made.operators) == (item is not None)


EARLY = datetime(2025, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "annotation, value, expected",
    [
        (str, "a", "a"),
        (str, "", ""),
        (str, "é" * 30, "é" * 30),
        (int, 7, 7),
        (int, INT64[1], INT64[1]),
        (int, INT64[0], INT64[0]),
        (float, 7, 7.0),
        (float, 0.1, 0.1),
        (float, 2**60 + 1, float(2**60 + 1)),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 1.5, Decimal("1.5")),
        (Decimal, 3, Decimal(3)),
        (bool, True, True),
        (datetime, "2025-01-31T12:00:00Z", EARLY),
        (datetime, "2025-01-31T14:00:00+02:00", EARLY),
        (datetime, "2025-01-31T12:00:00", EARLY),
        (datetime, "2025-01-31", EARLY.replace(hour=0)),
        (date, "2025-01-31", date(2025, 1, 31)),
        (time, "12:30:00", time(12, 30)),
        (time, "12:30:00.000001", time(12, 30, 0, 1)),
        (Color, "red", "red"),
        (Level, 2, 2),
        (Literal["a", 1], "a", "a"),
        (Literal["a", 1], 1, 1),
    ],
)
def test_a_json_value_becomes_the_type_of_its_field(annotation: Any, value: Any, expected: Any) -> None:
    found = coerced(annotation, value, text=False)
    assert (found, type(found)) == (expected, type(expected))


def test_longer_values_become_the_type_of_their_field() -> None:
    assert field(UUID).coerce(str(REFERENCE), text=False, longest=36) == REFERENCE
    assert field(str, "id").coerce(ID.lower(), text=False, longest=36) == ID


@pytest.mark.parametrize(
    "annotation, value",
    [
        (str, 5),
        (str, "x" * 31),
        (str, "a\0"),
        (str, "\ud800"),
        (str, ["a"]),
        (int, "7"),
        (int, 7.5),
        (int, True),
        (int, INT64[1] + 1),
        (int, INT64[0] - 1),
        (int, 10**300),
        (float, "1"),
        (float, 10**400),
        (float, float("inf")),
        (float, float("nan")),
        (float, False),
        (Decimal, "x"),
        (Decimal, "NaN"),
        (Decimal, "Infinity"),
        (Decimal, True),
        (bool, "true"),
        (bool, 1),
        (datetime, 5),
        (datetime, "yesterday"),
        (datetime, "2025-02-30"),
        (datetime, "0001-01-01T00:00+23:00"),
        (datetime, "9999-12-31T23:00-02:00"),
        (date, "2025-02-30"),
        (date, "2025-01-31T00:00:00"),
        (time, "25:00:00"),
        (time, "12:00:00Z"),
        (time, "12:00:00+02:00"),
        (UUID, "123"),
        (Color, "RED"),
        (Color, 1),
        (Level, "1"),
        (Level, 3),
        (Literal["a"], "b"),
        (int, {}),
        (int, None),
    ],
)
def test_a_json_value_of_another_type_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(WrongValue):
        coerced(annotation, value, text=False)


@pytest.mark.parametrize(
    "annotation, text, expected",
    [
        (str, "7", "7"),
        (int, "7", 7),
        (int, "-7", -7),
        (float, "7", 7.0),
        (float, "1e3", 1000.0),
        (Decimal, "1.50", Decimal("1.50")),
        (bool, "true", True),
        (bool, "false", False),
        (datetime, "2025-01-31T12:00:00Z", EARLY),
        (datetime, "2025-01-31", EARLY.replace(hour=0)),
        (date, "2025-01-31", date(2025, 1, 31)),
        (Level, "2", 2),
        (Color, "red", "red"),
        (Literal[1, 2], "2", 2),
    ],
)
def test_text_is_read_as_the_type_of_its_field(annotation: Any, text: str, expected: Any) -> None:
    found = coerced(annotation, text, text=True)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "annotation, text",
    [
        (int, "7.5"),
        (int, ""),
        (int, " 7"),
        (int, "9223372036854775808"),
        (float, "nan"),
        (float, "inf"),
        (float, "-Infinity"),
        (float, "1e999"),
        (Decimal, "nan"),
        (bool, "yes"),
        (datetime, "5"),
        (datetime, "1735689600"),
        (datetime, "1735689600.5"),
        (datetime, "-1"),
        (date, "5"),
        (time, "5"),
        (Color, "pink"),
        (Level, "3"),
        (list[int], "1"),
    ],
)
def test_text_that_is_no_such_value_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(WrongValue):
        coerced(annotation, text, text=True)


@pytest.mark.parametrize(
    "text, is_comparable",
    [
        ("999999999999999", True),
        ("0.000000000000001", True),
        ("1.500000000000000000000000000", True),
        ("1e14", True),
        ("0e-400", True),
        ("1000000000000000", False),
        ("1234567890.1234567", False),
        ("1e400", False),
        ("1e-400", False),
        ("1e-16", False),
        ("1e999999", False),
    ],
)
def test_a_decimal_has_as_many_digits_as_both_databases_compare_exactly(text: str, is_comparable: bool) -> None:
    made = field(Decimal)
    if is_comparable:
        assert made.coerce(text, text=False, longest=50) == Decimal(text)
    else:
        with pytest.raises(WrongValue, match="15 digits"):
            made.coerce(text, text=False, longest=50)


@pytest.mark.parametrize("name, field", ITEMS.fields.items())
def test_a_refusal_says_what_would_be_right(name: str, field: Field) -> None:
    with pytest.raises(WrongValue, match="must be") as caught:
        field.coerce(object(), text=False, longest=10)
    assert field.expected in str(caught.value)
    assert (caught.value.allowed is not None) == (name == "color")


def test_a_whole_number_has_the_range_of_its_column() -> None:
    narrow = msgspec.structs.replace(field(int), minimum=-32768, maximum=32767)
    assert narrow.coerce(32767, text=False, longest=10) == 32767
    for value in (32768, -32769):
        with pytest.raises(WrongValue, match="a whole number from -32768 to 32767"):
            narrow.coerce(value, text=False, longest=10)


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones))
def test_an_aware_moment_stays_the_same_moment_in_utc_or_is_refused(moment: datetime) -> None:
    try:
        found = to_utc(moment)
    except WrongValue:
        assert moment.year in {1, 9999}
    else:
        assert found == moment
        assert found.tzinfo is UTC


@given(st.text(st.characters()))
def test_text_is_storable_when_it_is_short_and_utf8_and_free_of_nul(text: str) -> None:
    is_fine = len(text) <= 10 and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    if is_fine:
        storable_text(text, 10)
    else:
        with pytest.raises(WrongValue):
            storable_text(text, 10)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30)


@pytest.mark.parametrize("name", ITEMS.fields)
@given(value=scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(), scalars, max_size=2), text=...)
def test_any_value_is_either_comparable_or_refused(name: str, value: Any, text: bool) -> None:
    made = ITEMS.fields[name]
    if text and not isinstance(value, str):
        return
    with contextlib.suppress(WrongValue):
        assert made.coerce(value, text=text, longest=20) is not None or made.nullable
