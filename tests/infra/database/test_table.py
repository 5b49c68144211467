"""A Struct and its Table say the same, or every difference is named before anything is served."""

import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta
from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    DoublePrecision,
    Integer,
    Numeric,
    Real,
    SmallInt,
    Text,
    Timestamp,
    Varchar,
)
from piccolo.table import Table

from domain.entity import Entity, parse_id
from domain.errors import Misconfigured
from domain.query import Resource
from infra.database.table import EntityTable, NewId, bounds_of, check_pair
from tests.sample import ITEMS, Item, Items


class Level(enum.StrEnum):
    LOW = "low"
    VERY_HIGH = "very high"


def pair(annotation: Any, column: Any, default: Any = None) -> None:
    """Check an entity and a table of one field beyond those every entity has."""
    entity = type("Thing", (Entity,), {"__annotations__": {"x": annotation}, "x": default, "__module__": __name__})
    table = type("Things", (EntityTable,), {"x": column, "__module__": __name__})
    check_pair(Resource(entity, "things"), table)  # type: ignore[arg-type]


def test_the_sample_agrees_with_its_table() -> None:
    check_pair(ITEMS, Items)


def test_every_disagreement_is_named_at_once() -> None:
    class Thing(Entity, kw_only=True):
        first: str = ""
        second: int = 0
        third: int | None = None

    class Things(EntityTable):
        second = Varchar()
        third = Integer()
        fourth = Text()

    with pytest.raises(Misconfigured) as caught:
        check_pair(Resource(Thing, "things"), Things)
    assert str(caught.value).split("; ") == [
        "Thing.first has no column: add `first` to Things",
        "Things.fourth has no field: add `fourth` to Thing",
        "Thing.second is integer, so Things.second must be Integer or SmallInt or BigInt, not Varchar",
        "Thing.third may be None: add null=True, default=None to Things.third",
    ]


@pytest.mark.parametrize(
    "annotation, column, message",
    [
        (str, Varchar(length=10, null=True), "may not be None: remove null=True from Things.x"),
        (Annotated[str, Meta(max_length=11)], Varchar(length=10), "allows 11 characters and Things.x holds 10"),
        (Annotated[str, Meta(max_length=11)] | None, Varchar(length=10, null=True), "allows 11 characters"),
        (Level, Varchar(length=8), "has the value 'very high', longer than Things.x holds"),
        (Literal["abc"], Varchar(length=2), "has the value 'abc'"),
        (Decimal, Numeric(), "must name its digits, at most 15"),
        (Decimal, Numeric(digits=(16, 2)), "must name its digits, at most 15"),
        (float, Real(), "x is number, so Things.x must be DoublePrecision, not Real"),
        (float, Numeric(digits=(5, 2)), "must be DoublePrecision"),
        (dict[str, int], Text(), "must be JSONB or JSON"),
        (bool, Integer(), "must be Boolean"),
        (list[str], Text(), "must be Array or JSONB or JSON"),
        (list[dict[str, int]], Array(base_column=Text()), "cannot be kept in an Array: make Things.x a JSONB"),
        (list[int], Array(base_column=Text()), "the members of Things.x must be"),
        (list[str], Array(base_column=Varchar(length=5)), "may be longer than the 5 characters that Things.x holds"),
        (list[Level], Array(base_column=Varchar(length=8)), "may be longer than the 8 characters"),
    ],
)
def test_a_column_that_cannot_hold_its_field_is_refused_with_what_to_change(
    annotation: Any, column: Any, message: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        pair(annotation, column)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "annotation, column",
    [
        (str, Text()),
        (Annotated[str, Meta(max_length=10)], Varchar(length=10)),
        (Level, Varchar(length=9)),
        (Literal[1, 2], SmallInt()),
        (Decimal, Numeric(digits=(15, 15))),
        (float, DoublePrecision()),
        (int, BigInt()),
        (Annotated[int, Meta(ge=0, le=100)], SmallInt()),
        (list[str], Array(base_column=Text())),
        (list[Annotated[str, Meta(max_length=5)]], Array(base_column=Varchar(length=5))),
        (list[Level], Array(base_column=Varchar(length=9))),
        (list[int], JSONB()),
        (Any, JSONB()),
        (Any, JSONB(null=True)),
        (bool | None, Boolean(null=True)),
    ],
)
def test_a_column_that_holds_its_field_is_fine(annotation: Any, column: Any) -> None:
    pair(annotation, column, default=[] if "list" in str(annotation) else None)


def test_a_table_must_have_the_columns_of_an_entity() -> None:
    class Plain(Table):
        name = Varchar()

    for table in (Plain, Item, "items"):
        with pytest.raises(Misconfigured, match="must derive from EntityTable"):
            check_pair(ITEMS, table)  # type: ignore[arg-type]


def test_what_a_column_holds_bounds_its_field() -> None:
    class Things(EntityTable):
        small = SmallInt()
        middle = Integer()
        big = BigInt()
        name = Varchar(length=7)
        text = Text()
        price = Numeric(digits=(12, 2))
        any_price = Numeric()
        reference = UUID()
        moment = Timestamp()

    bounds = bounds_of(Things)
    assert bounds["small"] == {"minimum": -32768, "maximum": 32767}
    assert bounds["middle"] == {"minimum": -(2**31), "maximum": 2**31 - 1}
    assert bounds["big"] == {"minimum": -(2**63), "maximum": 2**63 - 1}
    assert bounds["name"] == {"max_length": 7}
    assert bounds["price"] == {"precision": 12, "scale": 2}
    assert not {"text", "any_price", "reference", "moment"} & bounds.keys()


def test_a_new_row_has_an_id_that_no_other_has() -> None:
    one, other = Items(), Items()
    assert parse_id(one.id) == one.id
    assert one.id < other.id
    assert (NewId().postgres, NewId().sqlite) == ("null", "null")
