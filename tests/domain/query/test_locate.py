"""Locating a value in a JSON text agrees with a reader that notes where everything stands."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.query.locate import position, too_deep

Path = tuple[str | int, ...]


def written(value: Any, spaces: Any, path: Path = (), at: int = 0) -> tuple[str, dict[Path, int]]:
    """`value` as JSON with drawn white space, and where each member's key, item or the value itself begins."""
    if isinstance(value, dict | list):
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        text, places = opening + spaces(), {}
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (name, member) in enumerate(pairs):
            if number:
                text += "," + spaces()
            here = at + len(text)
            if isinstance(value, dict):
                text += json.dumps(name, ensure_ascii=len(name) % 2 == 0) + spaces() + ":" + spaces()
            inner, found = written(member, spaces, (*path, name), at + len(text))
            text += inner + spaces()
            places |= {**found, (*path, name): here}
        return text + closing, places
    return json.dumps(value, ensure_ascii=False), {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(values, st.data())
def test_every_value_is_found_where_it_was_written(value: Any, data: st.DataObject) -> None:
    blank = st.text(alphabet=" \t\n\r", max_size=2)
    before = data.draw(blank)
    text, places = written(value, lambda: data.draw(blank), at=len(before))
    assert position(before + text, ()) == len(before)
    for path, at in places.items():
        assert position(before + text, path) == at
        assert position(before + text, (*path, "no such member")) is None


@pytest.mark.parametrize(
    "text, path, expected",
    [
        ('{"a": 1}', ("a",), 1),
        ('{"a": 1, "b": [5, {"c": 2}]}', ("b", 1, "c"), 19),
        ('{"a": 1}', ("b",), None),
        ('{"a": 1}', (0,), None),
        ("[1, 2]", (1,), 4),
        ("[1, 2]", (2,), None),
        ("[1, 2]", ("a",), None),
        ("{}", ("a",), None),
        ("[]", (0,), None),
        ("", ("a",), None),
        ("", (), 0),
        ('{"a" 1}', ("a",), 1),
        ('{"a": x, "b": 1}', ("b",), None),
        ("{a: 1}", ("a",), None),
        ('{"a": {', ("a", "b"), None),
        ("[1", (1,), None),
        ('{"\\u0061": 1}', ("a",), 1),
        ('{"a": 1, "a": 2}', ("a",), 1),
    ],
)
def test_what_is_not_there_has_no_position(text: str, path: Path, expected: int | None) -> None:
    assert position(text, path) == expected


@given(st.text(), st.lists(st.text(max_size=2) | st.integers(0, 3), max_size=3))
def test_any_text_has_a_position_or_none(text: str, path: list[str | int]) -> None:
    found = position(text, tuple(path))
    assert found is None or 0 <= found <= len(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[[[]]]", None),
        ("[[[[]]]]", 3),
        ('{"a":{"b":{"c":{}}}}', 15),
        ("[[],[],[],[]]", None),
        ('["[[[[[["]', None),
        ('["\\"[[[[[["]', None),
        ('["\\\\",[[[', 8),
        ('"[[[[[', None),
        ("]]]][[[", None),
        ("", None),
    ],
)
def test_nesting_is_counted_outside_of_text(text: str, expected: int | None) -> None:
    assert too_deep(text, 3) == expected


@given(values, st.integers(0, 4))
def test_nesting_is_too_deep_when_the_value_is(value: Any, most: int) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert (too_deep(json.dumps(value), most) is None) == (depth(value) <= most)
