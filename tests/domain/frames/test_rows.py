"""Rows: chosen, ordered, joined and copied."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import DataFrame

TEN = DataFrame(["n", "s"], [[number, str(number)] for number in range(10)]).with_schema()


def test_a_frame_knows_its_size() -> None:
    assert (TEN.shape, TEN.size, TEN.ndim, len(TEN), TEN.empty, bool(TEN)) == ((10, 2), 20, 2, 10, False, True)
    assert DataFrame(["a"], []).empty
    assert DataFrame([], [[]]).empty
    assert not DataFrame(["a"], [])
    assert next(iter(TEN)) == {"n": 0, "s": "0"}


@pytest.mark.parametrize("n", [0, 1, 3, 10, 99, -1, -3, -10, -99])
def test_head_and_tail_choose_like_pandas(n: int) -> None:
    assert TEN.head(n)["n"] == TEN.to_pandas().head(n)["n"].tolist()
    assert TEN.tail(n)["n"] == TEN.to_pandas().tail(n)["n"].tolist()
    assert TEN.head(n).schema == TEN.schema


def test_head_and_tail_choose_five() -> None:
    assert TEN.head()["n"] == [0, 1, 2, 3, 4]
    assert TEN.tail()["n"] == [5, 6, 7, 8, 9]


def test_a_sample_is_the_same_for_the_same_seed_and_leaves_the_shared_generator_alone() -> None:
    before = random.getstate()
    assert TEN.sample(4, random_state=1) == TEN.sample(4, random_state=1)
    assert len(TEN.sample(frac=0.25)) == 2
    assert sorted(TEN.sample(99)["n"]) == TEN["n"]
    assert TEN.sample(0).data == []
    assert random.getstate() == before


@pytest.mark.parametrize("wrong", [{}, {"n": 1, "frac": 0.5}, {"frac": 1.5}, {"frac": -0.1}, {"n": -1}])
def test_a_sample_needs_exactly_one_size_in_range(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"exactly one|must be"):
        TEN.sample(**wrong)


@pytest.mark.parametrize("ascending, expected", [(True, [1, 2, 3, None, math.inf]), (False, [3, 2, 1, None, math.inf])])
def test_null_and_not_a_number_come_last_both_ways(ascending: bool, expected: list[Any]) -> None:
    frame = DataFrame(["a"], [[2], [None], [1], [math.nan], [3]])
    found = [math.inf if cell is not None and math.isnan(cell) else cell for cell in frame.sort("a", ascending)["a"]]
    assert found == expected


@given(st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(0, 3))), st.booleans())
def test_rows_are_sorted_like_pandas_does(rows: list[tuple[Any, Any]], ascending: bool) -> None:
    frame = DataFrame(["a", "b", "n"], [[*row, number] for number, row in enumerate(rows)])
    for by in ("a", ["b", "a"]):
        kind: Any = "stable"
        expected = frame.to_pandas().sort_values(by, ascending=ascending, kind=kind)["n"].tolist()
        assert frame.sort(by, ascending)["n"] == expected


def test_cells_that_cannot_be_compared_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        DataFrame(["a"], [[1], ["x"]]).sort("a")


def test_rows_are_filtered_by_what_they_hold() -> None:
    assert TEN.filter(lambda row: row["n"] > 7 and row["s"] != "9").data == [[8, "8"]]


def test_rows_are_dropped_by_position_and_other_numbers_ignored() -> None:
    assert TEN.drop_rows([0, 1, -1, 99])["n"] == [2, 3, 4, 5, 6, 7, 8, 9]


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 1))))
def test_duplicates_are_dropped_like_pandas_does(rows: list[tuple[Any, Any]]) -> None:
    frame = DataFrame(["a", "b", "n"], [[*row, number] for number, row in enumerate(rows)])
    table = frame.to_pandas()
    for subset in ("a", ["a", "b"]):
        assert frame.drop_duplicates(subset)["n"] == table.drop_duplicates(subset)["n"].tolist()
    assert frame.drop_duplicates().equals(frame)


def test_arrays_cannot_be_told_from_each_other() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        DataFrame(["a"], [[[1]], [[1]]]).drop_duplicates()


def test_frames_with_the_same_columns_are_joined() -> None:
    more = DataFrame(["n", "s"], [[0.5, None]])
    joined = TEN.concat(more)
    assert joined.data == [*TEN.data, [0.5, None]]
    assert joined.schema is not None
    assert [field.type for field in joined.schema.fields] == ["number", "string"]
    assert more.concat(TEN).schema is None
    for columns in (["s", "n"], ["n"]):
        with pytest.raises(ValueError, match="columns differ"):
            TEN.concat(DataFrame(columns, []))


def test_frames_are_equal_by_columns_and_cells() -> None:
    assert TEN.equals(DataFrame(TEN.columns, TEN.data))
    assert not TEN.equals(TEN.head())
    assert not TEN.equals(TEN.rename({"n": "m"}))
    assert not TEN.equals("TEN")


def test_a_deep_copy_shares_nothing() -> None:
    frame = DataFrame(["a"], [[[1]]]).with_schema()
    copied = frame.deepcopy()
    assert copied == frame
    copied.data[0][0].append(2)
    copied.columns.append("b")
    assert copied.schema is not None
    copied.schema.fields.clear()
    assert frame == DataFrame(["a"], [[[1]]]).with_schema()


def test_a_new_frame_leaves_the_old_columns_alone() -> None:
    frame = DataFrame(["a"], [[1], [None]])
    for made in (frame.head(), frame.sort("a"), frame.isna(), frame.dropna(), frame.fillna(0), frame.concat(frame)):
        made.columns.append("b")
        made.data.append([2])
    assert frame == DataFrame(["a"], [[1], [None]])


def test_collections_become_frames_and_back() -> None:
    frame = DataFrame.from_dict({"a": [1, 2], "b": np.array([0.5, 1.5])})
    assert frame.data == [[1, 0.5], [2, 1.5]]
    assert type(frame.data[0][1]) is float
    assert frame.to_dict() == {"a": {0: 1, 1: 2}, "b": {0: 0.5, 1: 1.5}}
    assert frame.to_dict("list") == {"a": [1, 2], "b": [0.5, 1.5]}
    assert frame.to_dict("records") == [{"a": 1, "b": 0.5}, {"a": 2, "b": 1.5}]
    assert frame.to_json("columns") == '{"a":[1,2],"b":[0.5,1.5]}'
    assert DataFrame.from_json(frame.to_json()) == frame
    assert DataFrame.from_dict({}) == DataFrame([], [])
    assert DataFrame.from_dict({"a": []}) == DataFrame(["a"], [])
    assert DataFrame.from_records([]) == DataFrame.from_json("[]") == DataFrame([], [])


def test_the_first_record_names_the_columns() -> None:
    assert DataFrame.from_records([{"a": np.int64(1)}, {"a": 2, "b": 3}]) == DataFrame(["a"], [[1], [2]])
    with pytest.raises(KeyError, match="record 1 has no 'a'"):
        DataFrame.from_records([{"a": 1}, {"b": 2}])


def test_what_makes_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="columns differ in length: a: 1, b: 2"):
        DataFrame.from_dict({"a": [1], "b": [1, 2]})
    for text in ("", "{}", "[1]", '[{"a": NaN}]'):
        with pytest.raises(ValueError, match="not an array of objects"):
            DataFrame.from_json(text)
    for orient in (TEN.to_dict, TEN.to_json):
        with pytest.raises(ValueError, match="orient must be"):
            orient("split")
    with pytest.raises(TypeError, match="a object is not JSON"):
        DataFrame(["a"], [[object()]]).to_json()
