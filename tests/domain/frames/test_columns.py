"""Columns: chosen, renamed, added, counted, and what is done about nulls."""

import math
from typing import Any

import numpy as np
import pytest

from domain.frames import DataFrame, FieldSchema, InvalidFrame

FRAME = DataFrame(["a", "b", "c"], [[1, "x", None], [2, "y", 0.5], [1, "x", math.nan]]).with_schema()
PLAIN = DataFrame(["a", "b"], [[1, None], [None, None]])


def types(frame: DataFrame) -> dict[str, str]:
    """What the schema says of each column."""
    assert frame.schema is not None
    return {field.name: field.type for field in frame.schema.fields}


@pytest.mark.parametrize(
    "operation",
    [
        lambda: FRAME["z"],
        lambda: FRAME[["a", "z"]],
        lambda: FRAME.get_column("z"),
        lambda: FRAME.select(["z"]),
        lambda: FRAME.drop(["z"]),
        lambda: FRAME.rename({"z": "y"}),
        lambda: FRAME.apply(str, "z"),
        lambda: FRAME.unique("z"),
        lambda: FRAME.nunique("z"),
        lambda: FRAME.value_counts("z"),
        lambda: FRAME.sort("z"),
        lambda: FRAME.fillna({"z": 1}),
        lambda: FRAME.drop_duplicates(["z"]),
        lambda: FRAME.melt(["z"]),
        lambda: FRAME.melt(["a"], ["z"]),
        lambda: FRAME.pivot("z", "b", "c"),
        lambda: FRAME.merge(FRAME, on="z"),
        lambda: FRAME.groupby("z"),
        lambda: FRAME.groupby("a").sum("z"),
    ],
)
def test_a_column_that_does_not_exist_is_a_key_error_that_names_those_that_do(operation: Any) -> None:
    with pytest.raises(KeyError, match="no column 'z' among a, b, c"):
        operation()


def test_columns_are_lists_and_several_are_a_frame() -> None:
    assert FRAME["a"] == FRAME.get_column("a") == [1, 2, 1]
    assert FRAME[["b", "a"]].equals(FRAME.select(["b", "a"]))
    assert FRAME.select(["b", "a"]).data[0] == ["x", 1]
    assert FRAME.drop("b").columns == FRAME.drop(["b"]).columns == ["a", "c"]
    key: Any = 1
    with pytest.raises(TypeError, match="not by int"):
        FRAME[key]
    with pytest.raises(InvalidFrame, match="more than once"):
        FRAME.select(["a", "a"])


def test_the_schema_goes_with_its_columns() -> None:
    assert types(FRAME) == {"a": "integer", "b": "string", "c": "number"}
    assert types(FRAME.select(["c", "a"])) == {"c": "number", "a": "integer"}
    assert types(FRAME.drop("a")) == {"b": "string", "c": "number"}
    assert types(FRAME.rename({"a": "z"})) == {"z": "integer", "b": "string", "c": "number"}
    assert types(FRAME.add_column("d", [True, None, False]))["d"] == "boolean"
    assert types(FRAME.apply(str, "a"))["a"] == "string"
    assert types(FRAME.fillna(0)) == types(FRAME)
    assert types(FRAME.fillna("x"))["c"] == "any"
    assert types(FRAME.isna()) == dict.fromkeys("abc", "boolean")
    assert types(FRAME.dropna(1)) == {"a": "integer", "b": "string"}
    assert FRAME.select(["a"]).rename({"a": "b"}).rename({"b": "a"}) == FRAME.select(["a"])


def test_a_title_outlives_the_type_of_its_column() -> None:
    frame = DataFrame(["a"], [[1]]).with_schema()
    assert frame.schema is not None
    frame.schema.fields[0] = FieldSchema("a", "integer", title="Age")
    changed = frame.apply(str, "a").schema
    assert changed is not None
    assert changed.fields == [FieldSchema("a", "string", title="Age")]


def test_without_a_schema_none_is_made_up() -> None:
    assert PLAIN.add_column("c", [1, 2]).schema is None
    assert PLAIN.isna().schema is None
    assert PLAIN.rename({"a": "c"}).schema is None
    assert PLAIN.apply(str, "a").schema is None


def test_names_may_be_swapped_and_not_taken() -> None:
    assert FRAME.rename({"a": "b", "b": "a"}).columns == ["b", "a", "c"]
    assert FRAME.rename_columns({"a": "d"}).columns == ["d", "b", "c"]
    for names in ({"a": "b"}, {"a": ""}):
        with pytest.raises(ValueError, match="column"):
            FRAME.rename(names)


def test_columns_are_added_in_full_and_under_a_new_name() -> None:
    assert PLAIN.add_column("c", np.array([1.5, 2.5])).data == [[1, None, 1.5], [None, None, 2.5]]
    assert DataFrame([], []).add_column("a", [1, 2]).data == [[1], [2]]
    assert PLAIN.data == [[1, None], [None, None]]
    with pytest.raises(ValueError, match="column 'c' has 1 values for 2 rows"):
        PLAIN.add_column("c", [1])
    with pytest.raises(ValueError, match="more than once"):
        PLAIN.add_column("a", [1, 2])
    with pytest.raises(ValueError, match="1 values for 0 rows"):
        DataFrame(["a"], []).add_column("b", [1])


def test_a_function_changes_the_cells_of_one_column() -> None:
    assert FRAME.apply(lambda cell: np.int64(cell * 2), "a")["a"] == [2, 4, 2]
    assert FRAME["a"] == [1, 2, 1]


@pytest.mark.parametrize(
    "cells, name, kind",
    [
        ([1, None], "int", "integer"),
        ([1, 2.5], "float", "number"),
        ([2.5], "float", "number"),
        (["x"], "str", "string"),
        ([True], "bool", "boolean"),
        ([True, 1], "mixed", "any"),
        (["x", 1], "mixed", "any"),
        ([[1]], "mixed", "any"),
        ([None], "null", "any"),
        ([], "null", "any"),
        ([np.float64(1)], "float", "number"),
    ],
)
def test_types_are_inferred(cells: list[Any], name: str, kind: str) -> None:
    frame = DataFrame(["a"], [[cell] for cell in cells])
    assert frame.infer_types() == {"a": name}
    assert types(frame.with_schema()) == {"a": kind}


def test_types_come_from_what_is_known_then_covariates_then_the_configuration_then_the_cells() -> None:
    names = ["time_period", "population", "rainfall", "wind", "lags", "kind", "either", "odd", "free"]
    frame = DataFrame(names, [["2020-01", None, None, 1, None, None, None, None, None]])
    properties = {
        "wind": {"type": "string"},
        "rainfall": {"type": "string"},
        "lags": {"type": ["integer", "null"]},
        "kind": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "odd": True,
    }
    found = frame.with_schema(required_covariates=["wind"], config_schema={"properties": properties})
    expected = ["string", "integer", "number", "number", "integer", "string", "any", "any", "any"]
    assert types(found) == dict(zip(names, expected, strict=True))
    assert found.equals(frame)
    assert frame.schema is None


def test_a_declared_type_counts_only_where_the_cells_have_it() -> None:
    assert types(DataFrame(["population"], [[2211544.01]]).with_schema()) == {"population": "number"}


def test_distinct_cells_are_counted_as_they_first_appear() -> None:
    frame = DataFrame(["a"], [["x"], [None], [1], [True], [1.0], ["x"]])
    assert frame.unique("a") == ["x", None, 1]
    assert frame.nunique("a") == 3
    assert frame.value_counts("a") == {"x": 2, None: 1, 1: 3}
    with pytest.raises(TypeError, match="unhashable"):
        DataFrame(["a"], [[[1]]]).unique("a")


def test_only_null_is_null() -> None:
    assert FRAME.has_nulls() == {"a": False, "b": False, "c": True}
    assert FRAME.isna()["c"] == [True, False, False]
    assert FRAME.notna()["c"] == [False, True, True]
    assert FRAME.fillna(9)["c"][:2] == [9, 0.5]
    assert math.isnan(FRAME.fillna(9)["c"][2])
    assert PLAIN.fillna({"a": 0}).data == [[1, None], [0, None]]
    assert DataFrame(["a"], [[np.zeros(2)]]).has_nulls() == {"a": False}


@pytest.mark.parametrize(
    "axis, how, columns, data",
    [
        (0, "any", ["a", "b"], []),
        (0, "all", ["a", "b"], [[1, None]]),
        (1, "any", [], [[], []]),
        (1, "all", ["a"], [[1], [None]]),
    ],
)
def test_lines_with_nulls_are_dropped(axis: Any, how: Any, columns: list[str], data: list[Any]) -> None:
    assert PLAIN.dropna(axis, how) == DataFrame(columns, data)


def test_a_column_without_cells_stays() -> None:
    assert DataFrame(["a"], []).dropna(1, "all").columns == ["a"]
    assert DataFrame(["a"], []).dropna(1, "any").columns == ["a"]


def test_other_ways_to_drop_nulls_are_refused() -> None:
    wrong: Any
    for wrong in ({"axis": 2}, {"how": "some"}):
        with pytest.raises(ValueError, match="must be"):
            PLAIN.dropna(**wrong)
