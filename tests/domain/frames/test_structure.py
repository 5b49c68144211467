"""Frames on the wire: what they look like, and that what is no frame is refused where it breaks."""

import math
from datetime import date
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidBody
from domain.frames import DataFrame, FieldSchema, FrameSchema, InvalidFrame, check_structure, structure_errors

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
CELLS = st.recursive(SCALARS, lambda cells: st.lists(cells) | st.dictionaries(st.text(), cells), max_leaves=4)
FINITE = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def frames(draw: st.DrawFn) -> DataFrame:
    columns = draw(st.lists(st.text(min_size=1), max_size=4, unique=True))
    cells = FINITE | st.text() | st.lists(FINITE, max_size=2) | st.dictionaries(st.text(), FINITE, max_size=2)
    row = st.tuples(*[cells for _ in columns]).map(list)
    frame = DataFrame(columns, draw(st.lists(row, max_size=5)))
    return frame.with_schema() if draw(st.booleans()) else frame


@given(frames())
def test_a_frame_comes_back_from_the_wire_as_it_was(frame: DataFrame) -> None:
    assert DataFrame.decode(frame.encode()) == frame


def test_a_schema_that_is_not_set_is_not_sent() -> None:
    assert DataFrame(["a"], [[1]]).encode() == b'{"columns":["a"],"data":[[1]]}'


def test_unknown_members_are_ignored_and_a_null_schema_is_none() -> None:
    frame = DataFrame.decode('{"columns": [], "data": [], "schema": null, "more": 1}')
    assert frame == DataFrame([], [])


@pytest.mark.parametrize(
    "members",
    [
        '"title":null,"description":null',
        '"title":"Rain"',
        "",
        '"unit":"mm"',
        '"title":"Rain","unit":"mm"',
        '"unit":null',
    ],
)
def test_what_is_said_of_a_column_comes_back_as_it_was_sent(members: str) -> None:
    field = '{"name":"a","type":"number"' + ("," + members if members else "") + "}"
    text = '{"columns":["a"],"data":[[1.5]],"schema":{"fields":[' + field + "]}}"
    assert DataFrame.decode(text).encode().decode() == text


def test_what_is_no_finite_number_is_null_in_json() -> None:
    frame = DataFrame(["a"], [[math.nan], [math.inf], [-math.inf]])
    assert msgspec.json.decode(frame.encode())["data"] == [[None], [None], [None]]
    assert frame.to_json() == '[{"a":null},{"a":null},{"a":null}]'


def test_numbers_of_numpy_and_dates_are_written() -> None:
    frame = DataFrame(["a"], [[np.float64(1.5)], [np.int64(2)], [np.array([1, 2])], [date(2025, 1, 31)]])
    assert msgspec.json.decode(frame.encode())["data"] == [[1.5], [2], [[1, 2]], ["2025-01-31"]]


def test_a_cell_that_json_does_not_know_is_named() -> None:
    with pytest.raises(InvalidFrame, match="row 1, column 'b': object <object"):
        DataFrame(["a", "b"], [[1, 2], [3, object()]]).encode()


@pytest.mark.parametrize(
    "columns, data, kind, loc, message",
    [
        (["a", "b"], [[1, 2], [3]], "ragged", ("body", "data", 1), "row 1 has 1 cells instead of 2"),
        (["a"], [[1, 2]], "ragged", ("body", "data", 0), "row 0 has 2 cells instead of 1"),
        ([], [[1]], "ragged", ("body", "data", 0), "row 0 has 1 cells instead of 0"),
        (["a", "a"], [], "duplicate", ("body", "columns", 1), 'column "a" stands more than once'),
        (["a", ""], [], "value_error", ("body", "columns", 1), "column 1 has an empty name"),
        ([1], [], "type", ("body", "columns", 0), "column 0 is named by 1, which is no text"),
    ],
)
def test_what_is_no_frame_is_refused_where_it_breaks(
    columns: Any, data: Any, kind: str, loc: tuple[str | int, ...], message: str
) -> None:
    frame = DataFrame(columns, data)
    (error,) = structure_errors(frame)
    assert (error.type, error.loc, error.msg) == (kind, loc, message)
    with pytest.raises(ValueError, match=message):
        frame.validate_structure()


def test_errors_say_where_in_a_body_the_frame_is() -> None:
    with pytest.raises(InvalidBody) as raised:
        check_structure(DataFrame(["a"], [[], []]), "historic")
    assert [error.pointer for error in raised.value.errors] == ["/historic/data/0", "/historic/data/1"]
    assert raised.value.detail == "row 0 has 0 cells instead of 1 (and 1 more)"


def test_no_more_than_a_hundred_errors_are_listed_and_no_row_is_repeated_whole() -> None:
    errors = structure_errors(DataFrame(["a"], [["x" * 10_000, 2]] * 1_000))
    assert len(errors) == 100
    assert len(msgspec.json.encode(errors)) < 50_000


def test_what_is_a_frame_passes() -> None:
    DataFrame([], []).validate_structure()
    DataFrame(["a"], [[None]]).validate_structure()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"columns": [1], "data": []}', '{"data": []}', '{"columns":["a"],"data":[1]}']
)
def test_other_json_is_no_frame(text: str) -> None:
    with pytest.raises(InvalidFrame, match="not a frame"):
        DataFrame.decode(text)


def test_json_of_a_ragged_frame_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="row 0 has 2 cells instead of 1"):
        DataFrame.decode('{"columns":["a"],"data":[[1,2]]}')


def test_a_type_that_clients_do_not_know_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="Invalid enum value 'date'"):
        DataFrame.decode('{"columns":[],"data":[],"schema":{"fields":[{"name":"a","type":"date"}]}}')


def test_a_schema_finds_its_fields() -> None:
    schema = FrameSchema([FieldSchema("a", "any")])
    assert schema.find("a") == FieldSchema("a", "any")
    assert schema.find("b") is None


def test_a_whole_number_too_large_for_a_client_is_still_json() -> None:
    assert DataFrame(["a"], [[2**64]]).encode() == b'{"columns":["a"],"data":[[18446744073709551616]]}'


def test_half_a_character_names_its_cell() -> None:
    with pytest.raises(InvalidFrame, match="row 0, column 'a'"):
        DataFrame(["a"], [["\ud800"]]).encode()


def test_a_column_name_that_is_no_text_for_json_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="not JSON"):
        DataFrame(["\ud800"], []).encode()


def measured() -> DataFrame:
    """A frame with a unit."""
    fields = [FieldSchema("place", "string"), FieldSchema("rain", "number", unit="mm")]
    return DataFrame(["place", "rain"], [["a", 1.5], ["b", None]], FrameSchema(fields))


OTHER = DataFrame(["place", "rain"], [["a", 9.5]], FrameSchema([FieldSchema("rain", "number", unit="inch")]))


@pytest.mark.parametrize(
    "name, made",
    [
        ("rain", measured().head(1)),
        ("rain", measured().sort("rain")),
        ("rain", measured().filter(lambda row: row["place"] == "a")),
        ("rain", measured().select(["rain"])),
        ("rain", measured().drop(["place"])),
        ("rain", measured().fillna(0.0)),
        ("rain", measured().dropna()),
        ("rain", measured().apply(lambda cell: cell and cell + 1, "rain")),
        ("rain", measured().add_column("more", [1, 2])),
        ("rain", measured().concat(measured())),
        ("rain", measured().deepcopy()),
        ("rain", measured().with_schema()),
        ("fall", measured().rename({"rain": "fall"})),
        ("rain_x", measured().merge(OTHER, on=["place"])),
        ("rain", DataFrame.decode(measured().encode())),
        ("rain", DataFrame.from_parquet(measured().to_parquet() or b"")),
    ],
)
def test_the_unit_of_a_column_stays_with_it(name: str, made: DataFrame) -> None:
    assert made.schema is not None
    field = made.schema.find(name)
    assert field is not None
    assert field.unit == "mm"


def test_frames_that_are_merged_bring_their_units_along() -> None:
    made = measured().merge(OTHER, on=["place"])
    assert made.schema is not None
    assert [(field.name, field.unit) for field in made.schema.fields][1:] == [("rain_x", "mm"), ("rain_y", "inch")]


def test_clients_that_send_no_unit_see_none() -> None:
    frame = DataFrame(["rain"], [[1.5]])
    assert b"unit" not in frame.with_schema().encode()
    assert b"unit" not in frame.with_schema().rename({"rain": "fall"}).encode()
