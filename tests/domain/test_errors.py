"""Errors: what they repeat to the client, and that each has words of its own."""

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors
from domain.errors import (
    VALUE_LIMIT,
    FieldError,
    Invalid,
    InvalidBody,
    InvalidPage,
    InvalidQuery,
    ServiceError,
    cut,
    field_error,
)

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        ("short", "short"),
        ("x" * VALUE_LIMIT, "x" * VALUE_LIMIT),
        ("x" * (VALUE_LIMIT + 1), "x" * VALUE_LIMIT + "…"),
        (["a", 1], '["a", 1]'),
        ({"a": None}, '{"a": null}'),
        ([0] * 200, "[" + "0, " * 66 + "0…"),
        ([math.inf], "[Infinity]"),
        ([Decimal("1.5")], '["1.5"]'),
        (10**199, 10**199),
        (10**200, "1" + "0" * 199 + "…"),
        ("\ud800", "\\ud800"),
        (["\ud800"], '["\\ud800"]'),
        ({"\udfff": "ä\ud800b"}, '{"\\udfff": "ä\\ud800b"}'),
    ],
)
def test_a_repeated_value_is_short_and_is_text(value: Any, expected: Any) -> None:
    assert cut(value) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.text(st.characters()), st.text(st.characters()))
def test_whatever_is_repeated_can_be_sent_and_is_short(value: Any, name: str, message: str) -> None:
    error = field_error("t", message[:50], ("body", name, 0), value=value)
    assert len(msgspec.json.encode(error)) < VALUE_LIMIT * 40
    assert "\ud800" not in ServiceError("half \ud800").detail


@pytest.mark.parametrize(
    "loc, expected",
    [
        (("body",), ""),
        (("body", "a"), "/a"),
        (("query", "filter", "a/b", 0, "~1"), "/filter/a~1b/0/~01"),
        (("body", "x" * 300), "/" + "x" * VALUE_LIMIT + "…"),
    ],
)
def test_the_place_of_an_error_is_a_json_pointer(loc: tuple[str | int, ...], expected: str) -> None:
    assert field_error("t", "m", loc).pointer == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_carries_its_detail_and_what_it_was_given(kind: type[ServiceError]) -> None:
    field = FieldError(type="t", loc=("body", "a"), msg="m")
    error = kind("words", errors=[field], extensions={"retry_after": 1})
    assert (str(error), error.detail) == ("words", "words")
    assert error.errors == (field,)
    assert error.extensions == {"retry_after": 1}
    assert error.code
    assert error.title


def test_every_wrong_input_is_invalid() -> None:
    assert issubclass(InvalidPage, InvalidBody)
    assert issubclass(InvalidQuery, Invalid)
    assert issubclass(InvalidBody, Invalid)


def test_what_a_field_error_does_not_know_is_left_out() -> None:
    error = FieldError(type="t", loc=("body", "a"), msg="m")
    assert msgspec.to_builtins(error) == {"type": "t", "loc": ("body", "a"), "msg": "m"}
