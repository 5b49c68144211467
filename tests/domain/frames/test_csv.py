"""CSV: numbers are read as numbers, and nothing else is."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import DataFrame, InvalidFrame


def column(*cells: str, name: str = "a") -> list[Any]:
    """What the cells of a column become."""
    return DataFrame.from_csv(csv_string="\n".join([f"{name},other", *(f"{cell},x" for cell in cells)]))[name]


@pytest.mark.parametrize(
    "cells, expected",
    [
        # Numbers
        (["1", "-2", "0"], [1, -2, 0]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e-05", "1E5", "-1.25"], [1e-05, 1e5, -1.25]),
        (["1.10", "2"], [1.1, 2.0]),
        (["1", ""], [1, None]),
        ([" 1", "2 ", " "], [1, 2, None]),
        (["1", "NA"], [1, None]),
        (["1.5", "NaN", "nan"], [1.5, None, None]),
        (["inf", "-Inf", "1"], [math.inf, -math.inf, 1.0]),
        # Booleans
        (["true", "FALSE", "True"], [True, False, True]),
        (["TRUE", "", "NA"], [True, None, None]),
        (["true", "yes"], ["true", "yes"]),
        (["true", "1"], ["true", "1"]),
        # What existing services corrupt
        (["007", "1"], ["007", "1"]),
        (["-07"], ["-07"]),
        (["1_000"], ["1_000"]),
        (["NO", "SE"], ["NO", "SE"]),
        (["yes", "no"], ["yes", "no"]),
        (["nan"], ["nan"]),
        (["NA", "ZA"], ["NA", "ZA"]),
        (["NA", ""], ["NA", None]),
        (["inf"], ["inf"]),
        (["+5"], ["+5"]),
        ([".5"], [".5"]),
        (["5."], ["5."]),
        (["0x10"], ["0x10"]),
        (["١"], ["١"]),
        (["1234567890123456789"], ["1234567890123456789"]),
        (["1234567890123456789", "1.5"], ["1234567890123456789", "1.5"]),
        (["1e999", "1.5"], ["1e999", "1.5"]),
        (["1", "x", ""], ["1", "x", None]),
        (["x", " "], ["x", " "]),
        ([""], [None]),
        ([], []),
    ],
)
def test_cells_become_what_all_of_their_column_is(cells: list[str], expected: list[Any]) -> None:
    found = column(*cells)
    assert found == expected
    assert [type(cell) for cell in found] == [type(cell) for cell in expected]


@pytest.mark.parametrize("name", ["time_period", "location"])
def test_periods_and_locations_are_always_text(name: str) -> None:
    assert column("202001", "", name=name) == ["202001", None]


def test_without_inference_everything_is_text_and_blank_is_null() -> None:
    frame = DataFrame.from_csv(csv_string="a,b\n1,\n", infer_types=False)
    assert frame.data == [["1", None]]


def test_blank_lines_are_skipped() -> None:
    assert DataFrame.from_csv(csv_string="\n a,b\n\n1,2\n   \n3,4\n\n").data == [[1, 2], [3, 4]]


def test_a_quoted_nothing_in_a_single_column_is_a_row() -> None:
    assert DataFrame.from_csv(csv_string='a\n""\n1\n').data == [[None], [1]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 cells instead of 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 cells instead of 2"),
        ('a,b\n"1\n2",x\n3\n', "line 4 has 1 cells instead of 2"),
        ('a,b\n"1,2\n', "line 2 is not CSV"),
        ("a,a\n1,2\n", 'column "a" stands more than once'),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataFrame.from_csv(csv_string=text)


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert DataFrame.from_csv(csv_string="\ufeffa,b\n1,2\n").columns == ["a", "b"]


def test_row_names_of_r_and_pandas_get_a_name() -> None:
    assert DataFrame.from_csv(csv_string='"",a\n"1",2\n').columns == ["col_0", "a"]
    assert DataFrame.from_csv(csv_string=",col_0\n1,2\n").columns == ["col_0_", "col_0"]


def test_without_a_header_columns_are_numbered() -> None:
    frame = DataFrame.from_csv(csv_string="1;2\n3;4\n", has_header=False, delimiter=";")
    assert (frame.columns, frame.data) == (["col_0", "col_1"], [[1, 2], [3, 4]])


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_nothing_is_an_empty_frame(text: str) -> None:
    assert DataFrame.from_csv(csv_string=text) == DataFrame([], [])


def test_predictions_that_r_wrote_are_read() -> None:
    text = (
        '"","time_period","location","sample_0","sample_1"\r\n"1","2020-01","7",1e-05,3\r\n"2","2020-02","7",NA,4\r\n'
    )
    frame = DataFrame.from_csv(csv_string=text).drop("col_0")
    assert frame.columns == ["time_period", "location", "sample_0", "sample_1"]
    assert frame.data == [["2020-01", "7", 1e-05, 3], ["2020-02", "7", None, 4]]


def test_files_are_read_and_written_in_an_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    frame = DataFrame(["æ"], [["ø\nå"]])
    assert frame.to_csv(path, encoding="latin-1") is None
    assert path.read_bytes() == b'\xe6\r\n"\xf8\n\xe5"\r\n'
    assert DataFrame.from_csv(path, encoding="latin-1") == frame
    with pytest.raises(InvalidFrame, match=r"a\.csv is not utf-8: .* at byte 0"):
        DataFrame.from_csv(str(path))


def test_exactly_one_source_is_read() -> None:
    for sources in ({}, {"path": "a.csv", "csv_string": "a"}):
        with pytest.raises(ValueError, match="exactly one of path and csv_string"):
            DataFrame.from_csv(**sources)


def test_cells_are_written_so_that_scripts_can_read_them() -> None:
    frame = DataFrame(["a", "b"], [[None, True], [math.nan, -math.inf], [1e-05, 'x,"y"'], [[1, {"a": None}], 7]])
    assert frame.to_csv() == 'a,b\r\n,True\r\n,\r\n1e-05,"x,""y"""\r\n"[1,{""a"":null}]",7\r\n'
    assert DataFrame(["a"], [[1]]).to_csv(include_header=False) == "1\r\n"
    assert DataFrame(["a", "b"], [[1, 2]]).to_csv(delimiter=";") == "a;b\r\n1;2\r\n"


NUMBERS = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1)
INTEGERS = st.lists(st.none() | st.integers(-(10**17) + 1, 10**17 - 1), min_size=1)
BOOLEANS = st.lists(st.none() | st.booleans(), min_size=1)


@given(NUMBERS | INTEGERS | BOOLEANS)
def test_columns_of_one_kind_come_back_from_csv(cells: list[Any]) -> None:
    frame = DataFrame.from_dict({"a": cells})
    read = DataFrame.from_csv(csv_string=frame.to_csv())
    assert read == frame
    assert [type(cell) for cell in read["a"]] == [type(cell) for cell in cells]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2)))
def test_text_comes_back_from_csv_unless_it_is_blank(rows: list[list[str]]) -> None:
    frame = DataFrame(["a", "b"], rows)
    read = DataFrame.from_csv(csv_string=frame.to_csv(), infer_types=False)
    # A row of nothing but blanks is still a row, for its commas are there.
    assert read.data == [[cell or None for cell in row] for row in rows]
