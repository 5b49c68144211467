"""Scores against scoringrules, and by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.forecasts import Forecast, ForecastKind
from domain.scores import ALPHAS, histogram, scores_of

ROWS = 40
KEYS = [(f"2024-{row:02}", "a") for row in range(ROWS)]
LEVELS = (0.01, 0.025, *(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)


def forecast(kind: ForecastKind, values: Any, labels: Sequence[Any]) -> Forecast:
    return Forecast(kind=kind, keys=KEYS[: len(values)], labels=tuple(labels), values=np.asarray(values, dtype=float))


def drawn(seed: int, width: int = 30) -> tuple[Any, Any, dict[tuple[str, str], float]]:
    chance = np.random.default_rng(seed)
    samples = chance.gamma(2, 10, (ROWS, width))
    truth = chance.gamma(2, 10, ROWS)
    return samples, truth, dict(zip(KEYS, truth.tolist(), strict=True))


def of_samples(samples: Any) -> Forecast:
    return forecast(ForecastKind.SAMPLE, samples, [f"sample_{index}" for index in range(samples.shape[1])])


def weighted(truth: Any, median: Any, lower: Any, upper: Any, alphas: Any) -> Any:
    """The sum of Bracher et al. over the interval scores of scoringrules.

    Its own sum takes the median itself for its error, in the numpy backend."""
    total = np.abs(truth - median) / 2
    for index, alpha in enumerate(alphas):
        total += alpha / 2 * scoringrules.interval_score(truth, lower[:, index], upper[:, index], alpha)
    return total / (len(alphas) + 0.5)


@pytest.mark.parametrize("width", [1, 2, 30, 101])
def test_scores_of_samples_are_those_of_scoringrules(width: int) -> None:
    samples, truth, known = drawn(1, width)
    found = scores_of(of_samples(samples), known)
    assert found.keys == KEYS
    np.testing.assert_allclose(
        found.values["crps"], scoringrules.crps_ensemble(truth, samples, estimator="nrg"), atol=1e-12
    )
    alphas = np.array(ALPHAS)
    lower, upper = (np.quantile(samples, side, axis=1).T for side in (alphas / 2, 1 - alphas / 2))
    expected = weighted(truth, np.median(samples, axis=1), lower, upper, alphas)
    np.testing.assert_allclose(found.values["wis"], expected)
    np.testing.assert_allclose(found.values["error"], np.abs(np.median(samples, axis=1) - truth))
    np.testing.assert_allclose(found.values["squared"], (samples.mean(axis=1) - truth) ** 2)


def test_scores_of_quantiles_are_those_of_scoringrules_and_the_interval_score_is_twice_the_pinball_loss() -> None:
    samples, truth, known = drawn(2)
    quantiles = np.quantile(samples, LEVELS, axis=1).T
    found = scores_of(forecast(ForecastKind.QUANTILE, quantiles, LEVELS), known)
    pinball = np.stack(
        [scoringrules.quantile_score(truth, quantiles[:, index], level) for index, level in enumerate(LEVELS)]
    )
    np.testing.assert_allclose(found.values["crps"], 2 * pinball.mean(axis=0))
    np.testing.assert_allclose(found.values["wis"], found.values["crps"])
    half = len(LEVELS) // 2
    alphas = 2 * np.array(LEVELS[:half])
    lower, upper = quantiles[:, :half], quantiles[:, ::-1][:, :half]
    expected = weighted(truth, quantiles[:, half], lower, upper, alphas)
    np.testing.assert_allclose(found.values["wis"], expected)


def test_many_quantiles_say_what_the_samples_say() -> None:
    samples, _, known = drawn(3, 400)
    levels = (np.arange(400) + 0.5) / 400
    of_quantiles = scores_of(forecast(ForecastKind.QUANTILE, np.sort(samples, axis=1), levels), known).metrics()
    found = scores_of(of_samples(samples), known).metrics()
    for name in ("mae", "rmse", "crps"):
        assert getattr(of_quantiles, name) == pytest.approx(getattr(found, name), rel=0.01), name
    assert of_quantiles.coverage_95 == found.coverage_95


def test_a_point_is_as_wrong_as_it_is_far_away() -> None:
    metrics = scores_of(forecast(ForecastKind.POINT, [[1.0], [5.0]], ["cases"]), {KEYS[0]: 4.0, KEYS[1]: 6.0}).metrics()
    assert (metrics.n, metrics.mae, metrics.crps, metrics.wis) == (2, 2, 2, 2)
    assert metrics.rmse == pytest.approx(5**0.5)
    assert (metrics.coverage_50, metrics.coverage_80, metrics.coverage_95) == (None, None, None)


def test_coverage_is_the_share_of_truths_within_the_central_intervals() -> None:
    values = np.tile(np.arange(1001.0), (ROWS, 1))
    truths = [0, 24, 25, 99, 100, 249, 250, 500, 750, 751, 900, 901, 975, 976, 1000]
    metrics = scores_of(of_samples(values), dict(zip(KEYS, truths, strict=False))).metrics()
    assert metrics.n == len(truths)
    assert metrics.coverage_50 == pytest.approx(3 / 15)
    assert metrics.coverage_80 == pytest.approx(7 / 15)
    assert metrics.coverage_95 == pytest.approx(11 / 15)


def test_intervals_that_quantiles_do_not_reach_have_no_coverage() -> None:
    narrow = forecast(ForecastKind.QUANTILE, [[1, 2, 3, 4, 5]], (0.1, 0.25, 0.5, 0.75, 0.9))
    metrics = scores_of(narrow, {KEYS[0]: 4.5}).metrics()
    assert (metrics.coverage_50, metrics.coverage_80, metrics.coverage_95) == (0, 1, None)


def test_the_mean_of_quantiles_is_the_area_under_them() -> None:
    """Levels 0.25 and 0.75 at 0 and 4: a quarter at each, and half evenly between."""
    found = scores_of(forecast(ForecastKind.QUANTILE, [[0.0, 1.0, 8.0]], (0.25, 0.5, 0.75)), {KEYS[0]: 0.0})
    expected = 0.25 * 0 + 0.25 * 0.5 + 0.25 * 4.5 + 0.25 * 8
    assert found.values["squared"][0] == pytest.approx(expected**2)


@given(st.integers(0, 1000), st.floats(-100, 100), st.floats(0.1, 100))
def test_scores_move_and_grow_with_their_unit(seed: int, shift: float, factor: float) -> None:
    samples, _, known = drawn(seed)
    first = scores_of(of_samples(samples), known).metrics()
    moved = {key: shift + factor * value for key, value in known.items()}
    second = scores_of(of_samples(shift + factor * samples), moved).metrics()
    for name in ("mae", "rmse", "crps", "wis"):
        assert getattr(second, name) == pytest.approx(factor * getattr(first, name), rel=1e-6), name


@given(st.integers(0, 1000))
def test_the_truth_itself_is_the_best_forecast(seed: int) -> None:
    samples, truth, known = drawn(seed)
    perfect = scores_of(of_samples(np.tile(truth[:, None], (1, 5))), known).metrics()
    assert perfect.crps == pytest.approx(0, abs=1e-12)
    assert perfect.wis == pytest.approx(0, abs=1e-12)
    other = scores_of(of_samples(samples), known)
    assert (other.values["crps"] >= 0).all()
    assert (other.values["crps"] <= np.abs(samples - truth[:, None]).mean(axis=1) + 1e-9).all()


def test_rows_whose_truth_is_not_known_are_left_out_and_counted() -> None:
    samples, _, known = drawn(4)
    partial = {key: value for key, value in known.items() if key in KEYS[10:20]}
    partial[KEYS[0]], partial[KEYS[1]], partial["2030-01", "b"] = float("nan"), float("inf"), 3.0
    found = scores_of(of_samples(samples), partial)
    assert (found.keys, found.missing, found.metrics().n) == (KEYS[10:20], 30, 10)
    whole = scores_of(of_samples(samples), known)
    np.testing.assert_array_equal(found.values["crps"], whole.values["crps"][10:20])
    nothing = scores_of(of_samples(samples), {})
    assert (nothing.metrics().n, nothing.metrics().crps, nothing.missing) == (0, None, ROWS)


def test_skill_is_against_the_baseline_and_groups_are_chosen_by_a_mask() -> None:
    samples, _, known = drawn(5)
    found = scores_of(of_samples(samples), known)
    chosen = np.arange(ROWS) < 7
    metrics = found.metrics(chosen, baseline_crps=10.0)
    assert metrics.n == 7
    assert metrics.crps == pytest.approx(found.values["crps"][:7].mean())
    assert metrics.skill == pytest.approx(1 - found.values["crps"][:7].mean() / 10)
    assert found.metrics(baseline_crps=0.0).skill is None


def test_pit_is_uniform_when_forecast_and_truth_are_of_one_kind() -> None:
    chance = np.random.default_rng(6)
    keys = [(str(row), "a") for row in range(20_000)]
    samples, truth = chance.normal(size=(20_000, 99)), chance.normal(size=20_000)
    known = dict(zip(keys, truth.tolist(), strict=True))
    levels = np.arange(1, 100) / 100
    quantiles = np.tile(np.quantile(chance.normal(size=400_000), levels), (20_000, 1))
    for kind, values, labels in (
        (ForecastKind.SAMPLE, samples, tuple(f"sample_{index}" for index in range(99))),
        (ForecastKind.QUANTILE, quantiles, tuple(levels)),
    ):
        found = scores_of(Forecast(kind=kind, keys=keys, labels=labels, values=values), known)
        shares = histogram(found.values["pit"])
        assert sum(shares) == pytest.approx(1)
        assert shares == pytest.approx([0.1] * 10, abs=0.012), kind


def test_classes_have_no_such_scores() -> None:
    with pytest.raises(Invalid, match="classes"):
        scores_of(forecast(ForecastKind.SOFT, [[0.5, 0.5]], ["x", "y"]), {KEYS[0]: 1.0})
