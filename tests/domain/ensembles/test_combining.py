"""Several forecasts made one: what holds for all of them, and by hand with numpy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ensembles.combining import combine
from domain.ensembles.strategies import Strategy
from domain.errors import Incompatible, Invalid
from domain.forecasts import Forecast, ForecastKind
from tests.domain.ensembles.members import LEVELS, made, members, weighted

POINT, QUANTILE, SAMPLE = ForecastKind.POINT, ForecastKind.QUANTILE, ForecastKind.SAMPLE
SOFT, HARD = ForecastKind.SOFT, ForecastKind.HARD
MIDDLES = [Strategy.MEAN, Strategy.MEDIAN, Strategy.TRIMMED, Strategy.WEIGHTED]
OF_DISTRIBUTIONS = [*MIDDLES, Strategy.QUANTILE_AVERAGE, Strategy.LINEAR_POOL]
CASES = [(POINT, one) for one in MIDDLES] + [(kind, one) for kind in (QUANTILE, SAMPLE) for one in OF_DISTRIBUTIONS]


@pytest.mark.parametrize("kind, strategy", CASES)
@given(data=st.data())
def test_the_order_of_members_and_rows_does_not_matter(kind: ForecastKind, strategy: Strategy, data: Any) -> None:
    found, weights = data.draw(weighted(kind))
    expected = combine(found, strategy, weights=weights, seed=3)
    shuffled = data.draw(st.permutations(list(found)))
    again = combine({name: found[name] for name in shuffled}, strategy, weights=weights, seed=3)
    assert np.array_equal(again.values, expected.values)
    assert again.keys == expected.keys
    # Every member's rows in an order of its own; those of the result are the first member's.
    turned = {name: _reordered(one, data.draw(st.permutations(range(len(one.keys))))) for name, one in found.items()}
    rows = {key: row.tolist() for key, row in zip(expected.keys, expected.values, strict=True)}
    other = combine(turned, strategy, weights=weights, seed=3)
    assert {key: row.tolist() for key, row in zip(other.keys, other.values, strict=True)} == rows


def _reordered(forecast: Forecast, order: list[int]) -> Forecast:
    keys = [forecast.keys[row] for row in order]
    return Forecast(kind=forecast.kind, keys=keys, labels=forecast.labels, values=forecast.values[order])


@pytest.mark.parametrize("kind, strategy", CASES)
@given(data=st.data(), count=st.integers(1, 5))
def test_equal_members_make_what_each_of_them_is(kind: ForecastKind, strategy: Strategy, data: Any, count: int) -> None:
    (member,) = data.draw(members(kind, most=1)).values()
    found = combine({f"m{number}": member for number in range(count)}, strategy, seed=7)
    np.testing.assert_allclose(np.sort(found.values, axis=1), np.sort(member.values, axis=1), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("strategy", OF_DISTRIBUTIONS)
@given(data=st.data())
def test_quantiles_rise_and_are_within_those_of_the_members(strategy: Strategy, data: Any) -> None:
    found, weights = data.draw(weighted(QUANTILE))
    values = combine(found, strategy, weights=weights).values
    assert (np.diff(values, axis=1) >= 0).all()
    everything = np.stack([one.values for one in found.values()])
    assert (values >= everything.min(axis=0) - 1e-6).all()
    assert (values <= everything.max(axis=0) + 1e-6).all()


@given(weighted(SAMPLE), st.integers(1, 12), st.integers(0, 9))
def test_every_sample_of_a_pool_is_a_members_and_each_gives_as_many_as_it_weighs(
    case: tuple[dict[str, Forecast], dict[str, float]], count: int, seed: int
) -> None:
    found, weights = case
    marked = {
        name: made(SAMPLE, [[float(100 * index + place) for place in range(one.values.shape[1])]] * 2)
        for index, (name, one) in enumerate(sorted(found.items()))
    }
    pool = combine(marked, Strategy.LINEAR_POOL, weights=weights, samples=count, seed=seed)
    assert pool.values.shape == (2, count)
    assert np.array_equal(pool.values[0], pool.values[1]), "a sample is the same course of events in all rows"
    for index, name in enumerate(sorted(found)):
        of_it = [value for value in pool.values[0] if value // 100 == index]
        assert set(of_it) <= set(marked[name].values[0])
        exact = count * weights[name] / sum(weights.values())
        assert abs(len(of_it) - exact) < 1
        size = marked[name].values.shape[1]
        assert max((of_it.count(value) for value in of_it), default=0) <= -(-count // size)


def test_a_pool_is_the_same_for_a_seed_and_another_for_another() -> None:
    chance = np.random.default_rng(5)
    found = {name: made(SAMPLE, chance.normal(size=(3, 50))) for name in "ab"}
    first, again, other = (combine(found, Strategy.LINEAR_POOL, seed=seed).values for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_made_is_what_numpy_makes_by_hand() -> None:
    chance = np.random.default_rng(2)
    values = {name: np.sort(chance.gamma(2, 10, (40, len(LEVELS))), axis=1) for name in "abcd"}
    found = {name: made(QUANTILE, one, keys=[(str(row), "a") for row in range(40)]) for name, one in values.items()}
    stacked = np.stack(list(values.values()))
    weights = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 2.0}
    by_hand = {
        Strategy.MEAN: stacked.mean(axis=0),
        Strategy.MEDIAN: np.median(stacked, axis=0),
        Strategy.TRIMMED: np.sort(stacked, axis=0)[1:-1].mean(axis=0),
        Strategy.WEIGHTED: np.average(stacked, axis=0, weights=[1, 2, 3, 2]),
        Strategy.QUANTILE_AVERAGE: np.average(stacked, axis=0, weights=[1, 2, 3, 2]),
    }
    for strategy, expected in by_hand.items():
        is_weighted = strategy in (Strategy.WEIGHTED, Strategy.QUANTILE_AVERAGE)
        made_of = combine(found, strategy, weights=weights if is_weighted else None)
        np.testing.assert_allclose(made_of.values, expected, err_msg=strategy)


def test_a_weighted_median_is_the_median_of_members_repeated_as_often_as_they_weigh() -> None:
    chance = np.random.default_rng(3)
    values = chance.normal(size=(4, 60, 1))
    found = {
        name: made(POINT, one, keys=[(str(r), "a") for r in range(60)])
        for name, one in zip("abcd", values, strict=True)
    }
    weights = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0}
    repeated = np.repeat(values, [1, 3, 2, 4], axis=0)
    np.testing.assert_allclose(combine(found, Strategy.MEDIAN, weights=weights).values, np.median(repeated, axis=0))


def test_samples_of_several_numbers_are_averaged_by_rank() -> None:
    found = {"a": made(SAMPLE, [[4.0, 1.0, 3.0, 2.0]]), "b": made(SAMPLE, [[20.0, 10.0]])}
    values = combine(found, Strategy.QUANTILE_AVERAGE).values
    # The levels are 1/8, 3/8, 5/8, 7/8; of two samples they lie at -1/4, 1/4, 3/4, 5/4 between them.
    assert sorted(values[0]) == pytest.approx([(1 + 10) / 2, (2 + 12.5) / 2, (3 + 17.5) / 2, (4 + 20) / 2])
    assert combine(found, Strategy.MEAN, samples=7).values.shape == (1, 7)
    assert combine(found, Strategy.MEAN).labels == ("sample_0", "sample_1", "sample_2", "sample_3")


def test_the_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(4)
    keys = [(str(row), "a") for row in range(30)]
    for kind, strategy in CASES:
        found = {
            name: made(kind, np.sort(chance.normal(size=(30, 1 if kind is POINT else 5))), keys=keys) for name in "abc"
        }
        whole = combine(found, strategy).values
        with monkeypatch.context() as patch:
            patch.setattr("domain.forecasts.forecast.BLOCK_CELLS", 70)
            assert np.array_equal(combine(found, strategy).values, whole), (kind, strategy)


# Classes


@given(st.data())
def test_soft_votes_are_weighted_means_that_sum_to_1(data: Any) -> None:
    chance = np.random.default_rng(data.draw(st.integers(0, 99)))
    found = {name: made(SOFT, chance.dirichlet([1, 1, 1], 4), ("x", "y", "z")) for name in "abc"}
    weights = {name: data.draw(st.floats(0.1, 5)) for name in found}
    values = combine(found, Strategy.VOTE_SOFT, weights=weights).values
    stacked = np.stack([one.values for one in found.values()])
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(values, np.average(stacked, axis=0, weights=list(weights.values())))


def test_hard_votes_go_by_weight_and_ties_by_name() -> None:
    found = {"a": made(HARD, [["x"], ["z"]]), "b": made(HARD, [["y"], ["y"]]), "c": made(HARD, [["y"], ["x"]])}
    assert combine(found, Strategy.VOTE_HARD).values.tolist() == [["y"], ["x"]]
    heavy = {"a": 0.2, "b": 0.1, "c": 0.1}
    assert combine(found, Strategy.VOTE_HARD, weights=heavy).values.tolist() == [["x"], ["z"]]
    # 0.1 + 0.2 is not more than 0.3.
    tied = {"a": 0.3, "b": 0.1, "c": 0.2}
    assert combine(found, Strategy.VOTE_HARD, weights=tied).values.tolist() == [["x"], ["z"]]
    soft = {"a": made(SOFT, [[0.5, 0.5]], ("x", "y")), "b": made(SOFT, [[0.1, 0.9]], ("x", "y"))}
    assert combine(soft, Strategy.VOTE_HARD).values.tolist() == [["x"]]


# What does not fit


def case(**changes: Any) -> dict[str, Forecast]:
    usual: dict[str, Any] = {"keys": [("2024-01", "oslo"), ("2024-02", "oslo")], "unit": "cases"}
    values = [[1, 2, 3, 4, 5]] * len(changes.get("keys", usual["keys"]))
    labels = changes.pop("labels", LEVELS)
    return {
        "a": made(QUANTILE, [[1, 2, 3, 4, 5]] * 2, **usual),
        "b": made(QUANTILE, values, labels, **{**usual, **changes}),
    }


@pytest.mark.parametrize(
    "found, message",
    [
        ({**case(), "b": made(POINT, [[1], [2]])}, '"a" is a forecast of quantile, "b" is a forecast of point'),
        (case(unit="deaths"), '"a" has the unit cases, "b" has the unit deaths'),
        (case(labels=(0.1, 0.25, 0.5, 0.75, 0.9)), '"a" has the levels 0.05, .* "b" has the levels 0.1, '),
        (case(keys=[("2024-01", "oslo")]), '"a" has periods that "b" lacks: 2024-02'),
        (case(keys=[("2024-01", "oslo"), ("2024-02", "oslo"), ("2024-03", "oslo")]), '"b" has periods that "a" lacks'),
        (case(keys=[("2024-01", "rome"), ("2024-02", "rome")]), '"a" has locations that "b" lacks: oslo'),
    ],
)
def test_members_that_are_not_about_the_same_are_refused_with_the_difference(
    found: dict[str, Forecast], message: str
) -> None:
    with pytest.raises(Incompatible, match=message):
        combine(found, Strategy.MEAN)


def test_units_are_compared_with_any_member_that_has_one() -> None:
    found = {name: made(POINT, [[1]], unit=unit) for name, unit in zip("abc", (None, "cases", "deaths"), strict=True)}
    with pytest.raises(Incompatible, match='"b" has the unit cases, "c" has the unit deaths'):
        combine(found, Strategy.MEAN)
    assert combine({name: found[name] for name in "ab"}, Strategy.MEAN).unit == "cases"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strategy": Strategy.VOTE_SOFT}, "vote_soft does not combine quantile forecasts; use one of mean, "),
        ({"weights": {"a": 1}}, '"b" has no weight; members: a, b'),
        ({"weights": {"a": 1, "b": 1, "c": 1}}, '"c" has a weight and is no member; members: a, b'),
        ({"weights": {"a": 1, "b": -1}}, 'the weight of "b" is -1'),
        ({"weights": {"a": 1, "b": float("nan")}}, 'the weight of "b" is nan'),
        ({"weights": {"a": 0, "b": 0}}, "the weights are all 0"),
        ({"trim": 0.5}, "trim must be at least 0 and below 0.5, not 0.5"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        combine(case(), **{"strategy": Strategy.MEAN, **options})


def test_something_is_needed_to_combine() -> None:
    with pytest.raises(Invalid, match="no forecasts"):
        combine({}, Strategy.MEAN)
    with pytest.raises(Invalid, match="samples must be at least 1, not 0"):
        combine({"a": made(SAMPLE, [[1.0]])}, Strategy.MEAN, samples=0)
