"""Two ways to forecast how many people fall ill: by the season alone, and by the season and the climate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.frames import DataFrame

Vector = NDArray[np.float64]
LAGS = (1, 2, 3)
COVARIATES = ("rainfall", "mean_temperature")


def season_of(period: str) -> float:
    """How much of the year is over: `2024-03` is 2/12, `2024-W10` 9/52."""
    _, _, rest = period.partition("-")
    return (int(rest[1:]) - 1) / 52 if rest.startswith("W") else (int(rest) - 1) / 12


def season_index(period: str) -> str:
    """The month or the week of a period."""
    return period.partition("-")[2]


def incidence(cases: Sequence[float | None], population: Sequence[float]) -> Vector:
    """Logarithm of cases per 100,000 people; not a number where nobody has counted."""
    counted = np.array([np.nan if value is None else float(value) for value in cases])
    return np.log1p(counted / np.asarray(population, dtype=float) * 100_000)


def cases_of(level: Vector, population: float) -> Vector:
    """Cases again, whole and not negative."""
    return np.maximum(np.rint(np.expm1(level) * population / 100_000), 0)


def by_location(frame: DataFrame) -> dict[str, dict[str, list[Any]]]:
    """The columns of a frame for each location, in the order of time."""
    ordered = frame.sort("time_period")
    places = ordered.get_column("location")
    columns = {name: ordered.get_column(name) for name in ordered.columns}
    return {
        str(place): {
            name: [cell for cell, at in zip(cells, places, strict=True) if at == place]
            for name, cells in columns.items()
        }
        for place in ordered.unique("location")
    }


# The season alone


def fit_seasonal(frame: DataFrame) -> dict[str, Any]:
    """For each place and each month or week the incidences that there have been."""
    model: dict[str, Any] = {}
    for place, columns in by_location(frame).items():
        seen: dict[str, list[float]] = {}
        for period, level in zip(
            columns["time_period"], incidence(columns["disease_cases"], columns["population"]), strict=True
        ):
            if not np.isnan(level):
                seen.setdefault(season_index(period), []).append(float(level))
        model[place] = seen
    return {"method": "seasonal", "places": model}


def predict_seasonal(
    model: Mapping[str, Any], future: DataFrame, samples: int, chance: np.random.Generator
) -> list[list[Any]]:
    """Rows of period, place and samples, drawn from what the same season was like and smoothed a little."""
    rows = []
    for place, columns in by_location(future).items():
        known = model["places"].get(place) or _pooled(model["places"])
        every = [level for levels in known.values() for level in levels] or [0.0]
        for period, population in zip(columns["time_period"], columns["population"], strict=True):
            levels = np.asarray(known.get(season_index(period), every))
            spread = levels.std(ddof=1) if len(levels) > 1 else np.std(every)
            drawn = chance.choice(levels, samples) + chance.normal(0, 0.3 * spread + 0.05, samples)
            rows.append([period, place, *cases_of(drawn, population).tolist()])
    return rows


def _pooled(places: Mapping[str, Mapping[str, list[float]]]) -> dict[str, list[float]]:
    pooled: dict[str, list[float]] = {}
    for seen in places.values():
        for season, levels in seen.items():
            pooled.setdefault(season, []).extend(levels)
    return pooled


# The season and the climate


def features(
    columns: Mapping[str, Sequence[Any]], before: Mapping[str, Sequence[float]], extra: Sequence[str]
) -> Vector:
    """Two waves of the season, and rain, warmth and other covariates of this period and of those before it."""
    turn = 2 * np.pi * np.array([season_of(period) for period in columns["time_period"]])
    made = [np.ones_like(turn), np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    for name in (*COVARIATES, *extra):
        line = np.array([*before.get(name, []), *(0.0 if cell is None else float(cell) for cell in columns[name])])
        size = len(turn)
        for lag in (0, *LAGS):
            shifted = np.concatenate([np.full(lag, line[0]), line[: len(line) - lag]])
            made.append(shifted[-size:])
    return np.column_stack(made)


def fit_regression(frame: DataFrame, penalty: float, extra: Sequence[str] = ()) -> dict[str, Any]:
    """A ridge regression for each place; what it leaves unexplained, and how long that lasts, is kept for samples."""
    places = {}
    for place, columns in by_location(frame).items():
        design = features(columns, {}, extra)
        level = incidence(columns["disease_cases"], columns["population"])
        known = ~np.isnan(level)
        centre, scale = design[known].mean(axis=0), design[known].std(axis=0)
        scale[scale == 0] = 1.0
        centre[0] = 0.0
        standard = (design - centre) / scale
        weight = penalty * np.eye(standard.shape[1])
        weight[0, 0] = 0.0
        gram = standard[known].T @ standard[known] + weight
        coefficients = np.linalg.solve(gram, standard[known].T @ level[known])
        residuals = (level - standard @ coefficients)[known]
        # The fit has seen these points, so what is left of them is smaller than what future ones will leave.
        freedom = float(np.trace(np.linalg.solve(gram, standard[known].T @ standard[known])))
        residuals = residuals * np.sqrt(len(residuals) / max(len(residuals) - freedom, 1.0))
        persistence = _persistence(residuals)
        places[place] = {
            "coefficients": coefficients.tolist(),
            "centre": centre.tolist(),
            "scale": scale.tolist(),
            "residuals": residuals.tolist(),
            "persistence": persistence,
        }
    return {"method": "regression", "extra": list(extra), "places": places}


def _persistence(residuals: Vector) -> float:
    if len(residuals) < 3 or not residuals.any():
        return 0.0
    return float(np.clip(residuals[1:] @ residuals[:-1] / (residuals @ residuals), 0.0, 0.95))


def predict_regression(
    model: Mapping[str, Any], historic: DataFrame, future: DataFrame, samples: int, chance: np.random.Generator
) -> list[list[Any]]:
    """Rows of period, place and samples: what is expected, and shocks that fade as those of the past did."""
    past = by_location(historic)
    rows = []
    for place, columns in by_location(future).items():
        fitted = model["places"].get(place)
        if fitted is None:
            raise ValueError(
                f'location "{place}" was not in the training data; there were: {", ".join(model["places"])}'
            )
        names = (*COVARIATES, *model["extra"])
        history = past.get(place, {})
        before = {
            name: [0.0 if cell is None else float(cell) for cell in history.get(name, [])][-max(LAGS) :]
            for name in names
        }
        design = (features(columns, before, model["extra"]) - np.array(fitted["centre"])) / np.array(fitted["scale"])
        expected = design @ np.array(fitted["coefficients"])
        residuals, persistence = np.array(fitted["residuals"]), fitted["persistence"]
        shocks = residuals - persistence * np.concatenate([[0.0], residuals[:-1]])
        state = np.full(samples, residuals[-1])
        for index, (period, population) in enumerate(zip(columns["time_period"], columns["population"], strict=True)):
            state = persistence * state + chance.choice(shocks, samples)
            rows.append([period, place, *cases_of(expected[index] + state, population).tolist()])
    return rows
