"""Retries: how long a failed job waits, and what is not worth a second attempt."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from domain.retries import LONGEST_DELAY_SECONDS, PERMANENT, PermanentFailure, RetryLater, RetryPolicy

policies = st.builds(
    RetryPolicy,
    retries=st.integers(0, 1_000),
    first_delay_seconds=st.floats(0, 86_400),
    factor=st.floats(1, 100),
    max_delay_seconds=st.floats(0, 604_800),
)
spreads = st.floats(0, 1)


@pytest.mark.parametrize("failures, longest", [(0, 2.0), (1, 2.0), (2, 6.0), (3, 18.0), (4, 50.0), (10**6, 50.0)])
def test_each_failure_lets_it_wait_longer_up_to_a_bound(failures: int, longest: float) -> None:
    policy = RetryPolicy(first_delay_seconds=2.0, factor=3.0, max_delay_seconds=50.0)
    assert policy.ceiling_seconds(failures) == longest
    assert policy.delay_seconds(failures, spread=1.0) == longest
    assert policy.delay_seconds(failures, spread=0.5) == longest / 2
    assert policy.delay_seconds(failures, spread=0.0) == 0.0


@given(policies, st.integers(0, 10_000), spreads)
def test_a_delay_is_within_its_bounds(policy: RetryPolicy, failures: int, spread: float) -> None:
    delay = policy.delay_seconds(failures, spread=spread)
    assert 0 <= delay <= policy.ceiling_seconds(failures) <= policy.max_delay_seconds
    assert policy.ceiling_seconds(failures) <= policy.ceiling_seconds(failures + 1)
    assert policy.max_attempts == policy.retries + 1


@pytest.mark.parametrize(
    "asked, waited",
    [
        (0.0, 0.0),
        (12.5, 12.5),
        (7, 7.0),
        (-3.0, 0.0),
        (1e300, LONGEST_DELAY_SECONDS),
        (math.inf, LONGEST_DELAY_SECONDS),
        (-math.inf, 0.0),
        (math.nan, 0.0),
    ],
)
def test_a_delay_that_was_asked_for_is_kept_within_reason(asked: float, waited: float) -> None:
    assert RetryPolicy().delay_seconds(1, spread=0.3, asked_seconds=asked) == waited
    assert RetryLater(after_seconds=asked).after_seconds == waited


def test_who_asks_for_a_retry_says_so_at_once_when_it_makes_no_sense() -> None:
    with pytest.raises(TypeError):
        RetryLater(after_seconds="soon")  # type: ignore[arg-type]
    assert RetryLater().after_seconds is None
    assert str(RetryLater()) == "try again later"
    assert str(RetryLater("busy", after_seconds=3.0)) == "busy"


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": -1},
        {"retries": 1_001},
        {"retries": 1.5},
        {"first_delay_seconds": -1},
        {"factor": 0.5},
        {"max_delay_seconds": 1e9},
        {"unknown": 1},
    ],
)
def test_a_policy_has_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, RetryPolicy)


@pytest.mark.parametrize(
    "error, is_permanent",
    [
        (PermanentFailure("no"), True),
        (Invalid("no"), True),
        (NotFound("no"), True),
        (Conflict("no"), True),
        (Unauthorized("no"), True),
        (Forbidden("no"), True),
        (NotImplementedError(), True),
        (Unavailable("later"), False),
        (RetryLater(), False),
        (ValueError(), False),
        (OSError(), False),
    ],
)
def test_what_no_further_attempt_can_help(error: Exception, is_permanent: bool) -> None:
    assert isinstance(error, PERMANENT) is is_permanent
