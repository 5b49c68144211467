"""Validation finds every invalid field at once and says where each stands."""

import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from domain.validation import invalid_fields, problem, rejected


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Part(msgspec.Struct, forbid_unknown_fields=True):
    width: Annotated[int, Meta(ge=1)]
    unit: str = "cm"


class Loose(msgspec.Struct):
    name: str


class Thing(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=2)]
    size: Size = Size.SMALL
    mode: Literal["on", "off"] | None = None
    part: Part | None = None
    parts: list[Part] = []
    numbers: list[int] = []
    loose: Loose | UnsetType = UNSET
    price: Decimal | None = None
    either: int | str = 0
    anything: Any = None
    counts: dict[str, int] = {}
    named: dict[Annotated[str, Meta(pattern="^[a-z]$", description="one letter")], Part] = {}
    listed: list[str] | dict[str, int] = []


def found(value: Any) -> list[tuple[str, str | None]]:
    return [(error.type, error.pointer) for error in invalid_fields(value, Thing)]


@pytest.mark.parametrize(
    "value, expected",
    [
        ({"name": "ab"}, []),
        ({"name": "ab", "part": None, "mode": "on", "either": "x", "anything": [1], "price": "1.5"}, []),
        ({}, [("missing", "/name")]),
        ([], [("value_error", "")]),
        ("x", [("value_error", "")]),
        ({"name": "a"}, [("value_error", "/name")]),
        ({"name": None, "size": "huge"}, [("value_error", "/name"), ("value_error", "/size")]),
        ({"name": "ab", "mode": "x"}, [("value_error", "/mode")]),
        ({"name": "ab", "part": 5}, [("value_error", "/part")]),
        ({"name": "ab", "part": {}}, [("missing", "/part/width")]),
        (
            {"name": "ab", "part": {"width": 0, "unit": 5, "x": 1}},
            [("value_error", "/part/width"), ("value_error", "/part/unit"), ("unknown_field", "/part/x")],
        ),
        (
            {"name": "ab", "parts": [{"width": 1}, {"width": "1"}, 7, {}]},
            [("value_error", "/parts/1/width"), ("value_error", "/parts/2"), ("missing", "/parts/3/width")],
        ),
        ({"name": "ab", "parts": {}}, [("value_error", "/parts")]),
        ({"name": "ab", "numbers": ["a", 1, None]}, [("value_error", "/numbers/0"), ("value_error", "/numbers/2")]),
        ({"name": "ab", "loose": {"name": 5, "more": 1}}, [("value_error", "/loose/name")]),
        ({"name": "ab", "either": []}, [("value_error", "/either")]),
        ({"name": "ab", "price": "x"}, [("value_error", "/price")]),
        ({"name": "ab", "counts": {"a": "b", "c": 1}}, [("value_error", "/counts/a")]),
        (
            {"name": "ab", "named": {"a b": {}, "c": {"width": 0}}},
            [("value_error", "/named/a b"), ("missing", "/named/a b/width"), ("value_error", "/named/c/width")],
        ),
        ({"name": "ab", "named": {"a b": {"width": 1}}}, [("value_error", "/named/a b")]),
        ({"name": "ab", "listed": [5, "a"]}, [("value_error", "/listed/0")]),
        ({"name": "ab", "listed": {"a": "b", "c": 1}}, [("value_error", "/listed/a")]),
        ({"name": "ab", "listed": 5}, [("value_error", "/listed")]),
        ({"name": "ab", "a/b~c": 1}, [("unknown_field", "/a~1b~0c")]),
        (
            {"nam": "ab", "size": 5, "mode": 1},
            [("missing", "/name"), ("value_error", "/size"), ("value_error", "/mode"), ("unknown_field", "/nam")],
        ),
    ],
)
def test_every_invalid_field_is_found_at_once(value: Any, expected: list[tuple[str, str | None]]) -> None:
    assert found(value) == expected


def test_an_error_says_what_was_given_and_what_would_be_right() -> None:
    [size, mode, unknown] = invalid_fields({"name": "ab", "size": "huge", "mode": "x", "nam": [1]}, Thing)
    assert (size.loc, size.input, size.allowed) == (("body", "size"), "huge", ("small", "large"))
    assert mode.allowed == ("on", "off")
    assert "at `$" not in size.msg
    assert unknown.msg == 'unknown field "nam"'
    assert unknown.input == "[1]"
    assert unknown.allowed is not None
    assert "name" in unknown.allowed


def test_an_error_in_a_list_names_the_index() -> None:
    [error] = invalid_fields({"name": "ab", "parts": [{"width": 1}, {"width": 0}]}, Thing)
    assert error.loc == ("body", "parts", 1, "width")


def test_at_most_a_hundred_errors_are_named() -> None:
    assert len(invalid_fields({"name": "ab", "numbers": ["x"] * 5000}, Thing)) == 100
    assert len(invalid_fields({"name": "ab"} | {str(number): 1 for number in range(500)}, Thing)) == 100


@pytest.mark.parametrize(
    "path, expected",
    [((), ""), (("a",), "/a"), (("a", 0, "b"), "/a/0/b"), (("~", "/", ""), "/~0/~1/"), (("~1",), "/~01")],
)
def test_a_path_is_written_as_json_pointer(path: tuple[str | int, ...], expected: str) -> None:
    assert problem("t", "m", path, None).pointer == expected


def test_the_sentence_names_the_first_error_and_how_many_follow() -> None:
    assert rejected(invalid_fields([], Thing)).detail == "Request validation failed: Expected `object`, got `array`"
    error = rejected(invalid_fields({"x": 1}, Thing))
    assert error.detail == 'Request validation failed: "name" is required at /name (and 1 more)'
    assert len(error.errors) == 2


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(Thing.__struct_fields__) | st.text(), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(values)
def test_errors_are_found_exactly_when_the_decoder_refuses(value: Any) -> None:
    try:
        msgspec.convert(value, Thing)
    except (msgspec.ValidationError, OverflowError):
        assert invalid_fields(value, Thing)
    else:
        assert invalid_fields(value, Thing) == []
