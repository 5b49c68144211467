"""Configurations: what clients send comes back equal, whatever its author has declared."""

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from domain.bodies import merge_patch
from domain.configs import BaseConfig, ConfigSchema
from domain.errors import InvalidBody, Misconfigured


class Inner(msgspec.Struct):
    alpha: float = 0.5


class Options(BaseConfig):
    n_lags: Annotated[int, Meta(ge=0)] = msgspec.field(default=2, name="n-lags")
    inner: Inner = msgspec.field(default_factory=Inner)
    label: str | None = "x"


class Renamed(BaseConfig):
    inner: Inner = msgspec.field(default_factory=Inner, name="in")


class Strict(BaseConfig):
    needed: int


SCHEMA = ConfigSchema(Options)
DEFAULTS = {
    "prediction_periods": 3,
    "additional_continuous_covariates": [],
    "n-lags": 2,
    "inner": {"alpha": 0.5},
    "label": "x",
}


def test_what_is_left_out_gets_its_default_under_the_name_on_the_wire() -> None:
    assert SCHEMA.stored({}) == DEFAULTS


def test_options_that_stand_deeper_are_hoisted_and_those_beside_them_win() -> None:
    sent = {"user_option_values": {"n-lags": 7, "depth": 1}, "depth": 2, "name": "n", "id": 3, "archived": False}
    stored = SCHEMA.stored(sent)
    assert stored == {**DEFAULTS, "n-lags": 7, "depth": 2, "name": "n", "id": 3, "archived": False}
    typed = SCHEMA.typed(stored)
    assert isinstance(typed, Options)
    assert (typed.n_lags, typed.extra) == (7, {"depth": 2, "name": "n", "id": 3, "archived": False})


def test_a_field_may_be_sent_under_the_name_it_has_in_python() -> None:
    stored = SCHEMA.stored({"n_lags": 9})
    assert (stored["n_lags"], "n-lags" in stored) == (9, False)
    typed = SCHEMA.typed(stored)
    assert isinstance(typed, Options)
    assert (typed.n_lags, typed.extra) == (9, {})
    both = SCHEMA.typed({"n_lags": 9, "n-lags": 4})
    assert isinstance(both, Options)
    assert both.n_lags == 4


@pytest.mark.parametrize(
    "stored, patch, expected",
    [
        ({"n-lags": 7}, {"n_lags": 9}, {"n_lags": 9}),
        ({"n_lags": 7}, {"n-lags": 9}, {"n-lags": 9}),
        ({"n-lags": 7, "n_lags": 8}, {"n_lags": 9}, {"n_lags": 9}),
        ({"n-lags": 7}, {"n-lags": 8, "n_lags": 9}, {"n-lags": 8, "n_lags": 9}),
        ({"n-lags": 7}, {"n_lags": None}, {"n-lags": 2}),
        ({"n-lags": 7, "depth": 1}, {"user_option_values": {"n-lags": 9, "depth": 2}}, {"n-lags": 9, "depth": 2}),
        ({"n-lags": 7}, {"user_option_values": {"n_lags": 9}}, {"n_lags": 9}),
        ({"n-lags": 7}, {"user_option_values": {"n-lags": 8}, "n-lags": 9}, {"n-lags": 9}),
        ({"depth": 1}, {"user_option_values": {"depth": None}}, {"n-lags": 2}),
        ({"user_option_values": 5}, {"user_option_values": {"depth": 1}}, {"n-lags": 2, "depth": 1}),
        ({"user_option_values": 5}, {"depth": 1}, {"n-lags": 2, "user_option_values": 5, "depth": 1}),
        (
            {"inner": {"alpha": 1.5, "beta": 1}},
            {"inner": {"beta": 2}},
            {"n-lags": 2, "inner": {"alpha": 1.5, "beta": 2}},
        ),
    ],
)
def test_a_patch_takes_effect_under_whatever_name(
    stored: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    patched = SCHEMA.stored(merge_patch(*SCHEMA.aligned(SCHEMA.stored(stored), patch)))
    assert patched == {**{name: value for name, value in DEFAULTS.items() if name != "n-lags"}, **expected}


def test_what_is_patched_under_another_name_is_merged_all_the_same() -> None:
    schema = ConfigSchema(Renamed)
    stored = schema.stored({"in": {"alpha": 1.5, "beta": 1}})
    patched = schema.stored(merge_patch(*schema.aligned(stored, {"inner": {"beta": 2}})))
    assert (patched["inner"], "in" in patched) == ({"alpha": 1.5, "beta": 2}, False)


def test_null_is_a_value() -> None:
    assert SCHEMA.stored({"label": None})["label"] is None


@pytest.mark.parametrize(
    "data, path",
    [
        ({"n-lags": "7"}, ["data", "n-lags"]),
        ({"n-lags": -1}, ["data", "n-lags"]),
        ({"n_lags": -1}, ["data", "n_lags"]),
        ({"inner": {"alpha": "a"}}, ["data", "inner", "alpha"]),
        ({"user_option_values": {"n-lags": None}}, ["data", "n-lags"]),
    ],
)
def test_what_the_author_refuses_is_named(data: dict[str, Any], path: list[str]) -> None:
    for use in (SCHEMA.stored, SCHEMA.typed):
        with pytest.raises(InvalidBody) as caught:
            use(data)
        assert [list(error.loc) for error in caught.value.errors] == [["body", *path]]


def test_without_a_default_a_field_is_needed() -> None:
    schema = ConfigSchema(Strict)
    with pytest.raises(InvalidBody):
        schema.stored({})
    assert schema.stored({"needed": 1})["needed"] == 1
    assert schema.json_schema()["required"] == ["needed"]


def test_the_schema_describes_the_data_with_everything_it_refers_to() -> None:
    schema = SCHEMA.json_schema()
    assert schema["additionalProperties"] is True
    assert set(schema["properties"]) == set(DEFAULTS)
    assert schema["properties"]["prediction_periods"] == {"type": "integer", "default": 3}
    assert (schema["title"], schema["type"], "required" in schema) == ("Options", "object", False)
    assert schema["$defs"]["Inner"]["properties"]["alpha"]["default"] == 0.5


class Tagged(BaseConfig, tag="t"):
    pass


@pytest.mark.parametrize("kind", [Tagged, Inner, dict, None])
def test_only_what_derives_from_the_base_is_a_configuration(kind: Any) -> None:
    with pytest.raises(Misconfigured):
        ConfigSchema(kind)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.text().filter(lambda name: name not in {*DEFAULTS, "n_lags", "user_option_values"}), JSON),
    st.integers(0, 100),
)
def test_every_key_that_is_sent_comes_back_with_an_equal_value(extra: dict[str, Any], lags: int) -> None:
    sent = {**extra, "n-lags": lags}
    stored = SCHEMA.stored(sent)
    assert {name: stored[name] for name in sent} == sent
    # Once stored it stays as it is.
    assert SCHEMA.stored(stored) == stored
    assert SCHEMA.typed(stored).extra == extra
