"""What is kept of a computation: entries as bytes, and what may be done with them as they get older."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.computations import (
    ComputationStats,
    Entry,
    Freshness,
    Lifetime,
    Outcome,
    checked_tags,
    decode_entry,
    decoded,
    encoded,
    full_key,
)
from domain.errors import Misconfigured

TIMES = st.floats(0, 1e10)


class Weather(msgspec.Struct):
    city: str
    degrees: float


@given(st.none() | st.binary(), TIMES, TIMES, st.floats(0, 1000, width=32))
def test_an_entry_comes_back_as_it_was(payload: bytes | None, made_at: float, until: float, seconds: float) -> None:
    entry = Entry(payload, made_at, until, seconds)
    assert decode_entry(entry.encode()) == entry


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(40), b"{}" * 40])
def test_anything_else_is_no_entry(data: bytes) -> None:
    assert decode_entry(data) is None


@pytest.mark.parametrize(
    "now, expected",
    [
        (0, Freshness.FRESH),
        (79.9, Freshness.FRESH),
        (80, Freshness.EARLY),
        (99.9, Freshness.EARLY),
        (100, Freshness.STALE),
        (109.9, Freshness.STALE),
        (110, Freshness.FALLBACK),
        (129.9, Freshness.FALLBACK),
        (130, Freshness.DEAD),
    ],
)
def test_an_entry_may_be_used_for_less_and_less_as_it_gets_older(now: float, expected: Freshness) -> None:
    lifetime = Lifetime(ttl_seconds=100, stale_while_revalidate_seconds=10, stale_if_error_seconds=30)
    assert Entry(b"", 0, 100).freshness(now, lifetime) is expected


def test_without_limits_for_stale_ones_an_entry_is_good_or_dead() -> None:
    lifetime = Lifetime(ttl_seconds=100, is_refreshed_early=False)
    assert [Entry(b"", 0, 100).freshness(now, lifetime) for now in (0, 99, 100)] == ["fresh", "fresh", "dead"]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "60"])
@pytest.mark.parametrize(
    "name", ["ttl_seconds", "negative_ttl_seconds", "stale_while_revalidate_seconds", "stale_if_error_seconds"]
)
def test_what_is_no_length_of_time_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(Misconfigured, match=f"{name}={seconds!r}"):
        Lifetime(**{"ttl_seconds": 1, name: seconds}).check()


@pytest.mark.parametrize(
    "value, kind",
    [
        (None, Weather),
        (b"\x00\xff", bytes),
        (Weather("Oslo", -3.5), Weather),
        ([Weather("Oslo", -3.5)], list[Weather]),
        ({"a": [1, None, "ü"]}, Any),
    ],
)
def test_a_result_comes_back_as_what_it_was(value: object, kind: Any) -> None:
    assert decoded(encoded(value, kind), kind) == value


def test_results_of_another_type_or_generation_have_another_key() -> None:
    class Renamed(msgspec.Struct):
        town: str
        degrees: float

    keys = [
        full_key(key, kind, generations)
        for key in ("a", "b", "a" * 300, "a" * 300 + "b")
        for kind in (bytes, Any, Weather, Renamed, list[Weather])
        for generations in ((1,), (2,), (1, 2), (12,))
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 200 for key in keys)


@pytest.mark.parametrize("tags", ["users", ["users", ""], [""]])
def test_what_are_no_tags_is_refused(tags: Any) -> None:
    with pytest.raises(Misconfigured, match="tags"):
        checked_tags(tags)


def test_the_hit_rate_is_that_of_the_questions_that_needed_no_computation_of_their_own() -> None:
    stats = ComputationStats()
    assert stats.hit_rate is None
    for outcome in (Outcome.HIT, Outcome.STALE, Outcome.COALESCED, Outcome.MISS, Outcome.BYPASS):
        stats.count(outcome)
    assert stats.hit_rate == 0.75
