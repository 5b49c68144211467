"""Forecasts to combine, as they are and at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from domain.forecasts import Forecast, ForecastKind

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda number: round(number, 3))


def made(kind: ForecastKind, values: Any, labels: Sequence[Any] | None = None, **more: Any) -> Forecast:
    """A forecast of a kind, its rows for the months of 2024."""
    values = np.asarray(values, dtype=object if kind is ForecastKind.HARD else float)
    keys = [(f"2024-{number:02}", "a") for number in range(1, len(values) + 1)]
    usual = {
        ForecastKind.QUANTILE: LEVELS,
        ForecastKind.SAMPLE: tuple(f"sample_{index}" for index in range(values.shape[1])),
    }
    return Forecast(
        kind=kind, labels=tuple(labels or usual.get(kind, ("value",))), values=values, **{"keys": keys, **more}
    )


@st.composite
def members(draw: st.DrawFn, kind: ForecastKind, most: int = 4) -> dict[str, Forecast]:
    """Some members that are alike; samples may be of several numbers, and values are often equal."""
    rows = draw(st.integers(1, 3))
    found = {}
    for name in draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=most, unique=True)):
        width = {ForecastKind.POINT: 1, ForecastKind.QUANTILE: len(LEVELS)}.get(kind) or draw(st.integers(1, 6))
        elements = NUMBERS if draw(st.booleans()) else st.integers(0, 3).map(float)
        values = draw(arrays.arrays(float, (rows, width), elements=elements))
        found[name] = made(kind, np.sort(values, axis=1) if kind is ForecastKind.QUANTILE else values)
    return found


@st.composite
def weighted(draw: st.DrawFn, kind: ForecastKind) -> tuple[dict[str, Forecast], dict[str, float]]:
    """Members and their weights, some of which may be nothing."""
    found = draw(members(kind))
    weights = {name: float(draw(st.integers(0, 4))) for name in found}
    weights[min(weights)] += 1
    return found, weights
