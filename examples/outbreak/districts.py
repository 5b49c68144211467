"""Ten years of a disease in six districts: made up, and believable. The same every time."""

from typing import Any

import msgspec
import numpy as np

from domain.frames import DataFrame, FeatureCollection

FIRST_YEAR, YEARS = 2015, 10
COLUMNS = ["time_period", "location", "disease_cases", "population", "rainfall", "mean_temperature"]
DISTRICTS = {
    "Asmara": (560_000, 520, 17.0, 38.93, 15.32),
    "Keren": (146_000, 450, 21.0, 38.45, 15.78),
    "Massawa": (54_000, 190, 29.5, 39.45, 15.61),
    "Mendefera": (63_000, 560, 18.5, 38.82, 14.89),
    "Barentu": (67_000, 510, 26.0, 37.59, 15.11),
    "Teseney": (52_000, 320, 28.5, 36.66, 15.11),
}
"""Population, millimetres of rain in a year, mean temperature, longitude and latitude."""


def periods(kind: str, first_year: int = FIRST_YEAR, years: int = YEARS) -> list[str]:
    """All months, or all weeks, of some years."""
    if kind == "weekly":
        return [f"{year}-W{week:02d}" for year in range(first_year, first_year + years) for week in range(1, 53)]
    return [f"{year}-{month:02d}" for year in range(first_year, first_year + years) for month in range(1, 13)]


def observed(kind: str = "monthly") -> DataFrame:
    """What was counted and measured, all districts of one period after the other."""
    chance = np.random.default_rng(2015)
    times = periods(kind)
    per_year = len(times) // YEARS
    series = {name: _series(chance, per_year, len(times), *facts[:3]) for name, facts in DISTRICTS.items()}
    rows: list[list[Any]] = []
    for index, time in enumerate(times):
        rows += [[time, name, *(column[index] for column in series[name])] for name in DISTRICTS]
    return DataFrame(COLUMNS, rows).with_schema()


def _series(
    chance: np.random.Generator, per_year: int, size: int, people: int, rain: float, warmth: float
) -> tuple[list[Any], ...]:
    year = np.arange(size) / per_year
    wet = np.clip(np.exp(-((((year % 1) - 0.58) / 0.11) ** 2)) + 0.04, 0, None)
    rainfall = rain * wet / wet[:per_year].sum() * chance.gamma(6, 1 / 6, size)
    temperature = warmth + 3.5 * np.sin(2 * np.pi * (year - 0.3)) + chance.normal(0, 0.6, size)
    population = people * 1.025**year
    soaked = sum(np.roll(rainfall, lag) for lag in (1, 2)) / (2 * rainfall.mean())
    drift = np.zeros(size)
    for index in range(1, size):
        drift[index] = 0.7 * drift[index - 1] + chance.normal(0, 0.18)
    level = 1.1 + 0.75 * np.log1p(soaked) + 0.05 * (temperature - warmth) + drift
    expected = np.exp(level) * population / 100_000 * 12 / per_year * 2
    cases = chance.negative_binomial(12, 12 / (12 + expected))
    return (
        cases.astype(float).tolist(),
        np.rint(population).astype(int).tolist(),
        np.round(rainfall, 1).tolist(),
        np.round(temperature, 2).tolist(),
    )


def split(frame: DataFrame, horizon: int) -> tuple[DataFrame, DataFrame, DataFrame]:
    """What is known before the last periods, those without their cases, and those with them."""
    times = sorted(frame.unique("time_period"))
    last = set(times[-horizon:])
    known = frame.filter(lambda row: row["time_period"] not in last)
    truth = frame.filter(lambda row: row["time_period"] in last)
    return known, truth.drop(["disease_cases"]), truth


def geometry() -> FeatureCollection:
    """Each district as a hexagon around its town."""
    features = []
    for name, (*_, longitude, latitude) in DISTRICTS.items():
        corners = [
            [round(float(longitude + 0.22 * np.cos(angle)), 4), round(float(latitude + 0.22 * np.sin(angle)), 4)]
            for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False)
        ]
        geometry = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        features.append({"type": "Feature", "id": name, "properties": {"id": name, "name": name}, "geometry": geometry})
    return msgspec.convert({"type": "FeatureCollection", "features": features}, FeatureCollection)
