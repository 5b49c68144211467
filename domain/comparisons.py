"""Metrics of versions side by side: how they differ, and which is the better one."""

import re
from collections.abc import Mapping

import msgspec

_LOWER = frozenset(
    {"mae", "mse", "rmse", "mape", "smape", "mase", "crps", "wis", "brier", "loss", "error", "pinball", "deviance"}
)
_HIGHER = frozenset({"skill", "accuracy", "auc", "f1", "precision", "recall", "r2", "likelihood"})
_COVERAGE = re.compile(r"coverage_(\d{1,2})")


class MetricComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of several versions, by number.

    `differences` are to the first one that was asked for. `goal` says what is good: `lower`, `higher`, or near a
    number; without one, or with equals, no version is `better`.
    """

    name: str
    values: dict[int, float | None]
    differences: dict[int, float | None]
    goal: str | None
    better: int | None


class VersionComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison of versions finds."""

    model: str
    versions: list[int]
    metrics: list[MetricComparison]


def compare_metrics(metrics: Mapping[int, Mapping[str, float]]) -> list[MetricComparison]:
    """The metrics of versions, by name; the others are compared with the first version."""
    names = sorted({name for found in metrics.values() for name in found})
    return [_compared(name, {number: found.get(name) for number, found in metrics.items()}) for name in names]


def _compared(name: str, values: dict[int, float | None]) -> MetricComparison:
    first = next(iter(values.values()))
    differences = {
        number: None if value is None or first is None else value - first for number, value in values.items()
    }
    goal = goal_of(name)
    return MetricComparison(name=name, values=values, differences=differences, goal=goal, better=_better(goal, values))


def goal_of(name: str) -> str | None:
    """What is good for a metric of this name; None when nobody can tell."""
    if coverage := _COVERAGE.fullmatch(name):
        return f"near {int(coverage[1]) / 100:g}"
    words = set(name.lower().split("_"))
    is_lower, is_higher = bool(words & _LOWER), bool(words & _HIGHER)
    if is_lower == is_higher:
        return "higher" if is_higher and "skill" in words else None
    return "lower" if is_lower else "higher"


def _better(goal: str | None, values: Mapping[int, float | None]) -> int | None:
    known = {number: value for number, value in values.items() if value is not None}
    if goal is None or len(known) < 2:
        return None
    ranked = sorted((_rank(goal, value), number) for number, value in known.items())
    return ranked[0][1] if ranked[0][0] < ranked[1][0] else None


def _rank(goal: str, value: float) -> float:
    """The less, the better."""
    if goal.startswith("near "):
        return abs(value - float(goal.removeprefix("near ")))
    return value if goal == "lower" else -value
