"""Metrics side by side: what is good for which, and who is better."""

import pytest

from domain.comparisons import compare_metrics, goal_of


@pytest.mark.parametrize(
    "name, goal",
    [
        ("wis", "lower"),
        ("mean_wis", "lower"),
        ("CRPS_log", "lower"),
        ("rmse", "lower"),
        ("skill", "higher"),
        ("crps_skill", "higher"),
        ("accuracy", "higher"),
        ("coverage_80", "near 0.8"),
        ("coverage_5", "near 0.05"),
        ("coverage", None),
        ("n", None),
        ("accuracy_loss", None),
        ("wisdom", None),
    ],
)
def test_a_name_says_what_is_good(name: str, goal: str | None) -> None:
    assert goal_of(name) == goal


@pytest.mark.parametrize(
    "name, values, better",
    [
        ("wis", {1: 2.0, 2: 1.0}, 2),
        ("wis", {1: 1.0, 2: 1.0}, None),
        ("wis", {1: 1.0, 2: None}, None),
        ("wis", {1: 3.0, 2: 1.0, 3: 2.0}, 2),
        ("wis", {1: 3.0, 2: 1.0, 3: 1.0}, None),
        ("skill", {1: -1.0, 2: -2.0}, 1),
        ("coverage_50", {1: 0.4, 2: 0.55}, 2),
        ("coverage_50", {1: 0.25, 2: 0.75}, None),
        ("n", {1: 1.0, 2: 2.0}, None),
    ],
)
def test_the_better_one_is_named(name: str, values: dict[int, float | None], better: int | None) -> None:
    metrics = {number: {} if value is None else {name: value} for number, value in values.items()}
    [found] = compare_metrics(metrics)
    assert (found.name, found.values, found.better) == (name, values, better)


def test_differences_are_to_the_first() -> None:
    found = compare_metrics({3: {"a": 1.0}, 1: {"a": 3.0, "b": 2.0}})
    assert [(item.name, item.differences) for item in found] == [("a", {3: 0.0, 1: 2.0}), ("b", {3: None, 1: None})]
