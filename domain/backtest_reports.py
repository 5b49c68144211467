"""What a backtest has found: scores of each model beside a baseline, as a whole and in parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.backtests import LOCATION, PERIOD, steps_after, training_rows, truth_of
from domain.errors import Invalid
from domain.forecasts import Forecast, ForecastKind, Key
from domain.frames import DataFrame
from domain.scores import Metrics, RowScores, averaged, histogram, scores_of

BASELINE = "seasonal_naive"
BASELINE_LEVELS = (0.01, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)
Array = NDArray[Any]


class BacktestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of `models` and of the `baseline`, which is among the keys of everything below.

    `by_horizon` is a list for each, whose first member is one period ahead; `by_location` and `by_split` are by name
    and by cut-off. `pit` is the histogram of where truths lay in the forecasts, ten equal parts from 0 to 1. `missing`
    counts forecasts whose truth is not known.
    """

    target: str
    horizon: int
    cutoffs: list[str]
    models: list[str]
    baseline: str = BASELINE
    overall: dict[str, Metrics]
    by_horizon: dict[str, list[Metrics]]
    by_location: dict[str, dict[str, Metrics]]
    by_split: dict[str, dict[str, Metrics]]
    pit: dict[str, list[float]]
    missing: int = 0


class _Scored(msgspec.Struct, frozen=True):
    """The scores of one model in all splits, and for each row its split, its step and its location."""

    values: dict[str, Array]
    splits: Array
    steps: Array
    places: Array


class _Part(msgspec.Struct, frozen=True):
    """Those rows whose split, step or location is a certain one."""

    name: str
    value: str | int

    def of(self, scored: _Scored) -> Array:
        return np.asarray(getattr(scored, self.name) == self.value)


def report_of(
    target: str, horizon: int, cutoffs: Sequence[str], forecasts: Mapping[tuple[str, str], Forecast], frame: DataFrame
) -> BacktestReport:
    """The report on forecasts by model and cut-off. Raises `Invalid` naming a forecast that lacks what was asked."""
    models = list(dict.fromkeys(model for model, _ in forecasts))
    if BASELINE in models:
        raise Invalid(f'"{BASELINE}" is the name of the baseline: call the model something else')
    parts: dict[str, list[tuple[str, RowScores, Mapping[str, int]]]] = {name: [] for name in (*models, BASELINE)}
    missing = 0
    for cutoff in cutoffs:
        truth = truth_of(frame, cutoff, horizon, target=target)
        steps = steps_after(frame, cutoff, horizon)
        naive = seasonal_naive(training_rows(frame, cutoff), list(truth), target)
        for name in parts:
            forecast = naive if name == BASELINE else forecasts.get((name, cutoff))
            if forecast is None:
                raise Invalid(f"there is no forecast of {name} after {cutoff}")
            _check_complete(name, cutoff, forecast, truth)
            scores = scores_of(forecast, truth)
            missing += scores.missing if name != BASELINE else 0
            parts[name].append((cutoff, scores, steps))
    scored = {name: _joined(found) for name, found in parts.items()}
    base = scored[BASELINE]
    places = sorted(set(base.places.tolist()))
    return BacktestReport(
        target=target,
        horizon=horizon,
        cutoffs=list(cutoffs),
        models=models,
        overall={name: _metrics(one, base) for name, one in scored.items()},
        by_horizon={
            name: [_metrics(one, base, _Part("steps", step)) for step in range(1, horizon + 1)]
            for name, one in scored.items()
        },
        by_location={
            name: {place: _metrics(one, base, _Part("places", place)) for place in places}
            for name, one in scored.items()
        },
        by_split={
            name: {cutoff: _metrics(one, base, _Part("splits", cutoff)) for cutoff in cutoffs}
            for name, one in scored.items()
        },
        pit={name: histogram(one.values["pit"]) for name, one in scored.items()},
        missing=missing,
    )


def _check_complete(name: str, cutoff: str, forecast: Forecast, truth: Mapping[Key, float]) -> None:
    if lacking := sorted(truth.keys() - set(forecast.keys)):
        period, place = lacking[0]
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise Invalid(f"the forecast of {name} after {cutoff} lacks {period} of {place}{more}")


def _joined(found: Sequence[tuple[str, RowScores, Mapping[str, int]]]) -> _Scored:
    names = found[0][1].values.keys()
    return _Scored(
        {name: np.concatenate([scores.values[name] for _, scores, _ in found]) for name in names},
        np.array([cutoff for cutoff, scores, _ in found for _ in scores.keys]),
        np.array([steps[period] for _, scores, steps in found for period, _ in scores.keys], dtype=int),
        np.array([place for _, scores, _ in found for _, place in scores.keys]),
    )


def _metrics(one: _Scored, base: _Scored, part: _Part | None = None) -> Metrics:
    """The averages of some rows, and how much better they are than the same rows of the baseline."""
    baseline = averaged(base.values, part.of(base) if part is not None else None)
    return averaged(one.values, part.of(one) if part is not None else None, baseline.crps)


def seasonal_naive(known: DataFrame, asked: Sequence[Key], target: str) -> Forecast:
    """For each period and location what the same month or week was like in the years before, as quantiles.

    A location without such a year gets all that is known of it, one that is not known at all what is known of all.
    """
    places = [known.columns.index(name) for name in (PERIOD, LOCATION, target)]
    seasons: dict[tuple[str, str], list[float]] = {}
    locations: dict[str, list[float]] = {}
    for row in known.data:
        period, location, value = (row[place] for place in places)
        if isinstance(value, int | float) and value == value:
            seasons.setdefault((_season(str(period)), str(location)), []).append(float(value))
            locations.setdefault(str(location), []).append(float(value))
    every = [value for values in locations.values() for value in values]
    if not every:
        raise Invalid(f'there is no "{target}" in the data to compare with')
    rows = [seasons.get((_season(period), location)) or locations.get(location) or every for period, location in asked]
    values = np.array([np.quantile(row, BASELINE_LEVELS) for row in rows]).reshape(len(rows), len(BASELINE_LEVELS))
    return Forecast(kind=ForecastKind.QUANTILE, keys=list(asked), labels=BASELINE_LEVELS, values=values)


def _season(period: str) -> str:
    """The month or the week of a period; a day has that of its month, and the rare week 53 that of the one before."""
    season = period.partition("-")[2][: 3 if "W" in period else 2]
    return "W52" if season == "W53" else season
