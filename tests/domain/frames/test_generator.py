"""Sample data: the shape that clients know, the same for the same seed, and constants that stay constant."""

import random
from datetime import date
from itertools import pairwise
from statistics import correlation
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.frames import (
    SampleOptions,
    check_geo,
    check_structure,
    periods,
    sample_config,
    sample_geo,
    sample_predict,
    sample_train,
)

BASE = ["time_period", "location", "disease_cases", "population", "rainfall", "mean_temperature"]


def test_train_data_have_the_shape_that_clients_know() -> None:
    sample = sample_train(SampleOptions(num_locations=2, num_periods=3, num_features=1, seed=1), "01K")
    wire = msgspec.to_builtins(sample)
    assert list(wire) == ["data", "config_id"]
    assert sample.data.columns == [*BASE, "feature_0"]
    assert [row[:2] for row in sample.data.data] == [
        [period, location] for period in ("2020-01", "2020-02", "2020-03") for location in ("location_0", "location_1")
    ]
    types = ["string", "string", "number", "integer", "number", "number", "number"]
    assert wire["data"]["schema"]["fields"] == [
        {"name": name, "type": kind, "title": None, "description": None}
        for name, kind in zip(sample.data.columns, types, strict=True)
    ]
    assert {type(cell) for cell in sample.data["disease_cases"]} == {float}
    check_structure(sample.data)


def test_prediction_data_continue_what_a_training_with_the_seed_saw() -> None:
    options = SampleOptions(num_locations=3, num_periods=14, num_future_periods=2, seed=5, include_geo=True)
    sample = sample_predict(options)
    assert list(msgspec.to_builtins(sample)) == ["historic", "future", "geo"]
    assert sample.historic == sample_train(options).data
    assert sample.future.unique("time_period") == ["2021-03", "2021-04"]
    assert sample.future["disease_cases"] == [None] * 6
    assert sample.future.schema == sample.historic.schema
    whole = sample.historic.concat(sample.future)
    assert all(
        whole.filter(lambda row, name=name: row["location"] == name).nunique("population") == 1
        for name in whole.unique("location")
    )
    assert sample.historic.nunique("population") == 3


def test_there_are_as_many_future_periods_as_historic_ones_by_default() -> None:
    sample = sample_predict(SampleOptions(num_locations=1, num_periods=2, seed=0))
    assert (len(sample.historic), len(sample.future)) == (2, 2)


def test_the_same_seed_makes_the_same_data_and_another_one_others() -> None:
    before = random.getstate()
    assert sample_predict(SampleOptions(seed=1)) == sample_predict(SampleOptions(seed=1))
    assert sample_train(SampleOptions(seed=1)) != sample_train(SampleOptions(seed=2))
    assert sample_train(SampleOptions()) != sample_train(SampleOptions())
    assert random.getstate() == before


def test_a_place_stays_what_it_is_when_more_places_are_asked_for() -> None:
    few, many = (sample_train(SampleOptions(num_locations=count, seed=3)).data for count in (1, 4))
    assert many.filter(lambda row: row["location"] == "location_0").equals(few)


def test_covariates_are_columns_once() -> None:
    options = SampleOptions(
        num_features=1,
        num_extra_covariates=2,
        required_covariates=["rainfall", "wind"],
        config_covariates=["wind", "feature_0", "sun"],
    )
    assert options.columns == [*BASE, "feature_0", "wind", "sun", "extra_covariate_0", "extra_covariate_1"]
    assert sample_train(options).data.infer_types()["sun"] == "float"


def test_cases_follow_the_rain() -> None:
    data = sample_train(SampleOptions(num_locations=1, num_periods=60, seed=4)).data
    assert correlation(data["rainfall"], data["disease_cases"]) > 0.5
    assert min(data["disease_cases"]) >= 0
    assert min(data["rainfall"]) >= 0


def test_what_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(Invalid, match="would have 30,000,000 cells, and 5,000,000 are the most"):
        sample_train(SampleOptions(num_locations=1_000, num_periods=5_000, num_features=0))


def test_months_follow_each_other() -> None:
    assert periods("monthly", 2020, 14)[-3:] == ["2020-12", "2021-01", "2021-02"]


def test_weeks_are_those_of_the_calendar_also_in_long_years() -> None:
    weeks = periods("weekly", 2020, 370)
    assert weeks[0] == "2020-W01"
    assert weeks[51:54] == ["2020-W52", "2020-W53", "2021-W01"]
    assert "2026-W53" in weeks
    assert "2021-W53" not in weeks
    mondays = [date.fromisocalendar(int(week[:4]), int(week[6:]), 1) for week in weeks]
    assert {(later - earlier).days for earlier, later in pairwise(mondays)} == {7}
    assert sample_train(SampleOptions(period_type="weekly", num_periods=2)).data.unique("time_period") == weeks[:2]


@pytest.mark.parametrize("geo_type", ["polygon", "point"])
def test_places_have_names_and_a_box_around_them(geo_type: Any) -> None:
    places = sample_geo(5, geo_type)
    check_geo(places)
    assert [place.id for place in places.features] == [f"location_{index}" for index in range(5)]
    assert [place.properties for place in places.features] == [{"id": place.id} for place in places.features]
    assert len({msgspec.json.encode(place.geometry) for place in places.features}) == 5


def test_places_are_squares_near_nairobi() -> None:
    wire: Any = msgspec.to_builtins(sample_geo(2))
    ring = [[36.0, -1.7], [36.8, -1.7], [36.8, -0.9], [36.0, -0.9], [36.0, -1.7]]
    assert wire["features"][0]["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    assert wire["bbox"] == [36.0, -1.7, 37.6, -0.9]


SCHEMA: dict[str, Any] = {
    "properties": {
        "prediction_periods": {"type": "integer", "default": 3},
        "rate": {"type": "number", "default": 0.5},
        "is_on": {"type": "boolean", "default": False},
        "names": {"type": "array", "items": {"type": "string"}, "default": []},
        "text": {"type": "string"},
        "code": {"type": "string", "minLength": 8, "maxLength": 8},
        "count": {"type": "integer", "minimum": 5},
        "few": {"type": "integer", "exclusiveMaximum": 1},
        "share": {"type": "number", "maximum": 0.5},
        "positive": {"type": "number", "default": 0.1, "exclusiveMinimum": 0},
        "yes": {"type": "boolean"},
        "maybe": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        "either": {"type": ["null", "string"]},
        "nothing": {"type": "null"},
        "kind": {"enum": ["x", "y"]},
        "fixed": {"const": 7},
        "lags": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        "part": {"$ref": "#/$defs/Part"},
        "whole": {"allOf": [{"$ref": "#/$defs/Part"}]},
        "any": {},
    },
    "$defs": {"Part": {"type": "object", "properties": {"width": {"type": "integer"}, "part": {"type": "null"}}}},
}


def test_a_configuration_fits_its_schema() -> None:
    part = {"width": 1, "part": None}
    assert sample_config(SCHEMA) == {
        "prediction_periods": 3,
        "rate": 0.5,
        "is_on": False,
        "names": [],
        "text": "sample",
        "code": "samplexx",
        "count": 5,
        "few": 0,
        "share": 0.5,
        "positive": 0.1,
        "yes": True,
        "maybe": 1,
        "either": "sample",
        "nothing": None,
        "kind": "x",
        "fixed": 7,
        "lags": [1, 1],
        "part": part,
        "whole": part,
        "any": None,
    }


def test_variations_change_numbers_within_their_bounds() -> None:
    varied = sample_config(SCHEMA, 2, id="01K")
    assert varied["id"] == "01K"
    assert (varied["prediction_periods"], varied["rate"], varied["is_on"]) == (5, pytest.approx(0.7), False)
    assert (varied["count"], varied["few"], varied["share"]) == (5, 0, 0.5)


def test_a_schema_that_holds_itself_ends_somewhere() -> None:
    definition = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    assert (
        "next"
        in sample_config({"properties": {"node": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": definition}})["node"]
    )


@given(st.integers(0, 10_000))
def test_any_seed_makes_a_frame(seed: int) -> None:
    check_structure(sample_train(SampleOptions(num_periods=2, seed=seed)).data)
