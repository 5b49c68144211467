"""What each member of an ensemble weighs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ensembles.weights import learned_weights, remaining_weights
from domain.errors import Invalid

NAMES = st.text("abcdef", min_size=1, max_size=2)


@given(st.dictionaries(NAMES, st.just(math.nan) | st.floats(0, 1e9), min_size=1))
def test_learned_weights_sum_to_1_and_the_smaller_error_weighs_no_less(errors: dict[str, float]) -> None:
    weights = learned_weights(errors)
    assert weights.keys() == errors.keys()
    assert math.fsum(weights.values()) == pytest.approx(1)
    known = sorted((name for name in errors if not math.isnan(errors[name])), key=errors.__getitem__)
    found = [weights[name] for name in known]
    assert found == sorted(found, reverse=True)


def test_learned_weights_are_inverse_errors() -> None:
    assert learned_weights({"a": 1, "b": 3}) == pytest.approx({"a": 0.75, "b": 0.25})
    assert learned_weights({"a": 0, "b": 0, "c": 2}) == {"a": 0.5, "b": 0.5, "c": 0}
    assert learned_weights({"a": math.nan, "b": math.nan}) == {"a": 0.5, "b": 0.5}
    assert learned_weights({"a": math.nan, "b": 7}) == {"a": 0, "b": 1}
    assert learned_weights({}) == {}
    with pytest.raises(Invalid, match="below 0"):
        learned_weights({"a": -1})


@given(st.dictionaries(NAMES, st.floats(0, 1e9), min_size=1), st.data())
def test_remaining_weights_sum_to_1_and_keep_their_proportions(weights: dict[str, float], data: st.DataObject) -> None:
    present = data.draw(st.lists(st.sampled_from(sorted(weights)), min_size=1, unique=True))
    left = remaining_weights(weights, present)
    assert left.keys() == set(present)
    assert math.fsum(left.values()) == pytest.approx(1)
    total = sum(weights[name] for name in present)
    if total > 0:
        assert left == pytest.approx({name: weights[name] / total for name in present})
    else:
        assert len(set(left.values())) == 1
