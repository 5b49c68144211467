"""Frames in other shapes: melted, pivoted, turned, merged, grouped and described; pandas knows what is right."""

import math
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import DataFrame

LONG = DataFrame(["place", "time", "cases"], [["b", "2", 1], ["a", "1", 2], [None, "1", 3], ["a", "2", None]])


def same(left: Any, right: Any) -> bool:
    """Whether two cells are equal, where pandas says NaN for null."""
    if left is None or (isinstance(left, float) and math.isnan(left)):
        return bool(pandas.isna(right))
    return bool(left == right) or (isinstance(left, float) and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12))


def agree(frame: DataFrame, table: pandas.DataFrame) -> bool:
    """Whether a frame holds what a table of pandas holds."""
    rows = table.astype(object).to_numpy().tolist()
    return (
        frame.columns == list(table.columns)
        and len(frame) == len(rows)
        and all(
            same(*cells) for row, other in zip(frame.data, rows, strict=True) for cells in zip(row, other, strict=True)
        )
    )


def types(frame: DataFrame) -> dict[str, str]:
    """What the schema says of each column."""
    assert frame.schema is not None
    return {field.name: field.type for field in frame.schema.fields}


KEYS = st.none() | st.sampled_from(["a", "b", "c"])
NUMBERS = st.none() | st.integers(-5, 5)


def tables(*columns: str) -> st.SearchStrategy[DataFrame]:
    row = st.tuples(KEYS, *[NUMBERS for _ in columns[1:]]).map(list)
    return st.lists(row, min_size=1, max_size=8).map(lambda rows: DataFrame(list(columns), rows))


def test_cells_become_rows_in_the_order_of_the_rows() -> None:
    frame = DataFrame(["id", "x", "y"], [["a", 1, 2.5], ["b", 3, 4]]).with_schema()
    melted = frame.melt("id")
    assert melted.data == [["a", "x", 1], ["a", "y", 2.5], ["b", "x", 3], ["b", "y", 4]]
    assert types(melted) == {"id": "string", "variable": "string", "value": "number"}
    assert frame.melt(["id"], ["y"], "name", "cell").columns == ["id", "name", "cell"]
    assert frame.melt().columns == ["variable", "value"]
    assert frame.head(0).melt("id").columns == ["id", "variable", "value"]
    for names in ({"var_name": "id"}, {"value_name": "variable"}):
        with pytest.raises(ValueError, match="more than once"):
            frame.melt("id", **names)


@given(tables("k", "x", "y"))
def test_frames_are_melted_like_pandas_does_in_another_order(frame: DataFrame) -> None:
    numbered = DataFrame(["n", *frame.columns], [[number, *row] for number, row in enumerate(frame.data)])
    order: Any = {"by": ["n", "variable"], "kind": "stable"}
    expected = numbered.to_pandas().melt(["n", "k"], ["x", "y"]).sort_values(**order)
    assert agree(numbered.melt(["n", "k"], ["x", "y"]), expected)


def test_rows_become_columns_sorted_both_ways() -> None:
    assert LONG.pivot("place", "time", "cases") == DataFrame(
        ["place", "1", "2"], [["a", 2, None], ["b", None, 1], [None, 3, None]]
    )
    assert types(LONG.with_schema().pivot("place", "time", "cases")) == {
        "place": "string",
        "1": "integer",
        "2": "integer",
    }
    assert LONG.head(0).pivot("place", "time", "cases") == DataFrame(["place"], [])


@given(tables("k", "x", "y").map(lambda frame: frame.dropna().drop_duplicates(["k", "x"]).apply(str, "x")))
def test_frames_are_pivoted_like_pandas_does(frame: DataFrame) -> None:
    if frame.data:
        expected = frame.to_pandas().pivot(index="k", columns="x", values="y").reset_index()
        assert agree(frame.pivot("k", "x", "y"), expected)


def test_a_pivot_that_would_lose_or_misname_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="row 4: 'b' and '2' appear twice"):
        LONG.concat(LONG.head(1)).pivot("place", "time", "cases")
    with pytest.raises(ValueError, match="row 0: 1 in 'cases' cannot name a column"):
        LONG.pivot("place", "cases", "time")
    with pytest.raises(ValueError, match="more than once"):
        DataFrame(["a", "b", "c"], [[1, "a", 2]]).pivot("a", "b", "c")


def test_a_frame_is_turned() -> None:
    frame = DataFrame(["name", "x", "y"], [["a", 1, 2], [7, 3, 4.5]]).with_schema()
    turned = frame.transpose()
    assert (turned.columns, turned.data) == (["index", "a", "7"], [["x", 1, 3], ["y", 2, 4.5]])
    assert types(turned) == {"index": "string", "a": "integer", "7": "number"}
    assert DataFrame(["name"], [["a"]]).transpose() == DataFrame(["index", "a"], [])
    assert DataFrame(["name", "x"], []).transpose() == DataFrame(["index"], [["x"]])
    assert DataFrame([], []).transpose() == DataFrame([], [])
    with pytest.raises(ValueError, match="more than once"):
        DataFrame(["name", "x"], [["a", 1], ["a", 2]]).transpose()


LEFT = DataFrame(["k", "v"], [["a", 1], [None, 2], ["c", 3]])
RIGHT = DataFrame(["k", "v"], [["d", 4], [None, 5], ["a", 6], ["a", 7]])


@pytest.mark.parametrize(
    "how, data",
    [
        ("inner", [["a", 1, 6], ["a", 1, 7], [None, 2, 5]]),
        ("left", [["a", 1, 6], ["a", 1, 7], [None, 2, 5], ["c", 3, None]]),
        ("right", [["a", 1, 6], ["a", 1, 7], [None, 2, 5], ["d", None, 4]]),
        ("outer", [["a", 1, 6], ["a", 1, 7], [None, 2, 5], ["c", 3, None], ["d", None, 4]]),
    ],
)
def test_rows_with_equal_keys_are_joined_null_keys_too(how: Any, data: list[Any]) -> None:
    assert LEFT.merge(RIGHT, on="k", how=how) == DataFrame(["k", "v_x", "v_y"], data)


@given(tables("k", "x"), tables("k", "y"), st.sampled_from(["inner", "left", "right", "outer"]))
def test_frames_are_merged_like_pandas_does(left: DataFrame, right: DataFrame, how: Any) -> None:
    expected = left.to_pandas().merge(right.to_pandas(), on="k", how=how)
    found = left.merge(right, on=["k"], how=how)
    assert found.columns == list(expected.columns)
    # Only the order differs: as in existing services every kind of join keeps that of the left frame.
    assert sorted(map(repr, floats(found))) == sorted(map(repr, floats(DataFrame.from_pandas(expected))))


def floats(frame: DataFrame) -> list[list[Any]]:
    """The rows with every number as pandas has it where there are gaps."""
    return [[float(cell) if isinstance(cell, int) else cell for cell in row] for row in frame.data]


def test_keys_of_different_names_are_both_kept() -> None:
    other = RIGHT.rename({"k": "key"})
    merged = LEFT.merge(other, left_on="k", right_on="key", how="outer", suffixes=("", "_2"))
    assert merged.columns == ["k", "v", "key", "v_2"]
    assert merged.data[-2:] == [["c", 3, None, None], [None, None, "d", 4]]
    assert LEFT.merge(RIGHT, left_on="k", right_on="k") == LEFT.merge(RIGHT, on="k")


def test_both_schemas_go_into_a_merge() -> None:
    left, right = LEFT.with_schema(), RIGHT.apply(str, "v").with_schema()
    assert types(left.merge(right, on="k")) == {"k": "string", "v_x": "integer", "v_y": "string"}
    odd = DataFrame(["k", "w"], [[1, 0.5]])
    assert types(left.merge(odd, on="k", how="outer")) == {"k": "any", "v": "integer", "w": "number"}
    assert LEFT.merge(right, on="k").schema is None


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({}, "give either on, or both"),
        ({"on": "k", "left_on": "k"}, "give either on, or both"),
        ({"left_on": "k"}, "give either on, or both"),
        ({"on": []}, "as many keys are needed"),
        ({"left_on": ["k", "v"], "right_on": "k"}, "as many keys are needed"),
        ({"on": "k", "how": "cross"}, "how must be"),
        ({"on": "k", "suffixes": ("", "")}, "more than once"),
    ],
)
def test_a_merge_that_makes_no_sense_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LEFT.merge(RIGHT, **wrong)


def test_groups_are_counted_as_they_first_appear() -> None:
    groups = LONG.with_schema().groupby("place")
    assert groups.count().data == [["b", 1], ["a", 2], [None, 1]]
    assert types(groups.count()) == {"place": "string", "count": "integer"}
    assert groups.sum("cases") == DataFrame(["place", "cases_sum"], [["b", 1], ["a", 2], [None, 3]]).with_schema()
    assert LONG.groupby("place").count().schema is None
    with pytest.raises(ValueError, match="more than once"):
        DataFrame(["count"], [[1]]).groupby("count").count()


def test_only_numbers_are_summed_up_and_booleans_are_some() -> None:
    cells = [True, "x", None, math.nan, 2.5]
    groups = DataFrame(["g", "v"], [["a", cell] for cell in cells] + [["b", "x"]]).groupby("g")
    assert groups.sum("v").data == [["a", 3.5], ["b", None]]
    assert groups.mean("v").data == [["a", 1.75], ["b", None]]
    assert groups.min("v").data == [["a", 1], ["b", None]]
    assert groups.max("v").data == [["a", 2.5], ["b", None]]


@given(tables("k", "x"), st.sampled_from(["sum", "mean", "min", "max"]))
def test_groups_are_summed_up_like_pandas_does(frame: DataFrame, operation: str) -> None:
    table = frame.to_pandas()
    table["x"] = table["x"].astype(float)
    extra: dict[str, Any] = {"min_count": 1} if operation == "sum" else {}
    expected = getattr(table.groupby("k", dropna=False, sort=False)["x"], operation)(**extra).reset_index()
    found = getattr(frame.groupby("k"), operation)("x")
    assert found.columns == ["k", f"x_{operation}"]
    assert agree(found.rename({f"x_{operation}": "x"}), expected)


def test_a_frame_is_described_with_exclusive_quartiles() -> None:
    frame = DataFrame(["n", "s", "b", "one"], [[1, "x", True, None], [2, "y", None, 5], [4.0, "z", True, math.inf]])
    described = frame.with_schema().describe()
    assert described.columns == ["n", "s", "b", "one", "stat"]
    assert described["stat"] == ["count", "mean", "std", "min", "25%", "50%", "75%", "max"]
    assert described["s"] == described["b"] == [None] * 8
    assert described["one"] == [1, 5, 0.0, 5, 5, 5, 5, 5]
    assert described["n"] == [3, pytest.approx(7 / 3), pytest.approx(1.527525), 1, 1, 2, 4, 4]
    assert types(described) == {"n": "number", "s": "any", "b": "any", "one": "number", "stat": "string"}
    with pytest.raises(ValueError, match="stat"):
        described.describe()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_frames_are_described_like_pandas_does_but_for_the_quartiles(cells: list[float]) -> None:
    expected = DataFrame(["a"], [[cell] for cell in cells]).to_pandas()["a"].describe()
    found = DataFrame(["a"], [[cell] for cell in cells]).describe()
    for row in found.data:
        if row[1] not in ("25%", "75%"):
            assert row[0] == pytest.approx(expected[row[1]], rel=1e-6, abs=1e-6)
