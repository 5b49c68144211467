"""Time zones: found by name, and cut where their clocks are changed."""

import difflib
import io
from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from domain.errors import cut

EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Where time ends for us: a year before datetimes do, so that every zone's clock can be read until then."""

# No zone has ever changed its clock twice within three days, nor by more than a day.
_PROBE = timedelta(days=2)
_SECONDS_OF_PROBE = range(int(_PROBE.total_seconds()) + 1)
_LOOK_BACK = timedelta(days=2)
# A file of the time zone database, in full: no transition, and one offset of zero that is called UTC.
_UTC_FILE = b"TZif" + bytes(35) + b"\x01" + bytes(3) + b"\x04" + bytes(6) + b"UTC\0"


class Stretch(NamedTuple):
    """A span of time in which a zone's clock is ahead of UTC by the same `offset`; `end` is no part of it.

    `shown` is the latest that the clock has shown before. What a clock shows is written as a datetime in UTC.
    """

    begin: datetime
    end: datetime
    offset: timedelta
    shown: datetime


@lru_cache(maxsize=2048)
def stretches(zone: tzinfo, year: int) -> tuple[Stretch, ...]:
    """A year, as counted in UTC, cut where the zone's clock is changed."""
    opening, closing = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    begin = opening - _LOOK_BACK
    shown = begin + _offset(zone, begin)
    found = []
    while begin < closing:
        offset, end = _offset(zone, begin), _end_of_offset(zone, begin, closing)
        if begin < opening < end:
            begin = opening
            shown = max(shown, begin + offset)
        if begin >= opening:
            found.append(Stretch(begin, end, offset, shown))
        shown = end + offset
        begin = end
    return tuple(found)


def _end_of_offset(zone: tzinfo, begin: datetime, closing: datetime) -> datetime:
    offset = _offset(zone, begin)
    while begin < closing:
        if _offset(zone, begin + _PROBE) != offset:
            return min(begin + timedelta(seconds=_seconds_of_offset(zone, begin)), closing)
        begin += _PROBE
    return closing


def _seconds_of_offset(zone: tzinfo, begin: datetime) -> int:
    """How long the offset at `begin` lasts, when it does not last until the next probe."""
    offset = _offset(zone, begin)
    return bisect_left(
        _SECONDS_OF_PROBE, True, key=lambda second: _offset(zone, begin + timedelta(seconds=second)) != offset
    )


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


@lru_cache(maxsize=256)
def parse_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name such as `Europe/Berlin`. `UTC` needs no time zone database.

    Raises `ValueError` with the nearest name there is.
    """
    if name == "UTC":
        return ZoneInfo.from_file(io.BytesIO(_UTC_FILE), key=name)
    names = _zone_names()
    if name in names:
        return ZoneInfo(name)
    if not names:
        raise ValueError(f'the time zone "{cut(name)}" is not known, for this machine has no time zone database')
    # People write the city alone, too.
    known = {full.rpartition("/")[2].lower(): full for full in sorted(names)} | {full.lower(): full for full in names}
    near = difflib.get_close_matches(name[:100].lower(), known, n=1)
    hint = f'; did you mean "{known[near[0]]}"?' if near else "; use an IANA name such as Europe/Berlin"
    raise ValueError(f'the time zone "{cut(name)}" is not known{hint}')


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    # These two are not places: the one is whatever the machine is set to, the other stands for nothing chosen yet.
    return frozenset(available_timezones() - {"localtime", "Factory"})
