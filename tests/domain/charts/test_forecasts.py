"""Charts of forecasts, backtests and places: every kind of them is a spec, and holds what it should."""

from itertools import pairwise
from typing import Any

import pytest

from domain.backtest_reports import BacktestReport
from domain.charts import backtests, check_spec
from domain.charts.asked import suitable
from domain.charts.forecasts import Around, comparison, fan, known_of
from domain.charts.maps import Located, choropleth
from domain.errors import Invalid
from domain.forecasts import Forecast, forecast_of
from domain.frames import DataFrame, FeatureCollection, decode_geo, sample_geo
from domain.scores import Metrics
from tests.domain.charts import grammar

KEYS = ["time_period", "location"]


def forecast(columns: list[str], cells: list[Any], places: int = 1) -> Forecast:
    rows = [[f"2024-0{month}", f"p{place}", *cells] for place in range(places) for month in (1, 2)]
    return forecast_of(DataFrame([*KEYS, *columns], rows))


SAMPLES = (["sample_0", "sample_1", "sample_2"], [1, 2, 6])
QUANTILES = (["quantile_0.1", "quantile_0.5", "quantile_0.9"], [1, 2, 6])
POINT = (["disease_cases"], [2])


@pytest.mark.parametrize("columns, cells", [SAMPLES, QUANTILES, POINT])
@pytest.mark.parametrize("places", [1, 2, 20])
def test_every_kind_of_forecast_has_a_fan(columns: list[str], cells: list[Any], places: int) -> None:
    known = {("2023-12", "p0"): 3.0, ("2024-01", "p0"): 4.0, ("2024-03", "p0"): 9.0, ("2023-12", "elsewhere"): 1.0}
    spec = grammar.check(fan(forecast(columns, cells, places), Around(known=known, target="cases", title="T")))
    check_spec(spec, 1_000)
    rows = spec["data"]["values"]
    assert [row["median"] for row in rows if "median" in row] == [2.0] * 2 * min(places, 12)
    for row in rows:
        if "median" in row:
            assert row["low_95"] <= row["low_80"] <= row["low_50"] <= row["median"] <= row["high_50"] <= row["high_95"]
    # What is known later than the forecast, or of other places, is not drawn; what falls together is one row.
    assert sorted(row["time_period"] for row in rows if "observed" in row) == ["2023-12", "2024-01"]
    assert len(rows) == 2 * min(places, 12) + 1
    assert ("8 more locations not shown" in spec["description"]) == (places == 20)


def test_classes_have_no_fan() -> None:
    with pytest.raises(Invalid, match="classes has no quantiles"):
        fan(forecast(["class"], ["high"]), Around())


def test_forecasts_of_several_models_are_told_apart_by_colour() -> None:
    spec = grammar.check(comparison({"a": forecast(*SAMPLES), "b": forecast(*QUANTILES)}, Around(target="cases")))
    assert spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["a", "b"]
    assert "a: median from 2 to 2. b: median from 2 to 2." in spec["description"]
    with pytest.raises(Invalid, match="9 forecasts are to be compared; 1 to 8"):
        comparison({str(number): forecast(*POINT) for number in range(9)}, Around())


def test_unknown_and_too_many_locations_are_said() -> None:
    with pytest.raises(Invalid, match="Location 'x' not found in data"):
        fan(forecast(*POINT), Around(locations=["x"]))
    with pytest.raises(Invalid, match="13 locations are asked for; a chart shows 12"):
        fan(forecast(*POINT, places=20), Around(locations=[f"p{number}" for number in range(13)]))


def test_what_is_known_is_found_by_its_target() -> None:
    frame = DataFrame([*KEYS, "cases", "rain"], [["2024-01", "p0", 3, 1.0], ["2024-02", "p0", None, 1.0]])
    assert known_of(frame, "cases") == ({("2024-01", "p0"): 3}, "cases")
    with pytest.raises(Invalid, match="say which column is the target: the history has cases, rain"):
        known_of(frame, None)
    with pytest.raises(Invalid, match="no column 'location'"):
        known_of(DataFrame(["time_period"], []), None)


def report(skill: float | None) -> BacktestReport:
    one = Metrics(n=4, coverage_50=0.5, skill=skill)
    names = ["m", "seasonal_naive"]
    return BacktestReport(
        target="cases",
        horizon=2,
        cutoffs=["2023-12"],
        models=["m"],
        overall=dict.fromkeys(names, one),
        by_horizon={name: [one, one] for name in names},
        by_location={},
        by_split={},
        pit={name: [4, 0, 0, 0, 0, 0, 0, 0, 0, 0] for name in names},
    )


def test_backtests_have_charts_also_when_scores_are_missing() -> None:
    for skill in (0.25, None):
        spec = grammar.check(backtests.skill(report(skill), "T", 300, None))
        assert len(spec["data"]["values"]) == (2 if skill else 0)
        assert ("no skill is known" in spec["description"]) == (skill is None)
        spec = grammar.check(backtests.calibration(report(skill), None, None, None))
        check_spec(spec, 1_000)
        assert "m: 50% within the 50 % interval, 4 forecasts" in spec["description"]
        assert [row["share"] for row in spec["hconcat"][0]["data"]["values"]][:2] == [1.0, 0.0]


def square(*corners: list[float]) -> Any:
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def test_rings_run_as_projections_want_them_and_places_are_found_by_what_fits() -> None:
    either_way = [[0, 0], [1, 0], [1, 1], [0, 1]]
    features = [
        {"type": "Feature", "geometry": square(*ring), "properties": {"code": name, "population": 1}}
        for ring, name in ((either_way, "p0"), (either_way[::-1], "p1"))
    ]
    places: FeatureCollection = decode_geo({"type": "FeatureCollection", "features": features})
    spec = grammar.check(choropleth(Located(values={"p0": 1, "p1": None, "p9": 3}, target="cases"), places))
    rings = [feature["geometry"]["coordinates"][0] for feature in spec["data"]["values"]]
    assert all(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) < 0 for ring in rings)
    assert "1 place without a number. 1 location not on the map." in spec["description"]
    with pytest.raises(Invalid, match="No location"):
        choropleth(Located(values={"x": 1}, target="cases"), places)
    with pytest.raises(Invalid, match="None of the places has a number"):
        choropleth(Located(values={"location_0": None}, target="cases"), sample_geo(1))


@pytest.mark.parametrize(
    "columns, row, expected",
    [
        (["location", "time_period", "rain"], ["a", "2024-01", 1.5], ("line", "time_period", "rain", "location")),
        (["place", "n"], ["a", 1], ("bar", "place", "n", None)),
        (["n"], [1], ("histogram", "n", None, None)),
        ([], [], ("histogram", None, None, None)),
    ],
)
def test_a_table_suits_a_chart(columns: list[str], row: list[Any], expected: tuple[Any, ...]) -> None:
    found = suitable(DataFrame(columns, [row] if row else []))
    assert (found.chart, found.x, found.y, found.color) == expected
