"""Resources: allowlists, and the words for what is wrong with them."""

from typing import Any

import pytest

from domain.entity import Entity
from domain.errors import Misconfigured
from domain.query import QueryLimits, Resource
from domain.query.resource import suggestion
from tests.sample import ITEMS, Item


class Account(Entity, kw_only=True):
    name: str
    password: str = ""
    level: int = 0
    notes: dict[str, Any] = {}


def test_left_out_allowlists_hold_what_can_be_filtered_sorted_and_searched() -> None:
    assert ITEMS.readable == tuple(ITEMS.fields)
    assert ITEMS.filterable == ITEMS.readable
    assert set(ITEMS.readable) - set(ITEMS.sortable) == {"tags", "labels", "numbers", "meta", "detail"}
    assert ITEMS.searchable == ("name", "note")


def test_given_allowlists_keep_the_order_of_the_entity() -> None:
    made = Resource(
        Account, "accounts", filterable={"name", "id"}, sortable=["level", "id"], searchable=("name",), path="/a/"
    )
    assert made.filterable == ("id", "name")
    assert made.sortable == ("id", "level")
    assert made.searchable == ("name",)
    assert made.path == "/a"


def test_a_hidden_field_is_in_no_default_list() -> None:
    made = Resource(Account, "accounts", hidden={"password", "notes"})
    for names in (made.readable, made.filterable, made.sortable, made.searchable):
        assert not {"password", "notes"} & set(names)
    assert "password" in made.fields


def test_timestamps_are_always_read_only() -> None:
    assert Resource(Account, "accounts").read_only == {"created_at", "updated_at"}
    assert Resource(Account, "accounts", read_only={"level"}).read_only == {"created_at", "updated_at", "level"}


@pytest.mark.parametrize("argument", ["filterable", "sortable", "searchable"])
def test_a_hidden_field_cannot_be_asked_about(argument: str) -> None:
    with pytest.raises(Misconfigured, match=f"'password' is hidden, so it cannot be {argument}"):
        Resource(Account, "accounts", hidden={"password"}, **{argument: {"password"}})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["filterable", "sortable", "searchable", "hidden", "read_only"])
def test_an_unknown_field_is_named_with_the_one_that_was_meant(argument: str) -> None:
    with pytest.raises(Misconfigured, match=rf'{argument} names .nam., which Account .* did you mean "name"\?'):
        Resource(Account, "accounts", **{argument: {"nam"}})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sortable": {"notes"}}, "'notes' is a json and has no order"),
        ({"sortable": {"tags"}}, "'tags' is a list and has no order"),
        ({"searchable": {"level"}}, "'level' is not text"),
        ({"path": "accounts"}, "must start with '/'"),
        ({"name": ""}, "plural noun"),
        ({"name": "user accounts"}, "plural noun"),
        ({"name": "accounts-"}, "plural noun"),
        ({"entity": object}, "derives from Entity"),
        ({"entity": Account(name="a")}, "derives from Entity"),
        ({"read_only": {"name"}}, "'name' is read-only"),
    ],
)
def test_what_cannot_work_is_refused_with_words(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        Resource(**{"entity": Account, "name": "accounts"} | arguments)


def test_a_name_may_have_several_words() -> None:
    assert Resource(Account, "user-accounts").path == "/api/v1/user-accounts"


def test_storage_bounds_make_a_copy() -> None:
    made = Resource(Account, "accounts", limits=QueryLimits(depth=2))
    bounded = made.bounded({"level": {"minimum": 0, "maximum": 9}, "name": {"max_length": 5}})
    assert (bounded.fields["level"].minimum, bounded.fields["level"].maximum) == (0, 9)
    assert bounded.fields["name"].max_length == 5
    assert made.fields["name"].max_length is None
    assert (bounded.name, bounded.limits, bounded.entity) == ("accounts", made.limits, Account)


@pytest.mark.parametrize(
    "name, known, expected",
    [
        ("nam", ["name", "note"], '; did you mean "name"?'),
        ("xyz", ["name", "note"], ""),
        ("name", [], ""),
        ("creatd_at", Item.__struct_fields__, '; did you mean "created_at"?'),
    ],
)
def test_the_nearest_known_name_is_suggested(name: str, known: list[str], expected: str) -> None:
    assert suggestion(name, known) == expected
