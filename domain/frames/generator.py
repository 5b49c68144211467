"""Believable sample data: what a client would send to train and to predict, the same for the same seed."""

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import Invalid
from domain.frames.frame import DataFrame
from domain.frames.geo import Feature, FeatureCollection, Point, Polygon, bounding_box
from domain.frames.periods import PeriodKind, periods
from domain.frames.schema import KNOWN_TYPES, ColumnType, FieldSchema, FrameSchema

FIRST_YEAR = 2020
MOST_CELLS = 5_000_000
"""What one payload may hold; a small request must not become a reply that fills the memory."""

_STEP, _WEST, _SOUTH = 0.8, 36.8, -1.3


class SampleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What sample data is asked for; a negative seed means data that nobody has seen before.

    Columns are those that every service knows, `feature_<i>`, the required covariates, those of the configuration and
    `extra_covariate_<i>`. `num_future_periods` is `num_periods` unless it is set."""

    num_locations: Annotated[int, Meta(ge=1, le=1_000)] = 5
    num_periods: Annotated[int, Meta(ge=1, le=5_000)] = 50
    num_future_periods: Annotated[int, Meta(ge=1, le=5_000)] | None = None
    num_features: Annotated[int, Meta(ge=0, le=100)] = 3
    num_extra_covariates: Annotated[int, Meta(ge=0, le=100)] = 0
    required_covariates: Sequence[str] = ()
    config_covariates: Sequence[str] = ()
    period_type: PeriodKind = "monthly"
    geo_type: Literal["polygon", "point"] = "polygon"
    include_geo: bool = False
    seed: int = -1

    @property
    def columns(self) -> list[str]:
        """The names of the columns, each once."""
        features = [f"feature_{index}" for index in range(self.num_features)]
        extra = [f"extra_covariate_{index}" for index in range(self.num_extra_covariates)]
        names = [*KNOWN_TYPES, *features, *self.required_covariates, *self.config_covariates, *extra]
        return list(dict.fromkeys(names))


class TrainSample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A payload for `$train`."""

    data: DataFrame
    config_id: str | UnsetType = UNSET
    geo: FeatureCollection | UnsetType = UNSET


class PredictSample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A payload for `$predict`, without the artifact."""

    historic: DataFrame
    future: DataFrame
    geo: FeatureCollection | UnsetType = UNSET


def sample_train(options: SampleOptions, config_id: str | UnsetType = UNSET) -> TrainSample:
    """A payload for `$train`. Raises `Invalid` when it would be too large."""
    return TrainSample(
        data=_frame(options, _rows(options, options.num_periods)), config_id=config_id, geo=_geo(options)
    )


def sample_predict(options: SampleOptions) -> PredictSample:
    """A payload for `$predict`: what a training with the same seed saw, and what follows it without cases.

    Raises `Invalid` when it would be too large."""
    following = options.num_periods if options.num_future_periods is None else options.num_future_periods
    rows = _rows(options, options.num_periods + following)
    border = options.num_periods * options.num_locations
    unknown = options.columns.index("disease_cases")
    for row in rows[border:]:
        row[unknown] = None
    return PredictSample(
        historic=_frame(options, rows[:border]), future=_frame(options, rows[border:]), geo=_geo(options)
    )


def _frame(options: SampleOptions, rows: list[list[Any]]) -> DataFrame:
    # Existing services send these nulls, where they leave them out elsewhere.
    types: list[tuple[str, ColumnType]] = [(name, KNOWN_TYPES.get(name, "number")) for name in options.columns]
    fields = [FieldSchema(name, kind, title=None, description=None) for name, kind in types]
    return DataFrame(options.columns, rows, FrameSchema(fields))


def _rows(options: SampleOptions, count: int) -> list[list[Any]]:
    cells = count * options.num_locations * len(options.columns)
    if cells > MOST_CELLS:
        raise Invalid(f"the sample would have {cells:,} cells, and {MOST_CELLS:,} are the most")
    seed = options.seed if options.seed >= 0 else Random().getrandbits(64)  # noqa: S311 - no secret
    calendar = periods(options.period_type, FIRST_YEAR, count)
    year = 52 if options.period_type == "weekly" else 12
    # Each place has numbers of its own, so that it stays what it is whatever else is asked for.
    series = [
        _series(f"location_{index}", calendar, year, options.columns, Random(f"{seed}/{index}"))  # noqa: S311
        for index in range(options.num_locations)
    ]
    return [row for rows in zip(*series, strict=True) for row in rows]


def _series(
    name: str, calendar: Sequence[str], year: int, columns: Sequence[str], random: Random
) -> Iterator[list[Any]]:
    population = random.randint(20_000, 900_000)
    rate = random.uniform(1, 4) / 10_000
    wet, warm = random.uniform(80, 160), random.uniform(18, 27)
    phase = random.uniform(-0.5, 0.5)
    others = {column: random.uniform(20, 80) for column in columns if column not in KNOWN_TYPES}
    for index, period in enumerate(calendar):
        season = math.sin(2 * math.pi * index / year + phase)
        rainfall = round(max(0.0, wet * (1 + 0.7 * season) + random.gauss(0, 15)), 2)
        expected = population * rate * (0.3 + rainfall / 150)
        values = {
            "time_period": period,
            "location": name,
            "disease_cases": float(max(0, round(expected + random.gauss(0, math.sqrt(expected))))),
            "population": population,
            "rainfall": rainfall,
            "mean_temperature": round(warm + 4 * season + random.gauss(0, 0.8), 2),
        }
        for column, level in others.items():
            values[column] = round(level * (1 + 0.3 * season) + random.gauss(0, 5), 2)
        yield [values[column] for column in columns]


def _geo(options: SampleOptions) -> FeatureCollection | UnsetType:
    return sample_geo(options.num_locations, options.geo_type) if options.include_geo else UNSET


def sample_geo(num_locations: int, geo_type: Literal["polygon", "point"] = "polygon") -> FeatureCollection:
    """Places on a square grid, named by their feature's id and in its properties."""
    across = math.ceil(math.sqrt(num_locations))
    down = math.ceil(num_locations / across)
    features = []
    for index in range(num_locations):
        west = _WEST + (index % across - across / 2) * _STEP
        south = _SOUTH + (index // across - down / 2) * _STEP
        name = f"location_{index}"
        shape = _square(west, south) if geo_type == "polygon" else _middle(west, south)
        features.append(Feature(type="Feature", geometry=shape, properties={"id": name}, id=name))
    places = FeatureCollection(type="FeatureCollection", features=features)
    box = bounding_box(places)
    places.bbox = UNSET if box is None else list(box)
    return places


def _square(west: float, south: float) -> Polygon:
    east, north = west + _STEP, south + _STEP
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return Polygon(coordinates=[[[round(value, 4) for value in corner] for corner in corners]])


def _middle(west: float, south: float) -> Point:
    return Point(coordinates=[round(west + _STEP / 2, 4), round(south + _STEP / 2, 4)])
