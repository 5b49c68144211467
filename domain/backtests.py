"""The moments of the past at which models are tried, and what was known then."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from domain.errors import Invalid
from domain.forecasts import Key
from domain.frames import DataFrame

PERIOD, LOCATION = "time_period", "location"


class BacktestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`splits` moments, `stride` periods apart, the last one `horizon` periods before the end.

    Before each there must be `min_train_periods`; with `window` only so many periods before it are learned from.
    """

    horizon: int
    splits: int = 4
    stride: int = 1
    min_train_periods: int = 1
    window: int | None = None


def periods_in(frame: DataFrame, *others: str) -> list[str]:
    """The periods of a frame, in the order of time. Raises `Invalid` for names that, with `others`, have none."""
    cells = set(frame.get_column(PERIOD))
    if None in cells:
        raise Invalid(f'a row has no "{PERIOD}"')
    found = sorted(map(str, cells))
    shapes = {"".join("0" if sign.isdigit() else sign for sign in period) for period in (*found, *others)}
    if len(shapes) > 1:
        first, last = min(*found, *others), max(*found, *others)
        raise Invalid(f"periods are written in different ways: {first}, {last}; use 2024-03 or 2024-W09")
    return found


def cutoffs(frame: DataFrame, plan: BacktestPlan) -> list[str]:
    """The last known period of each split, the oldest first. Raises `Invalid` saying what is too short."""
    periods = periods_in(frame)
    newest = len(periods) - plan.horizon - 1
    first = newest - (plan.splits - 1) * plan.stride
    if first + 1 < plan.min_train_periods:
        most = max((newest + 1 - plan.min_train_periods) // plan.stride + 1, 0)
        raise Invalid(
            f"{len(periods)} periods are too few for {plan.splits} splits {plan.stride} apart, each with "
            f"{plan.horizon} periods to predict and at least {plan.min_train_periods} to learn from; "
            f"there could be {most} splits"
        )
    return [periods[first + split * plan.stride] for split in range(plan.splits)]


def training_rows(frame: DataFrame, cutoff: str, *, window: int | None = None) -> DataFrame:
    """What was known up to a period, or only the last `window` periods of it."""
    known = [period for period in periods_in(frame, cutoff) if period <= cutoff]
    if not known:
        raise Invalid(f"nothing is known up to {cutoff}")
    first = known[0] if window is None else known[-window:][0]
    column = frame.columns.index(PERIOD)
    return _with(frame, [row for row in frame.data if first <= str(row[column]) <= cutoff])


def future_rows(frame: DataFrame, cutoff: str, horizon: int, *, target: str) -> DataFrame:
    """The `horizon` periods after a period, without what is to be predicted."""
    asked = set(_after(frame, cutoff, horizon))
    column = frame.columns.index(PERIOD)
    chosen = _with(frame, [row for row in frame.data if str(row[column]) in asked])
    return chosen.drop([target]) if target in frame.columns else chosen


def truth_of(frame: DataFrame, cutoff: str, horizon: int, *, target: str) -> dict[Key, float]:
    """What came in the `horizon` periods after a period, where it is known."""
    asked = set(_after(frame, cutoff, horizon))
    if target not in frame.columns:
        raise Invalid(f'there is no column "{target}" to compare with among {", ".join(frame.columns)}')
    places = [frame.columns.index(name) for name in (PERIOD, LOCATION, target)]
    rows = ([row[place] for place in places] for row in frame.data)
    return {
        (str(period), str(location)): float(value)
        for period, location, value in rows
        if str(period) in asked and _is_number(value)
    }


def _after(frame: DataFrame, cutoff: str, horizon: int) -> Sequence[str]:
    return [period for period in periods_in(frame, cutoff) if period > cutoff][:horizon]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _with(frame: DataFrame, rows: list[list[Any]]) -> DataFrame:
    return DataFrame(frame.columns, rows, frame.schema)


def steps_after(frame: DataFrame, cutoff: str, horizon: int) -> dict[str, int]:
    """How many periods after a period each of those that follow is, counted from 1."""
    return {period: step for step, period in enumerate(_after(frame, cutoff, horizon), start=1)}
