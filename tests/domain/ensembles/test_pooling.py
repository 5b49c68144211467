"""The mixture of distributions given by quantiles, against one that is drawn."""

import numpy as np
from hypothesis import given

from domain.ensembles.pooling import pooled_quantiles
from domain.forecasts import Forecast, ForecastKind
from tests.domain.ensembles.members import LEVELS, weighted

FINE = np.arange(1, 200) / 200


def test_the_pool_of_two_far_apart_takes_its_tails_from_one_each() -> None:
    low, high = np.array([[0.0, 1, 2, 3, 4]]), np.array([[100.0, 101, 102, 103, 104]])
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    found = pooled_quantiles([low, high], levels, np.array([0.5, 0.5]))
    # Half of the mixture is below 4, half above 100: 0.1 of it is 0.2 of the lower, 0.3 is 0.6 of it.
    np.testing.assert_allclose(found, [[0.5, 2.5, 4.0, 101.5, 103.5]])


def test_the_pool_is_what_draws_from_the_members_say() -> None:
    chance = np.random.default_rng(8)
    samples = [chance.normal(0, 1, 200_000), chance.normal(3, 2, 200_000)]
    parts = [np.quantile(one, FINE)[None] for one in samples]
    found = pooled_quantiles(parts, FINE, np.array([0.25, 0.75]))
    drawn = np.quantile(np.concatenate([samples[0][:50_000], samples[1][:150_000]]), FINE)
    np.testing.assert_allclose(found[0][5:-5], drawn[5:-5], atol=0.03)


@given(weighted(ForecastKind.QUANTILE))
def test_so_much_of_the_mixture_is_below_each_quantile(case: tuple[dict[str, Forecast], dict[str, float]]) -> None:
    """The definition: at most the level lies below, and at least the level lies at or below it."""
    members, given_weights = case
    weights = np.array([given_weights[name] for name in sorted(members)])
    weights /= weights.sum()
    parts = [members[name].values for name in sorted(members)]
    found = pooled_quantiles(parts, np.array(LEVELS), weights)
    for row in range(len(found)):
        for level, value in zip(LEVELS, found[row], strict=True):
            slack = 1e-6 * (1 + abs(value))
            below = sum(w * _share(part[row], value - slack) for w, part in zip(weights, parts, strict=True))
            up_to = sum(w * _share(part[row], value + slack) for w, part in zip(weights, parts, strict=True))
            assert below <= level + 1e-6
            assert up_to >= level - 1e-6


def _share(quantiles: np.ndarray, value: float) -> float:
    """How much of a member's distribution is at most as large as a value, counted on a fine grid of levels."""
    if value < quantiles[0]:
        return 0.0
    if value >= quantiles[-1]:
        return 1.0
    last = int(np.flatnonzero(quantiles <= value)[-1])
    low, high = quantiles[last], quantiles[last + 1]
    return LEVELS[last] + (LEVELS[last + 1] - LEVELS[last]) * (value - low) / (high - low)
