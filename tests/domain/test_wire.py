"""On the wire every timestamp has one width, so that text order is time order."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entity import Entity
from domain.wire import encode_struct, timestamp_text

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001 - the zone is drawn


class Event(Entity, kw_only=True):
    at: datetime | None = None
    name: str = "x"


@pytest.mark.parametrize(
    "value, expected",
    [
        (datetime(2026, 11, 23, 4, 31, 11, 333723, UTC), "2026-11-23T04:31:11.333723Z"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00.000000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000000Z"),
    ],
)
def test_a_timestamp_is_written_in_utc_with_six_digits(value: datetime, expected: str) -> None:
    assert timestamp_text(value) == expected


@given(moments, moments)
def test_the_order_of_timestamps_is_the_order_of_their_text(one: datetime, other: datetime) -> None:
    assert (one < other) == (timestamp_text(one) < timestamp_text(other))
    assert msgspec.convert(timestamp_text(one), datetime) == one


def test_a_struct_is_written_with_fixed_timestamps_and_without_some_members() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    event = Event(id="0" * 26, created_at=moment, updated_at=moment, at=moment)
    assert msgspec.json.decode(encode_struct(event, without={"name", "tags"})) == {
        "id": "0" * 26,
        "created_at": "2026-01-02T00:00:00.000000Z",
        "updated_at": "2026-01-02T00:00:00.000000Z",
        "at": "2026-01-02T00:00:00.000000Z",
    }
    assert b'"at":null' in encode_struct(Event())
