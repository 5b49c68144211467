"""Forecasts as numbers: points, quantiles, samples or classes, one row for each period and location."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from domain.errors import Invalid
from domain.frames import ColumnType, DataFrame, FieldSchema, FrameSchema
from domain.frames.conversions import needed

KEYS = ("time_period", "location")
SAMPLE, QUANTILE, PROBABILITY, CLASS = "sample_", "quantile_", "probability_", "class"
BLOCK_CELLS = 1 << 20
"""How many numbers are worked on at a time (8 MiB), so that what is needed besides the forecasts stays small."""

Key = tuple[str, str]


class ForecastKind(enum.StrEnum):
    """What stands in the columns of a forecast."""

    POINT = "point"
    QUANTILE = "quantile"
    SAMPLE = "sample"
    SOFT = "soft"  # the probability of each class
    HARD = "hard"  # the class


class Forecast(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A forecast: `values` is an array of rows by columns, `keys` say which period and location a row is for.

    `labels` are the levels of quantiles, the names of classes, or those of the columns. `unit` is what the schema of
    the frame says, None when it says nothing.
    """

    kind: ForecastKind
    keys: list[Key]
    labels: tuple[Any, ...]
    values: Any
    unit: str | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def quantiles(self, levels: Sequence[float]) -> Any:
        """The quantiles at these levels, rows by levels; a point is all of its quantiles. Raises `Invalid` for classes.

        Between the levels of a quantile forecast they are interpolated; beyond its outermost ones they are these.
        """
        numpy = needed("numpy", "millrace[forecasts]")
        if self.kind is ForecastKind.SAMPLE:
            width = self.values.shape[1]
            found = [numpy.quantile(self.values[rows], levels, axis=1).T for rows in blocks(len(self), width)]
            return numpy.concatenate(found) if found else numpy.empty((0, len(levels)))
        if self.kind is ForecastKind.QUANTILE:
            return interpolated(numpy.asarray(self.values), self.labels, levels)
        if self.kind is ForecastKind.POINT:
            return numpy.repeat(numpy.asarray(self.values), len(levels), axis=1)
        raise Invalid("A forecast of classes has no quantiles")

    def point(self) -> Any:
        """One number for each row: the median, or the point itself. Raises `Invalid` for classes."""
        return self.quantiles([0.5])[:, 0]

    def to_frame(self) -> DataFrame:
        """The frame that says the same."""
        prefixes = {ForecastKind.QUANTILE: QUANTILE, ForecastKind.SOFT: PROBABILITY}
        prefix = prefixes.get(self.kind, "")
        columns = [
            *KEYS,
            *(f"{prefix}{label:.12g}" if isinstance(label, float) else f"{prefix}{label}" for label in self.labels),
        ]
        rows: list[list[Any]] = []
        for part in blocks(len(self), len(self.labels)):
            cells = self.values[part].tolist()
            rows += [[*key, *row] for key, row in zip(self.keys[part], cells, strict=True)]
        if self.unit is None:
            return DataFrame(columns, rows)
        kind: ColumnType = "string" if self.kind is ForecastKind.HARD else "number"
        fields = [FieldSchema(key, "string") for key in KEYS]
        fields += [FieldSchema(column, kind, unit=self.unit) for column in columns[len(KEYS) :]]
        return DataFrame(columns, rows, FrameSchema(fields))


def blocks(rows: int, cells: int) -> Iterator[slice]:
    """All rows of so many cells each, in pieces."""
    size = max(1, BLOCK_CELLS // max(1, cells))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def interpolated(values: Any, known: Sequence[float], levels: Sequence[float]) -> Any:
    """Quantiles at `levels`, from `values` at the rising levels `known`."""
    numpy = needed("numpy", "millrace[forecasts]")
    wanted = numpy.clip(numpy.asarray(levels, float), known[0], known[-1])
    after = numpy.clip(numpy.searchsorted(known, wanted), 1, max(len(known) - 1, 1))
    if len(known) == 1:
        return numpy.repeat(values, len(levels), axis=1)
    low, high = numpy.asarray(known)[after - 1], numpy.asarray(known)[after]
    share = (wanted - low) / (high - low)
    # In this form equal neighbours are exactly themselves.
    return values[:, after - 1] + (values[:, after] - values[:, after - 1]) * share


def by_key(forecast: Forecast) -> Mapping[Key, int]:
    """The row of each period and location."""
    return {key: row for row, key in enumerate(forecast.keys)}
