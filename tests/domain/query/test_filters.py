"""Filters: what becomes a tree, and every error with its place and what would be right."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entity import Entity
from domain.errors import FieldError, InvalidQuery
from domain.query import AllOf, AnyOf, Comparison, Negation, Operator, QueryLimits, Resource
from domain.query.filters import BadJson, FilterReader, Problems, decode_json
from domain.query.parse import parse_parameters
from tests.domain.query.queries import KEY, filters
from tests.sample import ITEMS, Item

EQ, NULL, IN = Operator.EQ, Operator.NULL, Operator.IN
NAME = Comparison("name", EQ, "a")
SIZE = Comparison("size", EQ, 1)


def read(value: Any, resource: Resource[Any] = ITEMS) -> tuple[Any, list[FieldError]]:
    problems = Problems()
    text = json.dumps(value)
    return FilterReader(resource, problems, origin=("query", "filter"), source=text).read(value), problems.errors


@pytest.mark.parametrize(
    "value, expected",
    [
        ({}, AllOf(())),
        ({"name": "a"}, NAME),
        ({"name": {"eq": "a"}}, NAME),
        ({"name": "a", "size": 1}, AllOf((NAME, SIZE))),
        (
            {"size": {"gt": 1, "lte": 5}},
            AllOf((Comparison("size", Operator.GT, 1), Comparison("size", Operator.LTE, 5))),
        ),
        ({"note": None}, Comparison("note", NULL, True)),
        ({"note": {"eq": None}}, Comparison("note", NULL, True)),
        ({"note": {"ne": None}}, Comparison("note", NULL, False)),
        ({"note": {"null": False}}, Comparison("note", NULL, False)),
        ({"meta": {"null": True}}, Comparison("meta", NULL, True)),
        ({"name": {"in": ["a", "b"]}}, Comparison("name", IN, ("a", "b"))),
        ({"size": {"between": [1, 5]}}, Comparison("size", Operator.BETWEEN, (1, 5))),
        ({"labels": "x"}, Comparison("labels", Operator.HAS, "x")),
        ({"numbers": {"has": 3}}, Comparison("numbers", Operator.HAS, 3)),
        ({"and": [{"name": "a"}, {"size": 1}]}, AllOf((NAME, SIZE))),
        ({"or": [{"name": "a"}, {"size": 1}]}, AnyOf((NAME, SIZE))),
        ({"or": [{"name": "a"}]}, AnyOf((NAME,))),
        ({"not": {"name": "a"}}, Negation(NAME)),
        ({"not": {}}, Negation(AllOf(()))),
        ({"name": "a", "or": [{"size": 1}, {}]}, AllOf((NAME, AnyOf((SIZE, AllOf(())))))),
    ],
)
def test_a_filter_becomes_a_tree(value: Any, expected: Any) -> None:
    assert read(value) == (expected, [])


@pytest.mark.parametrize(
    "value, kind, pointer, message",
    [
        ([], "filter_object", "/filter", "must be a JSON object"),
        (5, "filter_object", "/filter", "must be a JSON object"),
        ({"and": {}}, "filter_list", "/filter/and", '"and" takes a non-empty list'),
        ({"or": []}, "filter_list", "/filter/or", '"or" takes a non-empty list'),
        ({"or": [5]}, "filter_object", "/filter/or/0", "must be a JSON object"),
        ({"not": []}, "filter_object", "/filter/not", "must be a JSON object"),
        ({"nam": 1}, "unknown_field", "/filter/nam", '"nam" cannot be filtered; did you mean "name"?'),
        ({"xyz": 1}, "unknown_field", "/filter/xyz", '"xyz" cannot be filtered'),
        ({"name": ["a"]}, "bare_list", "/filter/name", 'for several write {"name": {"in": [...]}}'),
        ({"name": {}}, "no_operator", "/filter/name", "names no operator"),
        ({"name": {"like": "a"}}, "unknown_operator", "/filter/name/like", 'has no operator "like"'),
        ({"name": {"contain": "a"}}, "unknown_operator", "/filter/name/contain", 'did you mean "contains"?'),
        ({"size": {"contains": "a"}}, "unknown_operator", "/filter/size/contains", '"size" (integer)'),
        ({"size": "1"}, "wrong_value", "/filter/size", "must be a whole number"),
        ({"size": {"gt": None}}, "wrong_value", "/filter/size/gt", 'cannot be compared with null by "gt"'),
        ({"size": {"in": []}}, "wrong_value", "/filter/size/in", "non-empty list"),
        ({"size": {"in": 5}}, "wrong_value", "/filter/size/in", "non-empty list"),
        ({"size": {"in": [1, None]}}, "wrong_value", "/filter/size/in", "must be a whole number"),
        ({"size": {"between": [1]}}, "wrong_value", "/filter/size/between", "two values"),
        ({"size": {"between": 1}}, "wrong_value", "/filter/size/between", "two values"),
        ({"note": {"null": "true"}}, "wrong_value", "/filter/note/null", "takes true or false"),
        ({"color": "pink"}, "wrong_value", "/filter/color", "one of red, green, blue"),
        ({"labels": {"has": None}}, "wrong_value", "/filter/labels/has", "cannot be compared with null"),
        ({"a/b~": 1}, "unknown_field", "/filter/a~1b~0", "cannot be filtered"),
    ],
)
def test_an_error_says_where_it_is_and_what_is_wrong(value: Any, kind: str, pointer: str, message: str) -> None:
    _, [error] = read(value)
    assert (error.type, error.pointer) == (kind, pointer)
    assert message in error.msg
    assert error.position is not None


def test_an_error_names_what_is_allowed() -> None:
    _, errors = read({"nam": 1, "size": {"like": 1}, "color": "pink", "name": {}, "note": {"null": 1}})
    assert [error.allowed for error in errors] == [
        ITEMS.filterable,
        ITEMS.fields["size"].operators,
        ("red", "green", "blue"),
        ITEMS.fields["name"].operators,
        (True, False),
    ]


def test_a_hidden_field_answers_like_an_unknown_one() -> None:
    class Account(Entity, kw_only=True):
        name: str
        password: str = ""

    accounts = Resource(Account, "accounts", hidden={"password"})
    _, [hidden] = read({"password": "a"}, accounts)
    _, [unknown] = read({"passphrase": "a"}, accounts)
    assert hidden.msg.replace("password", "") == unknown.msg.replace("passphrase", "")
    assert hidden.allowed == unknown.allowed
    assert hidden.allowed is not None
    assert "password" not in hidden.allowed


def test_every_error_of_a_filter_is_found_at_once() -> None:
    value = {"size": "x", "or": [{"nam": 1}, {"not": {"name": {"like": 1, "eq": 5}}}], "note": ["a"]}
    _, errors = read(value)
    assert [error.pointer for error in errors] == [
        "/filter/size",
        "/filter/or/0/nam",
        "/filter/or/1/not/name/like",
        "/filter/or/1/not/name/eq",
        "/filter/note",
    ]


def small(**limits: int) -> Resource[Item]:
    return Resource(Item, "items", limits=QueryLimits(**limits))


def nested(levels: int) -> Any:
    value: Any = {"size": 1}
    for _ in range(levels - 1):
        value = {"not": value}
    return value


@pytest.mark.parametrize(
    "limits, fits, exceeds, message",
    [
        ({"depth": 3}, nested(3), nested(4), "nests more than 3 levels"),
        ({"depth": 2}, {"or": [{"size": 1}]}, {"or": [{"and": [{}]}]}, "nests more than 2 levels"),
        ({"nodes": 3}, {"or": [{"size": 1}] * 3}, {"or": [{"size": 1}] * 4}, "has more than 3 comparisons"),
        ({"nodes": 1}, {"size": {"gt": 1}}, {"size": {"gt": 1, "lt": 5}}, "has more than 1 comparisons"),
        ({"choices": 2}, {"size": {"in": [1, 2]}}, {"size": {"in": [1, 2, 3]}}, "has 3 values; at most 2"),
        ({"choices": 2}, {"size": {"nin": [1, 2]}}, {"size": {"nin": [1, 2, 3]}}, "has 3 values; at most 2"),
        ({"text_length": 3}, {"name": "é" * 3}, {"name": "é" * 4}, "longer than 3 characters"),
        ({"text_length": 3}, {"name": {"in": ["abc"]}}, {"name": {"in": ["abcd"]}}, "longer than 3 characters"),
        ({"text_length": 3}, {"labels": {"has": "abc"}}, {"labels": {"has": "abcd"}}, "longer than 3 characters"),
    ],
)
def test_beyond_a_limit_a_filter_is_refused_with_the_limit(
    limits: dict[str, int], fits: Any, exceeds: Any, message: str
) -> None:
    resource = small(**limits)
    assert read(fits, resource)[1] == []
    _, [error] = read(exceeds, resource)
    assert message in error.msg


def test_all_lists_together_have_no_more_values_than_a_statement_takes() -> None:
    resource = small(choices=20_000)
    assert read({"size": {"in": [1] * 20_000}}, resource)[1] == []
    _, [error] = read({"size": {"in": [1] * 20_000}, "big": {"nin": [1] * 20_000}}, resource)
    assert (error.type, error.pointer) == ("too_many_values", "/filter")


def test_a_filter_in_the_url_is_bounded_in_bytes() -> None:
    text = '{"name":"éé"}'
    parse_parameters(small(filter_bytes=15), [("filter", text)], key=KEY)
    with pytest.raises(InvalidQuery, match=r"longer than 14 bytes; send it as the body of POST /api/v1/items/\$query"):
        parse_parameters(small(filter_bytes=14), [("filter", text)], key=KEY)


@pytest.mark.parametrize(
    "text, message, at",
    [
        ("", "is not valid JSON", 0),
        ("{", "is not valid JSON", 1),
        ('{"a":1,}', "is not valid JSON", 7),
        ("{'a':1}", "is not valid JSON", 1),
        ('{"a":NaN}', "NaN is not JSON", None),
        ("-Infinity", "-Infinity is not JSON", None),
        ('{"a":1,"a":2}', 'names "a" twice', None),
        ('[{"b":{"a":1,"c":3,"a":2}}]', 'names "a" twice', None),
        ("[" * 65 + "]" * 65, "nests more than 64 levels", 64),
        ("1" * 5000, "too many digits", None),
    ],
)
def test_json_that_is_not_ours_is_refused_with_its_place(text: str, message: str, at: int | None) -> None:
    with pytest.raises(BadJson, match=message.replace('"', ".")) as caught:
        decode_json(text)
    assert caught.value.at == at


@given(st.text() | st.text(alphabet='{}[]":,\\0123456789eE.-+ tfn'))
def test_any_text_is_json_or_bad_json(text: str) -> None:
    with contextlib.suppress(BadJson):
        decode_json(text)


wrong = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", *ITEMS.fields, *Operator]) | st.text(st.characters()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(wrong | filters)
def test_any_value_is_a_filter_or_has_errors(value: Any) -> None:
    spec, errors = read(value)
    assert spec is not None or errors
