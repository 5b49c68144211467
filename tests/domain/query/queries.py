"""Filters that make sense for the sample resource, as a client writes them and as the tree they mean."""

import json
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from domain.query import Field, Kind, Operator
from domain.wire import timestamp_text
from tests.sample import ITEMS

KEY = b"a key for cursors"
ID = "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"
LISTS = {Operator.IN, Operator.NIN, Operator.BETWEEN}

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_numbers = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.ID: st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25).map(lambda end: "0" + end),
    Kind.TEXT: _texts,
    Kind.INTEGER: st.integers(-(2**31), 2**31 - 1),
    Kind.NUMBER: _numbers,
    Kind.DECIMAL: st.decimals("-1e9", "1e9", places=2).map(str),
    Kind.BOOLEAN: st.booleans(),
    Kind.DATETIME: st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)).map(lambda moment: f"{moment.isoformat()}Z"),  # noqa: DTZ001 - the letter is the zone
    Kind.DATE: st.dates().map(str),
    Kind.TIME: st.times().map(str),
    Kind.UUID: st.uuids().map(str),
}


def values(field: Field) -> st.SearchStrategy[Any]:
    """JSON values that a field can be compared with."""
    return st.sampled_from(field.choices) if field.choices else VALUES[field.kind]


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A field, an operator and an operand."""
    field = ITEMS.fields[draw(st.sampled_from(ITEMS.filterable))]
    operator = draw(st.sampled_from(field.operators))
    if operator is Operator.NULL:
        return field.name, operator.value, draw(st.booleans())
    target = values(field.item if field.item is not None else field)
    if operator is Operator.BETWEEN:
        return field.name, operator.value, draw(st.lists(target, min_size=2, max_size=2))
    if operator in LISTS:
        return field.name, operator.value, draw(st.lists(target, min_size=1, max_size=3))
    return field.name, operator.value, draw(target)


filters = st.recursive(
    comparisons().map(lambda it: {it[0]: {it[1]: it[2]}}),
    lambda inner: (
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=6,
)
"""Filter objects that are right and within the limits more often than not."""


def parameter_text(value: Any) -> str:
    """A JSON value as it stands in a parameter."""
    if isinstance(value, list):
        return ",".join(parameter_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def wire(value: Any) -> Any:
    """A typed value as JSON writes it."""
    return timestamp_text(value) if isinstance(value, datetime) else msgspec.to_builtins(value)
