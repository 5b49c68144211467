"""Parsing: the parameters of a list and the body of `$query` become one query, or name every error."""

import contextlib
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import InvalidBody, InvalidPage, InvalidQuery
from domain.query import (
    BY_ID,
    AllOf,
    Comparison,
    Count,
    Keyset,
    Operator,
    Paged,
    QueryLimits,
    QueryOptions,
    Resource,
    Sort,
    Whole,
    parse_body,
    parse_parameters,
)
from domain.query.cursor import encode_cursor
from domain.query.parse import PARAMETERS, parse_fields, unknown_parameters
from tests.domain.query.queries import ID, KEY, LISTS, comparisons, filters, parameter_text
from tests.sample import ITEMS, Item

ID_ONLY = (Sort("id"),)


def parsed(text: str, resource: Resource[Any] = ITEMS) -> QueryOptions:
    """What a query string asks for."""
    return parse_parameters(resource, parse_qsl(text, keep_blank_values=True), key=KEY)


def errors(text: str, resource: Resource[Any] = ITEMS) -> list[tuple[str, str | None, str]]:
    with pytest.raises((InvalidQuery, InvalidPage)) as caught:
        parsed(text, resource)
    assert caught.value.errors[0].msg in caught.value.detail
    return [(error.type, error.pointer, error.msg) for error in caught.value.errors]


def body_errors(body: Any, resource: Resource[Any] = ITEMS) -> list[tuple[str, str | None]]:
    with pytest.raises(InvalidBody) as caught:
        parse_body(resource, body, key=KEY)
    return [(error.type, error.pointer) for error in caught.value.errors]


# The parts of a query


def test_no_parameters_mean_all_by_id() -> None:
    assert parsed("") == BY_ID
    assert parse_body(ITEMS, {}, key=KEY) == BY_ID


@pytest.mark.parametrize(
    "text, expected",
    [
        ("name", (Sort("name"), Sort("id"))),
        ("-name", (Sort("name", is_descending=True), Sort("id"))),
        ("%2Bname", (Sort("name"), Sort("id"))),
        ("+name", (Sort("name"), Sort("id"))),
        ("-size,+name", (Sort("size", is_descending=True), Sort("name"), Sort("id"))),
        ("-size,%20name", (Sort("size", is_descending=True), Sort("name"), Sort("id"))),
        ("-id", (Sort("id", is_descending=True),)),
        ("id,name", (Sort("id"), Sort("name"))),
        ("-created_at,-id", (Sort("created_at", is_descending=True), Sort("id", is_descending=True))),
    ],
)
def test_an_order_always_ends_in_something_unique(text: str, expected: tuple[Sort, ...]) -> None:
    assert parsed(f"sort={text}").sort == expected


@pytest.mark.parametrize(
    "text, kind, message",
    [
        ("nam", "unknown_field", 'did you mean "name"?'),
        ("", "unknown_field", 'cannot use ""'),
        ("name,,size", "unknown_field", 'cannot use ""'),
        ("--name", "unknown_field", 'cannot use "--name"'),
        ("meta", "unknown_field", 'cannot use "meta"'),
        ("name,-name", "repeated", 'names "name" twice'),
        ("name desc", "unknown_field", "cannot use"),
        ("name,size,big,ratio,price,day,clock,seen_at,note", "too_many", "has 9 keys; at most 8"),
    ],
)
def test_an_order_by_anything_else_is_refused(text: str, kind: str, message: str) -> None:
    [(found, pointer, said)] = errors(f"sort={text}")
    assert (found, pointer) == (kind, "/sort")
    assert message in said


def test_fields_are_named_once_in_the_order_given() -> None:
    assert parsed("fields=name,id,name").fields == ("name", "id")
    assert parsed("").fields is None
    assert parse_fields(ITEMS, "size, name") == ("size", "name")
    assert parse_body(ITEMS, {"fields": ["name", "id"]}, key=KEY).fields == ("name", "id")


def test_an_unknown_field_is_refused_with_those_that_can_be_read() -> None:
    hidden = Resource(Item, "items", hidden={"note"})
    with pytest.raises(InvalidQuery) as caught:
        parse_fields(hidden, "note,siz")
    assert [error.type for error in caught.value.errors] == ["unknown_field", "unknown_field"]
    assert caught.value.errors[1].allowed == hidden.readable
    assert errors("fields=", hidden)[0][0] == "unknown_field"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ada", ("ada",)),
        ("ada lovelace", ("ada", "lovelace")),
        ('"ada lovelace" x', ("ada lovelace", "x")),
        ('say "hello', ("say", '"hello')),
        ('""', ('""',)),
        ("  a  ", ("a",)),
        ("%", ("%",)),
        ("größe\u3000b", ("größe", "b")),
    ],
)
def test_a_search_is_words_and_phrases(text: str, expected: tuple[str, ...]) -> None:
    assert parse_body(ITEMS, {"search": text}, key=KEY).search == expected


@pytest.mark.parametrize(
    "value, kind",
    [
        ("", "wrong_value"),
        ("  ", "wrong_value"),
        ("a" * 257, "wrong_value"),
        ("a\0b", "wrong_value"),
        ("a b c d e f g h i", "too_many"),
    ],
)
def test_a_search_has_some_words_but_not_too_many(value: str, kind: str) -> None:
    assert body_errors({"search": value}) == [(kind, "/search")]
    with pytest.raises(InvalidQuery):
        parse_parameters(ITEMS, [("search", value)], key=KEY)


def test_only_text_can_be_searched() -> None:
    assert body_errors({"search": 5}) == [("wrong_value", "/search")]
    assert errors("search=a", Resource(Item, "items", searchable=())) == [
        ("unknown_parameter", "/search", "items has no searchable fields")
    ]


@pytest.mark.parametrize(
    "text, window, count",
    [
        ("page=2&size=20", Paged(2, 20), Count.EXACT),
        ("page=1&size=100&count=none", Paged(1, 100), Count.NONE),
        ("page=1&size=1&count=capped", Paged(1, 1), Count.CAPPED),
        ("page=3", Whole(), Count.NONE),
        ("size=3", Whole(), Count.NONE),
        ("limit=10", Keyset(10), Count.NONE),
        ("limit=500&count=exact", Keyset(500), Count.EXACT),
        ("count=exact", Whole(), Count.EXACT),
    ],
)
def test_a_window_is_a_page_or_a_cursor_or_the_whole(text: str, window: Any, count: Count) -> None:
    query = parsed(text)
    assert (query.window, query.count) == (window, count)
    body = {name: int(value) if value.isdigit() else value for name, value in parse_qsl(text)}
    assert parse_body(ITEMS, body, key=KEY) == query


@pytest.mark.parametrize(
    "text, expected",
    [
        ("page=0&size=5", ["/page"]),
        ("page=1&size=101", ["/size"]),
        ("page=x&size=", ["/page", "/size"]),
        ("page=2147483648&size=5", ["/page"]),
        ("page=-1", ["/page"]),
        ("page=1.0&size=1e1", ["/page", "/size"]),
        ("page=٣&size=5", ["/page"]),
        ("page=" + "9" * 5000 + "&size=5", ["/page"]),
    ],
)
def test_a_page_out_of_range_is_an_invalid_page(text: str, expected: list[str]) -> None:
    with pytest.raises(InvalidPage) as caught:
        parsed(text)
    assert [error.pointer for error in caught.value.errors] == expected


def test_an_invalid_page_beside_another_error_is_an_invalid_query() -> None:
    with pytest.raises(InvalidQuery):
        parsed("page=0&size=5&sort=x")


@pytest.mark.parametrize(
    "text, kind, pointer",
    [
        ("limit=0", "out_of_range", "/limit"),
        ("limit=501", "out_of_range", "/limit"),
        ("limit=10&page=1", "conflict", "/page"),
        ("cursor=x&size=1", "conflict", "/page"),
        ("cursor=x", "cursor_invalid", "/cursor"),
        ("cursor=", "cursor_invalid", "/cursor"),
        ("count=some", "wrong_value", "/count"),
        ("sort=name&sort=size", "repeated", "/sort"),
        ("filter={}&filter={}", "repeated", "/filter"),
        ("name=a&name=b", "repeated", "/name"),
        ("filter={", "json_invalid", "/filter"),
        ("filter=", "json_invalid", "/filter"),
        ("nam=a", "unknown_parameter", "/nam"),
        ("nam[eq]=a", "unknown_parameter", "/nam[eq]"),
        ("name[eq=a", "unknown_parameter", "/name[eq"),
        ("name[like]=a", "unknown_operator", "/name[like]"),
        ("big=x", "wrong_value", "/big"),
        ("note[null]=yes", "wrong_value", "/note[null]"),
        ("=a", "unknown_parameter", "/"),
    ],
)
def test_a_wrong_parameter_is_named(text: str, kind: str, pointer: str) -> None:
    found = errors(text)
    assert {(found_kind, place) for found_kind, place, _ in found} == {(kind, pointer)}


def test_every_error_of_a_query_is_found_at_once() -> None:
    found = errors("sort=x&fields=y&search=&limit=0&count=z&nam=1&filter={%22size%22:%22x%22}")
    assert [kind for kind, _, _ in found] == [
        "unknown_parameter",
        "wrong_value",
        "unknown_field",
        "unknown_field",
        "wrong_value",
        "out_of_range",
        "wrong_value",
    ]


def test_the_sentence_says_where_in_the_filter_it_breaks() -> None:
    with pytest.raises(InvalidQuery, match=r"\(character 11\) \(and 1 more\)"):
        parsed('filter={"size": 1,"nam": 2, "colr": 3}')


def test_many_memberships_are_bounded_like_any_other_filter() -> None:
    resource = Resource(Item, "items", limits=QueryLimits(nodes=3))
    assert isinstance(parsed("labels=a&labels=b&labels[has]=c", resource).filter, AllOf)
    assert errors("labels=a&labels=b&labels=c&labels=d", resource)[0][0] == "too_many_nodes"


def test_names_an_operation_does_not_have_are_refused() -> None:
    error = unknown_parameters(["a", "b"], ("fields",))
    assert [found.msg for found in error.errors] == [
        'unknown parameter "a"; allowed: fields',
        'unknown parameter "b"; allowed: fields',
    ]
    assert "this operation takes none" in unknown_parameters(["a"], ()).detail


# The body of $query


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_a_query_body_is_an_object(body: Any) -> None:
    assert body_errors(body) == [("type", "")]


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"filtr": {}}, [("unknown_parameter", "/filtr")]),
        ({"filter": []}, [("filter_object", "/filter")]),
        ({"filter": {"a/b": 1}}, [("unknown_field", "/filter/a~1b")]),
        ({"sort": 5}, [("type", "/sort")]),
        ({"sort": [5]}, [("type", "/sort")]),
        ({"fields": {"a": 1}}, [("type", "/fields")]),
        ({"page": "1", "size": True}, [("out_of_range", "/page"), ("out_of_range", "/size")]),
        ({"limit": 1.5}, [("out_of_range", "/limit")]),
        ({"cursor": 5}, [("cursor_invalid", "/cursor")]),
        ({"count": []}, [("wrong_value", "/count")]),
    ],
)
def test_a_wrong_member_of_a_query_body_is_named(body: Any, expected: list[tuple[str, str]]) -> None:
    assert body_errors(body) == expected


def test_nulls_in_a_query_body_are_absent() -> None:
    assert parse_body(ITEMS, dict.fromkeys(PARAMETERS), key=KEY) == BY_ID


def test_a_body_takes_longer_lists_than_a_url() -> None:
    values = list(range(5000))
    query = parse_body(ITEMS, {"filter": {"size": {"in": values}}}, key=KEY)
    assert query.filter == Comparison("size", Operator.IN, tuple(values))
    assert body_errors({"filter": {"size": {"in": [*values, 1]}}}) == [("wrong_value", "/filter/size/in")]


# Cursors


def test_a_cursor_continues_its_query_and_no_other() -> None:
    query = parsed("limit=2&sort=-size&name=a")
    cursor = encode_cursor(ITEMS, query, (5, ID), KEY)
    assert parsed(f"limit=7&sort=-size&name=a&cursor={cursor}").window == Keyset(7, (5, ID))
    assert parsed(f"sort=-size&name=a&cursor={cursor}").window == Keyset(50, (5, ID))
    body = {"sort": "-size", "filter": {"name": "a"}, "cursor": cursor}
    assert parse_body(ITEMS, body, key=KEY).window == Keyset(50, (5, ID))
    for other in (f"sort=size&name=a&cursor={cursor}", f"sort=-size&cursor={cursor}", f"cursor={cursor}&search=a"):
        assert [kind for kind, _, _ in errors(other)] == ["cursor_mismatch"]


# Properties


@given(comparisons())
def test_three_spellings_of_a_comparison_mean_the_same(it: tuple[str, str, Any]) -> None:
    name, operator, value = it
    # A list in a parameter is split at its commas, and what is left of an empty one is one empty text.
    assume(Operator(operator) not in LISTS or not any("," in str(item) for item in value))
    assume(name not in PARAMETERS)
    by_body = parse_body(ITEMS, {"filter": {name: {operator: value}}}, key=KEY)
    by_json = parse_parameters(ITEMS, [("filter", json.dumps({name: {operator: value}}))], key=KEY)
    by_brackets = parse_parameters(ITEMS, [(f"{name}[{operator}]", parameter_text(value))], key=KEY)
    assert by_body == by_json == by_brackets
    if operator in {"eq", "has"}:
        assert by_body == parse_body(ITEMS, {"filter": {name: value}}, key=KEY)
        assert by_body == parse_parameters(ITEMS, [(name, parameter_text(value))], key=KEY)


@given(st.lists(comparisons(), min_size=2, max_size=3, unique_by=lambda it: (it[0], it[1])))
def test_several_parameters_are_joined_by_and(given: list[tuple[str, str, Any]]) -> None:
    for _, operator, value in given:
        assume(Operator(operator) not in LISTS or not any("," in str(item) for item in value))
    pairs = [(f"{name}[{operator}]", parameter_text(value)) for name, operator, value in given]
    by_json = parse_body(ITEMS, {"filter": {"and": [{name: {operator: v}} for name, operator, v in given]}}, key=KEY)
    assert parse_parameters(ITEMS, pairs, key=KEY) == by_json


@given(filters)
def test_a_filter_means_the_same_in_the_url_and_in_a_body(value: Any) -> None:
    for ascii_only in (True, False):
        with contextlib.suppress(InvalidQuery):
            by_json = parse_parameters(ITEMS, [("filter", json.dumps(value, ensure_ascii=ascii_only))], key=KEY)
            assert by_json == parse_body(ITEMS, {"filter": value}, key=KEY)


any_text = st.text(st.characters(), max_size=30)
names = st.sampled_from([*PARAMETERS, *ITEMS.fields]) | any_text
bracketed = st.tuples(st.sampled_from(list(ITEMS.fields)), st.sampled_from(list(Operator)) | any_text).map(
    lambda it: f"{it[0]}[{it[1]}]"
)
texts = (
    any_text | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "null", "a,b", "-name", "{}"])
)


@given(st.lists(st.tuples(names | bracketed, texts), max_size=5))
def test_any_parameters_are_a_query_or_invalid(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(InvalidQuery, InvalidPage):
        parse_parameters(ITEMS, pairs, key=KEY)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.sampled_from(["and", "or", "not", *Operator]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(json_values | st.dictionaries(st.sampled_from(PARAMETERS), json_values | filters, max_size=4))
def test_any_body_is_a_query_or_invalid(body: Any) -> None:
    with contextlib.suppress(InvalidBody):
        parse_body(ITEMS, body, key=KEY)
    with contextlib.suppress(InvalidQuery):
        parse_parameters(ITEMS, [("filter", json.dumps(body))], key=KEY)
