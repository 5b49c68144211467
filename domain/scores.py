"""How good forecasts were, once it is known what came."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import Invalid
from domain.forecasts import Forecast, ForecastKind, Key, blocks

Array = NDArray[Any]
ALPHAS = (0.02, 0.05, *(round(0.1 * tenth, 1) for tenth in range(1, 10)))
"""1 minus the coverage of the central intervals that the weighted interval score is made of."""

COVERAGES = (0.5, 0.8, 0.95)


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of some forecasts, averaged over `n` rows; in units of what is forecast but for shares and the skill.

    `mae` is that of the median, `rmse` that of the mean (of quantiles the area under them); `crps` the continuous
    ranked probability score (of samples the estimator that scoringrules calls `nrg`, of quantiles twice the mean
    pinball loss, of points the absolute error), `wis` the weighted interval score; `coverage_…` the share of truths
    within the central interval, None where a forecast does not say where that ends. `skill` is 1 minus the CRPS divided
    by that of the baseline: above 0 is better than it. Classes have none of these.
    """

    n: int
    mae: float | None = None
    rmse: float | None = None
    crps: float | None = None
    wis: float | None = None
    coverage_50: float | None = None
    coverage_80: float | None = None
    coverage_95: float | None = None
    skill: float | None = None


class RowScores(msgspec.Struct, frozen=True, eq=False):
    """The scores of each row whose truth is known: `keys`, and arrays of that length by the name of the score."""

    keys: list[Key]
    values: dict[str, Array]
    missing: int = 0

    def metrics(self, chosen: Array | None = None, baseline_crps: float | None = None) -> Metrics:
        """The averages of all rows, or of those that a mask chooses."""
        return averaged(self.values, chosen, baseline_crps)


def averaged(values: Mapping[str, Array], chosen: Array | None = None, baseline_crps: float | None = None) -> Metrics:
    """Averages of arrays of scores, of the rows that a mask chooses."""
    taken = {name: array if chosen is None else array[chosen] for name, array in values.items()}
    count = len(taken["error"])
    if not count:
        return Metrics(n=0)
    mean = {name: float(np.mean(array)) for name, array in taken.items()}
    skill = None
    if baseline_crps is not None and baseline_crps > 0:
        skill = 1 - mean["crps"] / baseline_crps
    return Metrics(
        n=count,
        mae=mean["error"],
        rmse=float(np.sqrt(mean["squared"])),
        crps=mean["crps"],
        wis=mean["wis"],
        coverage_50=_known(mean["inside_50"]),
        coverage_80=_known(mean["inside_80"]),
        coverage_95=_known(mean["inside_95"]),
        skill=skill,
    )


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def scores_of(forecast: Forecast, truth: Mapping[Key, float]) -> RowScores:
    """The scores of each row whose truth is known; `missing` counts the others. Raises `Invalid` for classes."""
    if forecast.kind in {ForecastKind.SOFT, ForecastKind.HARD}:
        raise Invalid("A forecast of classes has no such scores")
    # What is not known may also stand there as no finite number.
    rows = np.array([row for row, key in enumerate(forecast.keys) if isfinite(truth.get(key, nan))], dtype=np.intp)
    keys = [forecast.keys[row] for row in rows]
    observed = np.array([truth[key] for key in keys], dtype=float)
    found: dict[str, list[Array]] = {}
    for part in blocks(len(keys), forecast.values.shape[1]):
        values = np.asarray(forecast.values[rows[part]], dtype=float)
        for name, array in _scored(forecast, values, observed[part]).items():
            found.setdefault(name, []).append(array)
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    return RowScores(keys, arrays or {name: np.empty(0) for name in NAMES}, len(forecast) - len(keys))


NAMES = ("error", "squared", "crps", "wis", "inside_50", "inside_80", "inside_95", "pit")


def _scored(forecast: Forecast, values: Array, truth: Array) -> dict[str, Array]:
    block = msgspec.structs.replace(forecast, keys=forecast.keys[: len(values)], values=values)
    median = block.point()
    mean = mean_of_quantiles(values, forecast.labels) if forecast.kind is ForecastKind.QUANTILE else values.mean(axis=1)
    inside = {}
    for coverage in COVERAGES:
        if not _reaches(forecast, coverage):
            inside[f"inside_{100 * coverage:.0f}"] = np.full(len(values), nan)
            continue
        # A last digit decides whether a truth at the very end of an interval is within it.
        low, high = block.quantiles([round((1 - coverage) / 2, 9), round((1 + coverage) / 2, 9)]).T
        inside[f"inside_{100 * coverage:.0f}"] = ((low <= truth) & (truth <= high)).astype(float)
    return {
        "error": np.abs(median - truth),
        "squared": (mean - truth) ** 2,
        "crps": _crps(forecast, values, truth),
        "wis": weighted_interval_score(block, truth),
        **inside,
        "pit": _pit(forecast, values, truth),
    }


def _reaches(forecast: Forecast, coverage: float) -> bool:
    """Whether a forecast says where the central interval ends: quantiles may not go as far, and a point has none."""
    if forecast.kind is ForecastKind.QUANTILE:
        outside = (1 - coverage) / 2 + 1e-9
        return bool(forecast.labels[0] <= outside and forecast.labels[-1] >= 1 - outside)
    return forecast.kind is ForecastKind.SAMPLE


def mean_of_quantiles(quantiles: Array, levels: Sequence[float]) -> Array:
    """The area under the quantiles, which are joined by lines; what is beyond the outermost is taken to be at them."""
    edges = np.array([0.0, *levels, 1.0])
    widths = np.diff(edges)
    weights = (widths[:-1] + widths[1:]) / 2
    weights[[0, -1]] += np.array([widths[0], widths[-1]]) / 2
    return np.asarray(quantiles @ weights)


def _crps(forecast: Forecast, values: Array, truth: Array) -> Array:
    if forecast.kind is ForecastKind.SAMPLE:
        return crps_of_samples(values, truth)
    if forecast.kind is ForecastKind.QUANTILE:
        return crps_of_quantiles(values, np.asarray(forecast.labels, dtype=float), truth)
    return np.asarray(np.abs(values[:, 0] - truth))


def crps_of_samples(samples: Array, truth: Array) -> Array:
    """E|X - y| - E|X - X'| / 2 over all pairs of samples, rows by samples."""
    ordered = np.sort(samples, axis=1)
    size = ordered.shape[1]
    ranks = 2 * np.arange(1, size + 1) - size - 1
    spread = ordered @ ranks / size**2
    return np.asarray(np.abs(ordered - truth[:, None]).mean(axis=1) - spread)


def crps_of_quantiles(quantiles: Array, levels: Array, truth: Array) -> Array:
    """Twice the mean of the pinball losses at the levels, rows by levels."""
    beyond = truth[:, None] - quantiles
    return np.asarray(2 * np.maximum(levels * beyond, (levels - 1) * beyond).mean(axis=1))


def weighted_interval_score(forecast: Forecast, truth: Array) -> Array:
    """The median's error and the interval scores at `ALPHAS`, weighted as Bracher et al. (2021) do.

    Of a quantile forecast those intervals count both of whose ends it has; a point has none, so it is its error.
    """
    alphas = np.array(_alphas(forecast))
    levels = np.round([0.5, *(alphas / 2), *(1 - alphas / 2)], 9)
    found = forecast.quantiles(levels.tolist())
    total = 0.5 * np.abs(truth - found[:, 0])
    for index, alpha in enumerate(alphas, start=1):
        low, high = found[:, index], found[:, index + len(alphas)]
        outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        total = total + alpha / 2 * (high - low) + outside
    return np.asarray(total / (len(alphas) + 0.5))


def _alphas(forecast: Forecast) -> Sequence[float]:
    if forecast.kind is ForecastKind.SAMPLE:
        return ALPHAS
    if forecast.kind is ForecastKind.POINT:
        return ()
    known = {round(level, 9) for level in forecast.labels}
    return sorted(round(2 * level, 9) for level in known if level < 0.5 and round(1 - level, 9) in known)


def _pit(forecast: Forecast, values: Array, truth: Array) -> Array:
    """The share of the forecast below the truth; uniform over many rows when it is calibrated."""
    if forecast.kind is ForecastKind.QUANTILE:
        levels = np.asarray(forecast.labels, dtype=float)
        rows = zip(truth, values, strict=True)
        return np.array([np.interp(seen, row, levels, left=0.0, right=1.0) for seen, row in rows])
    below, equal = values < truth[:, None], values == truth[:, None]
    return np.asarray(below.mean(axis=1) + equal.mean(axis=1) / 2)


def histogram(pit: Array, bins: int = 10) -> list[float]:
    """The share of values in each of `bins` equal parts of 0 to 1."""
    counts, _ = np.histogram(np.clip(pit, 0, 1), bins=bins, range=(0, 1))
    total = counts.sum()
    return [float(count) for count in (counts / total if total else counts)]
