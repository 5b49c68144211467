"""The fire times of a cron expression in a time zone."""

from bisect import bisect_left, bisect_right
from calendar import isleap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain
from typing import TypeVar

from cronsim import CronSim

from domain.cron.zones import EARLIEST, LATEST, Stretch, stretches

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)

ItemT = TypeVar("ItemT")


class Cron:
    """A cron expression; made by `parse_cron`.

    It is running (`is_running`) when its minute or its hour has a `*`, an open step such as `0/15`, or every value:
    then it fires whenever the zone's clock shows a time it names, so what the clock skips does not fire and what the
    clock repeats fires again, as Debian's cron has it. Any other expression names fixed times: those that the clock
    skips fire together, once, at the first instant after the gap, and one that it repeats fires the first time only.
    Seconds play no part in this, so `0 30 2 * * *` fires when `30 2 * * *` does. As in any cron, day and weekday must
    both fit when one of them begins with `*`, otherwise one of them is enough.
    """

    # CronSim reads expressions and matches dates; its own walk leaves out fire times where a clock is changed by half
    # an hour, goes back in time when it begins in a repeated hour, and treats six fields unlike five.
    def __init__(self, expression: str, pattern: CronSim, is_running: bool) -> None:
        self.expression = expression
        self.is_running = is_running
        self._pattern = pattern
        self._hours = tuple(timedelta(hours=hour) for hour in sorted(pattern.hours))
        self._minutes = tuple(timedelta(minutes=minute) for minute in sorted(pattern.minutes))
        self._seconds = tuple(timedelta(seconds=second) for second in sorted(pattern.seconds))
        self._days: dict[tuple[bool, int], tuple[int, ...]] = {}

    def __repr__(self) -> str:
        return f"Cron({self.expression!r})"

    def within(self, start: datetime, end: datetime, zone: tzinfo, *, newest_first: bool = False) -> Iterator[datetime]:
        """The fire times from `start` on and before `end`, in UTC, strictly ascending or strictly descending."""
        low, high = (min(max(_utc(moment), EARLIEST), LATEST) for moment in (start, end))
        return self._within(low, high, zone, newest_first)

    def fires_at_all(self) -> bool:
        """Whether there is any date that it fires on."""
        # In 28 years without a century between them all the calendars occur that there are.
        return any(self._days_of(year) for year in range(2001, 2029))

    def _within(self, low: datetime, high: datetime, zone: tzinfo, newest_first: bool) -> Iterator[datetime]:
        for year in _ordered(range(low.year, (high - _MICROSECOND).year + 1), newest_first):
            # Years apart from each other are common, and to cut one costs more than all else.
            spans = stretches(zone, year) if self._may_fire_in(year) else ()
            for stretch in _ordered(spans, newest_first):
                if stretch.begin < high and low < stretch.end:
                    yield from self._fires(stretch, low, high, newest_first)

    def _may_fire_in(self, year: int) -> bool:
        """Whether it fires on a day of a year, or on one so near that it may be of that year in UTC."""
        before, after = self._days_of(year - 1)[-1:], self._days_of(year + 1)[:1]
        return bool(self._days_of(year) or (before and before[0] > 360) or (after and after[0] < 4))

    def _fires(self, stretch: Stretch, low: datetime, high: datetime, newest_first: bool) -> Iterator[datetime]:
        """The fire times in the part of `stretch` that is between `low` and `high`."""
        first = max(stretch.begin, low) + stretch.offset
        last = min(stretch.end, high) + stretch.offset
        caught_up: tuple[datetime, ...] = ()
        if not self.is_running:
            if low <= stretch.begin and self._is_skipping(stretch):
                caught_up = (stretch.begin,)
                first += _SECOND
            first = max(first, stretch.shown)
        fires = (reading - stretch.offset for reading in self._readings(first, last, newest_first))
        return chain(fires, caught_up) if newest_first else chain(caught_up, fires)

    def _is_skipping(self, stretch: Stretch) -> bool:
        """Whether a fire time is among what the clock skips where `stretch` begins."""
        skipped = self._readings(stretch.shown, stretch.begin + stretch.offset, False)
        return next(skipped, None) is not None

    def _readings(self, first: datetime, last: datetime, newest_first: bool) -> Iterator[datetime]:
        """What a clock shows when it fires, from `first` on and before `last`."""
        hours, minutes, seconds = (
            tuple(_ordered(field, newest_first)) for field in (self._hours, self._minutes, self._seconds)
        )
        for midnight in self._midnights(first, last, newest_first):
            for hour in hours:
                full = midnight + hour
                if full >= last or full + _HOUR <= first:
                    continue
                for minute in minutes:
                    sharp = full + minute
                    if sharp >= last or sharp + _MINUTE <= first:
                        continue
                    for second in seconds:
                        if first <= (reading := sharp + second) < last:
                            yield reading

    def _midnights(self, first: datetime, last: datetime, newest_first: bool) -> Iterator[datetime]:
        for year in _ordered(range(first.year, last.year + 1), newest_first):
            new_year = datetime(year, 1, 1, tzinfo=UTC)
            days = self._days_of(year)
            some = slice(bisect_left(days, (first - new_year).days), bisect_right(days, (last - new_year).days))
            for day in _ordered(days[some], newest_first):
                yield new_year + timedelta(days=day)

    def _days_of(self, year: int) -> tuple[int, ...]:
        """The days on which it fires, counted from the first of January."""
        new_year = date(year, 1, 1)
        # There are only fourteen calendars.
        key = isleap(year), new_year.weekday()
        if key not in self._days:
            days = ((number, new_year + timedelta(days=number)) for number in range(366 if key[0] else 365))
            self._days[key] = tuple(
                number for number, day in days if day.month in self._pattern.months and self._pattern.match_day(day)
            )
        return self._days[key]


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _ordered(items: Sequence[ItemT], newest_first: bool) -> Iterable[ItemT]:
    return reversed(items) if newest_first else items
