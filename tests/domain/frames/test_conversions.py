"""Frames from and to pandas, polars, xarray, Arrow and Parquet."""

import math
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import DataFrame, InvalidFrame
from tests.domain.frames.test_structure import frames

COLUMNS = st.one_of(
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=3, max_size=3),
    st.lists(st.none() | st.text(), min_size=3, max_size=3),
)
UNIFORM = st.dictionaries(st.text("abc", min_size=1), COLUMNS, max_size=4).map(DataFrame.from_dict)


@given(UNIFORM)
def test_columns_of_one_kind_come_back_from_pandas_and_polars(frame: DataFrame) -> None:
    assert DataFrame.from_pandas(frame.to_pandas()).equals(frame)
    assert DataFrame.from_dataframe(frame.to_dataframe()).equals(frame)
    assert DataFrame.from_polars(frame.to_polars()).equals(frame)


@given(frames())
def test_everything_comes_back_from_parquet(frame: DataFrame) -> None:
    if frame.columns or not frame.data:
        content = frame.to_parquet()
        assert isinstance(content, bytes)
        assert DataFrame.from_parquet(content) == frame


def test_parquet_goes_to_files_and_is_read_by_others(tmp_path: Path) -> None:
    frame = DataFrame(["a", "b"], [[1, "x"], [None, "y"]]).with_schema()
    assert frame.to_parquet(tmp_path / "a.parquet") is None
    assert DataFrame.from_parquet(tmp_path / "a.parquet") == frame
    assert DataFrame.from_parquet(str(tmp_path / "a.parquet")) == frame
    assert polars.read_parquet(tmp_path / "a.parquet").rows() == [(1, "x"), (None, "y")]


def test_tables_of_others_are_read_from_arrow() -> None:
    table = pyarrow.table({"a": [1, None], "at": [date(2025, 1, 31), None], "l": [[1], None]})
    assert DataFrame.from_arrow(table).data == [[1, "2025-01-31", [1]], [None, None, None]]
    with pytest.raises(ValueError, match="more than once"):
        DataFrame.from_arrow(pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, names=["a", "a"]))


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="not Parquet"):
        DataFrame.from_parquet(b"PAR1")


def test_pandas_tables_lose_their_index_and_what_is_missing_is_null() -> None:
    table = pandas.DataFrame(
        {
            "number": [1.5, math.nan],
            "whole": pandas.array([1, None], dtype="Int64"),
            "text": ["x", None],
            "at": [pandas.Timestamp(2025, 1, 31), pandas.NaT],
            "period": [pandas.Period("2025-01", "M"), pandas.NaT],
            "kind": pandas.Categorical(["x", None]),
            "object": [np.float64(2.5), Decimal("1.50")],
            "yes": [True, False],
        },
        index=["i", "j"],
    )
    assert DataFrame.from_pandas(table).data == [
        [1.5, 1, "x", "2025-01-31T00:00:00", "2025-01", "x", 2.5, True],
        [None, None, None, None, None, None, "1.50", False],
    ]


def test_a_table_without_columns_keeps_its_rows() -> None:
    assert DataFrame.from_pandas(pandas.DataFrame(index=[0, 1])) == DataFrame([], [[], []])


def test_names_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="named by 0, which is no text"):
        DataFrame.from_pandas(pandas.DataFrame([[1]]))
    with pytest.raises(ValueError, match="more than once"):
        DataFrame.from_pandas(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


def test_numbers_of_both_kinds_are_numbers_for_polars() -> None:
    assert DataFrame(["a"], [[1], [2.5]]).to_polars()["a"].to_list() == [1.0, 2.5]
    assert DataFrame.from_polars(polars.DataFrame({"a": [math.nan, 1.5]})).data == [[None], [1.5]]
    assert DataFrame.from_polars(polars.DataFrame({"a": [date(2025, 1, 31)]})).data == [["2025-01-31"]]
    with pytest.raises(InvalidFrame, match="column 'a' is none for polars"):
        DataFrame(["a"], [[2**200]]).to_polars()


@pytest.mark.parametrize(
    "read, message",
    [
        (DataFrame.from_pandas, "a pandas DataFrame is needed, not list"),
        (DataFrame.from_polars, "a polars DataFrame is needed, not list"),
        (DataFrame.from_arrow, "an Arrow table is needed, not list"),
    ],
)
def test_anything_else_is_a_type_error(read: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        read([])


@pytest.mark.parametrize(
    "module, call, install",
    [
        ("pandas", lambda: DataFrame.from_pandas(1), "millrace[pandas]"),
        ("pandas", lambda: DataFrame([], []).to_pandas(), "millrace[pandas]"),
        ("polars", lambda: DataFrame.from_polars(1), "millrace[polars]"),
        ("polars", lambda: DataFrame([], []).to_polars(), "millrace[polars]"),
        ("pyarrow", lambda: DataFrame([], []).to_parquet(), "millrace[parquet]"),
        ("pyarrow", lambda: DataFrame.from_parquet(b""), "millrace[parquet]"),
        ("xarray", lambda: DataFrame.from_xarray(1), "xarray"),
    ],
)
def test_a_missing_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, module: str, call: Any, install: str
) -> None:
    # What None stands for cannot be imported.
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="is needed for this and not installed: pip install ") as raised:
        call()
    assert str(raised.value).endswith(install)


class DataArray:
    """As much of an array of xarray as a frame needs."""

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim

    def to_pandas(self) -> Any:
        return pandas.DataFrame([[1, 2], [3, 4]], columns=[2020, 2021])


def test_arrays_with_two_dimensions_are_read_from_xarray(monkeypatch: pytest.MonkeyPatch) -> None:
    xarray = ModuleType("xarray")
    monkeypatch.setattr(xarray, "DataArray", DataArray, raising=False)
    monkeypatch.setitem(sys.modules, "xarray", xarray)
    assert DataFrame.from_xarray(DataArray(2)) == DataFrame(["2020", "2021"], [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="2 dimensions is needed, not 3"):
        DataFrame.from_xarray(DataArray(3))
    with pytest.raises(TypeError, match="not int"):
        DataFrame.from_xarray(1)
