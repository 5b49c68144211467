"""Forecasts out of frames and back."""

from typing import Any

import numpy as np
import pytest

from domain.errors import Incompatible, Invalid
from domain.forecasts import Forecast, ForecastKind, forecast_of
from domain.frames import DataFrame, FieldSchema, FrameSchema

KEYS = ["time_period", "location"]


def frame(columns: list[str], *rows: list[Any], unit: str | None = None) -> DataFrame:
    schema = FrameSchema([FieldSchema(name, "number", unit=unit) for name in columns]) if unit else None
    data = [[f"2024-{number:02}", "a", *row] for number, row in enumerate(rows, 1)]
    return DataFrame([*KEYS, *columns], data, schema)


@pytest.mark.parametrize(
    "columns, row, kind, labels",
    [
        (["cases"], [3], ForecastKind.POINT, ("cases",)),
        (["sample_size"], [3], ForecastKind.POINT, ("sample_size",)),
        (["sample_0", "sample_1"], [3, 4.5], ForecastKind.SAMPLE, ("sample_0", "sample_1")),
        (["quantile_0.9", "quantile_0.05"], [4.5, 3], ForecastKind.QUANTILE, (0.05, 0.9)),
        (["probability_low", "probability_high"], [0.25, 0.75], ForecastKind.SOFT, ("high", "low")),
        (["class"], ["low"], ForecastKind.HARD, ("class",)),
    ],
)
def test_the_columns_say_of_which_kind_a_forecast_is(
    columns: list[str], row: list[Any], kind: ForecastKind, labels: tuple[Any, ...]
) -> None:
    given = frame(columns, row, row)
    found = forecast_of(given)
    assert (found.kind, found.labels) == (kind, labels)
    assert found.keys == [("2024-01", "a"), ("2024-02", "a")]
    back = found.to_frame()
    assert sorted(back.columns) == sorted(given.columns)
    assert list(map(dict, back)) == list(map(dict, given))


def test_quantiles_are_in_the_order_of_their_levels_with_the_cells_that_belong_to_them() -> None:
    found = forecast_of(frame(["quantile_0.9", "quantile_0.05", "quantile_0.5"], [9, 1, 5]))
    assert found.labels == (0.05, 0.5, 0.9)
    assert found.values.tolist() == [[1, 5, 9]]


def test_a_unit_comes_from_the_schema_and_goes_back_into_it() -> None:
    found = forecast_of(frame(["cases"], [3], unit="cases per week"))
    assert found.unit == "cases per week"
    assert forecast_of(DataFrame.decode(found.to_frame().encode())).unit == "cases per week"


@pytest.mark.parametrize(
    "columns, row, message",
    [
        ([], [], "it has: none"),
        (["cases", "deaths"], [1, 2], "it has: cases, deaths"),
        (["cases"], ["3"], "\"cases\" of a in 2024-01 is '3', which is no finite number"),
        (["cases"], [True], '"cases" of a in 2024-01 is True, which is no finite number'),
        (["cases"], [None], '"cases" of a in 2024-01 is None, which is no finite number'),
        (["cases"], [float("nan")], "is nan, which is no finite number"),
        (["cases"], [10**400], "which is no finite number"),
        (["cases"], [[1]], r"is \[1\]|is '\[1\]', which is no finite number"),
        (["quantile_1.5"], [1], '"quantile_1.5" names no level between 0 and 1'),
        (["quantile_x"], [1], '"quantile_x" names no level between 0 and 1'),
        (["quantile_0.5", "quantile_0.50"], [1, 2], "are the same level"),
        (["quantile_0.1", "quantile_0.9"], [2, 1], '"quantile_0.1" of a in 2024-01 is 2, above "quantile_0.9"'),
        (["probability_a", "probability_b"], [1.5, -0.5], "is 1.5; a probability is between 0 and 1"),
        (["probability_a", "probability_b"], [0.5, 0.25], "of a in 2024-01 sum to 0.75 instead of 1"),
        (["class"], [None], "is None, which names no class"),
    ],
)
def test_what_is_no_forecast_is_refused_with_its_place(columns: list[str], row: list[Any], message: str) -> None:
    with pytest.raises(Invalid, match=f"^model.*{message}"):
        forecast_of(frame(columns, row), "model")


@pytest.mark.parametrize(
    "columns, row",
    [
        (["sample_0", "quantile_0.5"], [1, 2]),
        (["sample_0", "sample_size"], [1, 2]),
        (["class", "probability_a"], ["a", 1]),
        (["class", "cases"], ["a", 1]),
    ],
)
def test_columns_of_several_kinds_are_refused(columns: list[str], row: list[Any]) -> None:
    with pytest.raises(Incompatible, match=f"^model has columns of several kinds: .*{columns[0]}|{columns[1]}"):
        forecast_of(frame(columns, row), "model")


def test_columns_of_several_units_are_refused() -> None:
    given = frame(["sample_0", "sample_1"], [1, 2], unit="cases")
    assert given.schema is not None
    given.schema.fields[1].unit = "deaths"
    with pytest.raises(Incompatible, match="model: its columns have different units: cases, deaths"):
        forecast_of(given, "model")


def test_keys_are_needed_and_stand_once() -> None:
    with pytest.raises(Invalid, match='no column "location"'):
        forecast_of(DataFrame(["time_period", "cases"], [["2024-01", 1]]))
    with pytest.raises(Invalid, match="row 1: 2024-01 of a is there twice"):
        forecast_of(DataFrame([*KEYS, "cases"], [["2024-01", "a", 1], ["2024-01", "a", 2]]))


def test_quantiles_that_cross_by_a_last_digit_are_put_in_order() -> None:
    found = forecast_of(frame(["quantile_0.1", "quantile_0.9"], [0.1 + 0.2, 0.3]))
    assert found.values.tolist() == [[0.3, 0.1 + 0.2]]


def test_every_block_is_read_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.forecasts.forecast.BLOCK_CELLS", 4)
    rows: list[list[Any]] = [[number, number + 1] for number in range(7)]
    found = forecast_of(frame(["sample_0", "sample_1"], *rows))
    assert found.values.tolist() == rows
    assert found.quantiles([0, 1]).tolist() == rows
    assert [row[2:] for row in found.to_frame().data] == rows
    rows[6][1] = None
    with pytest.raises(Invalid, match='"sample_1" of a in 2024-07'):
        forecast_of(frame(["sample_0", "sample_1"], *rows))


def test_quantiles_of_samples_are_those_of_numpy_and_between_levels_there_are_lines() -> None:
    values = np.random.default_rng(1).gamma(2, 10, (5, 50))
    keys = [(f"2024-{number:02}", "a") for number in range(1, 6)]
    samples = Forecast(kind=ForecastKind.SAMPLE, keys=keys, labels=tuple(map(str, range(50))), values=values)
    levels = [0.1, 0.5, 0.77]
    np.testing.assert_allclose(samples.quantiles(levels), np.quantile(values, levels, axis=1).T)
    np.testing.assert_allclose(samples.point(), np.median(values, axis=1))
    given = forecast_of(frame(["quantile_0.2", "quantile_0.4", "quantile_0.8"], [0, 10, 20]))
    assert given.quantiles([0.01, 0.2, 0.3, 0.6, 0.8, 0.99])[0] == pytest.approx([0, 0, 5, 15, 20, 20])
    assert given.point()[0] == pytest.approx(12.5)
    assert forecast_of(frame(["class"], ["x"])).kind is ForecastKind.HARD
    with pytest.raises(Invalid, match="classes has no quantiles"):
        forecast_of(frame(["class"], ["x"])).quantiles([0.5])
