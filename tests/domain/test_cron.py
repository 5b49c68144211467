"""Cron: every fire time against a walk over all minutes, where clocks are changed and where they are not."""

import calendar
import re
import sys
import time
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import islice, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.cron import EARLIEST, LATEST, Cron, parse_cron, parse_zone
from domain.cron.zones import _zone_names

MICROSECOND, SECOND, MINUTE, HOUR = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
)
YEARS = {
    "Europe/Berlin": (2021, 2024),
    "America/New_York": (2021, 2024),
    "America/Sao_Paulo": (2017, 2020),
    "Australia/Lord_Howe": (2021, 2024),
    "Asia/Kolkata": (2023, 2024),
    "Africa/Casablanca": (2020, 2024),
}
SAMPLES = ((2020, 2, 28), (2022, 7, 1), (2023, 12, 30))
# Dates that come back, a day that never was (twice, once at the turn of a year), and a day that came twice.
ODDITIES = {
    "America/St_Johns": (2010, 2011),
    "Pacific/Apia": (2011, 2012),
    "Pacific/Kiritimati": (1994, 1995),
    "America/Juneau": (1867, 1868),
}

EXPRESSIONS = (
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 * * * *",
    "15,45 * * * *",
    "0 */2 * * *",
    "17 1/3 * * *",
    "*/20 2 * * *",
    "0-59 1 * * *",
    "45 0-23 * * *",
    "0/15 0-3 * * *",
    "10-50/20 1,2,3 * * *",
    "0 0 * * *",
    "1 0 * * *",
    "30 0 * * *",
    "15 1 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "59 2 * * *",
    "0 3 * * *",
    "0,30 1-3 * * *",
    "59 23 * * *",
    "0 12 L * *",
    "0 2 * * SUN",
    "30 2 LW * *",
    "30 1 */2 * MON-FRI",
    "0 2 1-7 * SUN",
    "30 2 29 2 *",
    "0 0 * * 7L",
    "15 2 * * 0#2,0#5",
    "30 2 * MAR,OCT 0",
)
"""A fixed time and a running one for everything that can happen to a time of day."""


# The oracle


def after(cron: Cron, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    """The fire times later than `moment`, oldest first."""
    return cron.within(moment + MICROSECOND, LATEST, zone)


def before(cron: Cron, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    """The fire times earlier than `moment`, newest first."""
    return cron.within(EARLIEST, moment, zone, newest_first=True)


class Pattern(NamedTuple):
    """An expression as the oracle reads it, on its own."""

    is_running: bool
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str

    def fits(self, shown: datetime) -> bool:
        return (
            shown.minute in self.minutes
            and shown.hour in self.hours
            and shown.second in self.seconds
            and shown.month in self.months
            and fits_day(self.days, self.weekdays, shown.date())
        )


MONTHS = {name.upper(): str(number) for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name.upper(): str((number + 1) % 7) for number, name in enumerate(calendar.day_abbr)}


def values(text: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for term in text.split(","):
        base, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if base == "*" else base).partition("-")
        end = int(last) if last else high if step else int(first)
        found.update(range(int(first), end + 1, int(step or 1)))
    return frozenset(found)


def pattern_of(expression: str) -> Pattern:
    second, minute, hour, day, month, weekday = (["0"] * 6 + expression.split())[-6:]
    for name, number in (MONTHS | WEEKDAYS).items():
        month, weekday = month.replace(name, number), weekday.replace(name, number)
    minutes, hours = values(minute, 0, 59), values(hour, 0, 23)
    is_open = any(re.match(r"\*|\d+/", term) for term in f"{minute},{hour}".split(","))
    return Pattern(
        is_open or len(minutes) == 60 or len(hours) == 24,
        values(second, 0, 59),
        minutes,
        hours,
        day,
        values(month, 1, 12),
        weekday,
    )


@cache
def fits_day(days: str, weekdays: str, day: date) -> bool:
    by_day = any(fits_day_of_month(term, day) for term in days.split(","))
    by_weekday = any(fits_weekday(term, day) for term in weekdays.split(","))
    return by_day and by_weekday if "*" in (days[0], weekdays[0]) else by_day or by_weekday


def fits_day_of_month(term: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if term == "L":
        return day.day == last
    if term == "LW":
        return day == max(
            other for number in range(last - 3, last + 1) if (other := day.replace(day=number)).weekday() < 5
        )
    return day.day in values(term, 1, 31)


def fits_weekday(term: str, day: date) -> bool:
    number = day.isoweekday() % 7
    if term.endswith("L"):
        return number == int(term[:-1]) % 7 and day.month != (day + timedelta(days=7)).month
    if "#" in term:
        weekday, _, nth = term.partition("#")
        return number == int(weekday) % 7 and (day.day - 1) // 7 == int(nth) - 1
    return number in {value % 7 for value in values(term, 0, 7)}


Window = Sequence[tuple[datetime, datetime]]
"""Instants, one after the other, each with what the zone's clock shows then."""


def window_of(zone: tzinfo, begin: datetime, end: datetime, step: timedelta = MINUTE) -> Window:
    count = (end - begin) // step
    moments = [begin + step * number for number in range(count)]
    return [(moment, moment.astimezone(zone).replace(tzinfo=None)) for moment in moments]


def expected(expression: str, window: Window) -> list[datetime]:
    """Where the expression fires in a window, whose clock must not have been changed shortly before.

    Running: whenever the clock shows a time that fits. Fixed: when it shows, for the first time, one that fits, or
    has passed by one without showing it; a time is passed by once the clock shows a later one.
    """
    pattern = pattern_of(expression)
    if pattern.is_running:
        return [moment for moment, shown in window if pattern.fits(shown)]
    step = window[1][0] - window[0][0]
    latest = window[0][1] - step
    fires = []
    for moment, shown in window:
        # Nearly always it goes on by one step, and there is nothing to look for.
        passed = (
            [shown]
            if shown == latest + step
            else [latest + step * number for number in range(1, max((shown - latest) // step, 0) + 1)]
        )
        if any(map(pattern.fits, passed)):
            fires.append(moment)
        latest = max(latest, shown)
    return fires


def changes(name: str, first: int, last: int) -> Iterator[datetime]:
    """The hours from year `first` up to `last` in which the zone's clock is changed."""
    zone, moment = ZoneInfo(name), datetime(first, 1, 1, tzinfo=UTC)
    while moment.year < last:
        if moment.astimezone(zone).utcoffset() != (moment + HOUR).astimezone(zone).utcoffset():
            yield moment
        moment += HOUR


@cache
def windows(name: str) -> list[Window]:
    zone = ZoneInfo(name)
    centers = [*changes(name, *YEARS[name]), *(datetime(*sample, 12, tzinfo=UTC) for sample in SAMPLES)]
    return [window_of(zone, center - 27 * HOUR, center + 27 * HOUR) for center in centers]


def assert_fires_as_expected(expression: str, name: str, window: Window) -> None:
    cron, zone, wanted = parse_cron(expression), ZoneInfo(name), expected(expression, window)
    begin, end = window[0][0], window[-1][0] + (window[1][0] - window[0][0])
    assert list(cron.within(begin, end, zone)) == wanted, (expression, name, begin)
    assert list(cron.within(begin, end, zone, newest_first=True)) == wanted[::-1], (expression, name, begin)


# Against the oracle


def test_the_windows_hold_every_kind_of_change() -> None:
    counts = {name: len(windows(name)) - len(SAMPLES) for name in YEARS}
    assert counts == {
        "Europe/Berlin": 6,
        "America/New_York": 6,
        "America/Sao_Paulo": 5,
        "Australia/Lord_Howe": 6,
        "Asia/Kolkata": 0,
        "Africa/Casablanca": 8,
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_fires_when_a_walk_over_all_minutes_says_so(expression: str) -> None:
    for name in YEARS:
        for window in windows(name):
            assert_fires_as_expected(expression, name, window)


def test_walks_from_any_moment_go_strictly_forwards_and_backwards() -> None:
    for name in YEARS:
        zone = parse_zone(name)
        for expression in ("30 2 * * *", "0,30 1-3 * * *", "15 * * * *", "59 23 * * *", "*/20 2 * * *"):
            cron = parse_cron(expression)
            for window in windows(name)[:4]:
                wanted = expected(expression, window)
                for moment, _ in window[::47]:
                    later = [fire for fire in wanted if fire > moment]
                    earlier = [fire for fire in wanted if fire < moment][::-1]
                    assert list(islice(after(cron, moment, zone), len(later))) == later
                    assert list(islice(before(cron, moment, zone), len(earlier))) == earlier
                for fire in wanted:
                    assert next(after(cron, fire - MICROSECOND, zone)) == fire < next(after(cron, fire, zone))
                    assert next(before(cron, fire + MICROSECOND, zone)) == fire > next(before(cron, fire, zone))


@pytest.mark.parametrize("expression", [*EXPRESSIONS[::3], "30 2 30 * *", "0 0 30 DEC *", "30 23 * * *", "2 0 * * *"])
@pytest.mark.parametrize("name", ODDITIES)
def test_it_fires_where_dates_come_twice_or_never(name: str, expression: str) -> None:
    for change in changes(name, *ODDITIES[name]):
        # A day and a half before, so that what is repeated has been seen the first time.
        window = window_of(ZoneInfo(name), change - 36 * HOUR, change + 36 * HOUR)
        if name == "America/Juneau":
            # Its local mean time is off by seconds: let the clock be read at its full minutes.
            window = window_of(ZoneInfo(name), change - 36 * HOUR + 41 * SECOND, change, MINUTE)
            assert {shown.second for _, shown in window} == {0}
        assert_fires_as_expected(expression, name, window)


class NewYear(tzinfo):
    """A zone whose clock is put back by an hour at half past eleven of the last evening of 2023, in UTC."""

    CHANGE = datetime(2023, 12, 31, 23, 30, tzinfo=UTC)

    def fromutc(self, moment: datetime) -> datetime:
        is_before = moment.replace(tzinfo=UTC) < self.CHANGE
        return (moment + HOUR * is_before).replace(fold=not is_before)

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        return timedelta() if moment.fold else HOUR

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, moment: datetime | None) -> str:
        return "new year"


@pytest.mark.parametrize("expression", ["15 0 1 1 *", "45 23 31 12 *", "*/10 * * * *", "@daily"])
def test_what_the_clock_repeats_across_the_turn_of_a_year_fires_once(expression: str) -> None:
    zone, change = NewYear(), NewYear.CHANGE
    window = window_of(zone, change - 3 * HOUR, change + 3 * HOUR)
    wanted = expected(expression.replace("@daily", "0 0 * * *"), window)
    cron = parse_cron(expression)
    assert list(cron.within(change - 3 * HOUR, change + 3 * HOUR, zone)) == wanted
    assert list(cron.within(change - 3 * HOUR, change + 3 * HOUR, zone, newest_first=True)) == wanted[::-1]
    assert len(wanted) == (36 if expression.startswith("*") else 1)


@pytest.mark.parametrize(
    "expression",
    ["*/15 * * * * *", "30 30 2 * * *", "0,59 0-59/30 1-2 * * *", "20/20 59 1 * * *", "5 0 * * * *", "* 29-31 2 * * *"],
)
@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_seconds_fire_when_a_walk_over_all_seconds_says_so(name: str, expression: str) -> None:
    for change in changes(name, 2022, 2023):
        # The hour of the change is in the middle, and what it repeats is all in it.
        window = window_of(ZoneInfo(name), change - HOUR, change + 3 * HOUR, SECOND)
        assert_fires_as_expected(expression, name, window)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    bounds = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    term = st.one_of(
        number.map(str),
        bounds.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(bounds, st.integers(1, high)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
        st.tuples(number, st.integers(1, high)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
    )
    return st.one_of(st.just("*"), st.lists(term, min_size=1, max_size=3).map(",".join))


def is_valid(expression: str) -> bool:
    """Whether what was drawn fires at all, which is the only thing that can be wrong with it."""
    try:
        return isinstance(parse_cron(expression), Cron)
    except ValueError as error:
        return "never fires" not in str(error)


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    bounds = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (first, last))
    return st.datetimes(*bounds, timezones=st.just(UTC))


DAYS = st.one_of(st.just("*"), numbers(1, 31), st.sampled_from(["L", "LW", "1,L", "15,LW"]))
WEEKDAY_FIELDS = st.one_of(st.just("*"), numbers(0, 7), st.sampled_from(["SUN", "MON-FRI", "5L", "1#2", "0#1,3#5"]))
EXPRESSION = st.tuples(numbers(0, 59), numbers(0, 23), DAYS, st.just("*") | numbers(1, 12), WEEKDAY_FIELDS)


@settings(max_examples=120)
@given(fields=EXPRESSION, name=st.sampled_from([*YEARS]), data=st.data())
def test_any_expression_fires_when_the_walk_says_so(fields: tuple[str, ...], name: str, data: st.DataObject) -> None:
    expression = " ".join(fields)
    if not is_valid(expression):
        return
    window = data.draw(st.sampled_from(windows(name)))
    assert_fires_as_expected(expression, name, window)


@settings(max_examples=80)
@given(
    fields=st.tuples(st.just("0"), st.sampled_from(["0", "6,18"]), DAYS, numbers(1, 12), WEEKDAY_FIELDS),
    start=moments(1999, 2101),
)
def test_where_no_clock_is_changed_it_fires_as_cronsim_says(fields: tuple[str, ...], start: datetime) -> None:
    expression = " ".join(fields)
    if not is_valid(expression):
        return
    cron = parse_cron(expression)
    assert list(islice(after(cron, start, UTC), 30)) == list(islice(CronSim(expression, start), 30))
    assert list(islice(before(cron, start, UTC), 30)) == list(islice(CronSim(expression, start, reverse=True), 30))


@settings(max_examples=60)
@given(
    fields=EXPRESSION,
    moment=moments(1880, 2060),
    data=st.data(),
)
def test_in_any_zone_and_year_a_walk_back_is_the_mirror_of_a_walk_on(
    fields: tuple[str, ...], moment: datetime, data: st.DataObject
) -> None:
    expression = " ".join(fields)
    if not is_valid(expression):
        return
    cron, zone = parse_cron(expression), parse_zone(data.draw(st.sampled_from(sorted(_zone_names()))))
    onwards = list(islice(after(cron, moment, zone), 40))
    assert all(earlier < later for earlier, later in pairwise([moment, *onwards]))
    backwards = list(islice(before(cron, onwards[-1] + MICROSECOND, zone), 40))
    assert backwards == onwards[::-1]
    assert {fire.tzinfo for fire in onwards} == {UTC}


# What that means


def fires(expression: str, name: str, start: str, count: int) -> list[str]:
    moment = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(name)).astimezone(UTC)
    found = islice(after(parse_cron(expression), moment, ZoneInfo(name)), count)
    return [fire.astimezone(ZoneInfo(name)).strftime("%d %H:%M %z") for fire in found]


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *", "0,30 2 * * *", "30 2,3 * * *"])
def test_a_fixed_time_that_the_clock_skips_fires_once_at_the_next_instant(expression: str) -> None:
    first = fires(expression, "Europe/Berlin", "2024-03-30T12:00", 1)
    assert first == ["31 03:00 +0200"]
    assert len([fire for fire in fires(expression, "Europe/Berlin", "2024-03-30T12:00", 5) if "03:00" in fire]) == 1


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
def test_a_fixed_time_that_the_clock_repeats_fires_the_first_time_only(expression: str) -> None:
    assert fires(expression, "Europe/Berlin", "2024-10-26T12:00", 2) == ["27 02:30 +0200", "28 02:30 +0100"]


@pytest.mark.parametrize(
    "expression, expected_fires",
    [
        ("0 * * * *", ["27 01:00 +0200", "27 02:00 +0200", "27 02:00 +0100", "27 03:00 +0100"]),
        ("0 0-23 * * *", ["27 01:00 +0200", "27 02:00 +0200", "27 02:00 +0100", "27 03:00 +0100"]),
        ("*/30 2 * * *", ["27 02:00 +0200", "27 02:30 +0200", "27 02:00 +0100", "27 02:30 +0100"]),
    ],
)
def test_what_runs_all_the_time_runs_on_while_the_clock_repeats_itself(
    expression: str, expected_fires: list[str]
) -> None:
    assert fires(expression, "Europe/Berlin", "2024-10-27T00:30", 4) == expected_fires


def test_half_an_hour_of_repetition_is_not_left_out() -> None:
    """CronSim's own walk steps by whole hours, and over it."""
    assert fires("*/20 2 * * *", "Australia/Lord_Howe", "2023-04-01T12:00", 2) == ["02 02:00 +1030", "02 02:20 +1030"]
    assert fires("20 1 * * *", "Australia/Lord_Howe", "2023-10-01T00:00", 1) == ["01 01:20 +1030"]
    assert fires("10 2 * * *", "Australia/Lord_Howe", "2023-10-01T00:00", 1) == ["01 02:30 +1100"]


def test_a_day_of_one_year_that_is_of_another_in_utc_is_found() -> None:
    """Both are rare, so that the year in which they are in UTC has no such day itself."""
    sunday = after(parse_cron("0 0 1 1 */7"), datetime(2020, 1, 1, tzinfo=UTC), parse_zone("Pacific/Kiritimati"))
    assert next(sunday) == datetime(2022, 12, 31, 10, tzinfo=UTC)
    sunday = after(parse_cron("59 23 31 12 */7"), datetime(2020, 1, 1, tzinfo=UTC), parse_zone("America/New_York"))
    assert next(sunday) == datetime(2024, 1, 1, 4, 59, tzinfo=UTC)


def test_time_ends_before_datetimes_do() -> None:
    cron, zone = parse_cron("0 0 1 1 *"), parse_zone("Pacific/Kiritimati")
    far = datetime(9998, 6, 1, tzinfo=UTC)
    assert len(list(after(cron, far, zone))) == 1
    assert len(list(before(cron, datetime(2, 6, 1, tzinfo=UTC), zone))) == 1
    assert list(after(cron, LATEST, zone)) == []
    assert list(cron.within(datetime.max.replace(tzinfo=UTC), LATEST, zone)) == []
    assert list(before(cron, datetime.min.replace(tzinfo=UTC), zone)) == []
    assert list(cron.within(LATEST, EARLIEST, zone)) == []


def test_moments_of_any_zone_are_understood_and_those_of_none_refused() -> None:
    cron = parse_cron("@hourly")
    moment = datetime(2024, 1, 1, 12, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert next(after(cron, moment, UTC)) == datetime(2024, 1, 1, 8, tzinfo=UTC)
    with pytest.raises(ValueError, match="2024-01-01T12:30:00 has no time zone"):
        cron.within(moment.replace(tzinfo=None), LATEST, UTC)


def test_the_rarest_and_the_densest_are_found_at_once() -> None:
    zone = parse_zone("Europe/Berlin")
    rare, dense = parse_cron("0 0 29 FEB */7"), parse_cron("* * * * * *")
    now = datetime(2088, 3, 1, tzinfo=UTC)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        assert next(after(rare, now, zone)).year == 2128
        assert len(list(islice(before(dense, now, zone), 10_000))) == 10_000
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.05


# Reading


@pytest.mark.parametrize(
    "word, fields",
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 jan *"),
        (" 0  0\t* * *\n", "0 0 * * *"),
        ("0 0 0 * * *", "0 0 * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 l * *", "0 0 L * *"),
        ("0 0 lw * *", "0 0 LW * *"),
        ("0 0 * * 5l", "0 0 * * 05L"),
        ("05/10 1-1 * * *", "5,15,25,35,45,55 1 * * *"),
    ],
)
def test_there_are_several_ways_to_write_the_same(word: str, fields: str) -> None:
    start, zone = datetime(2024, 1, 1, tzinfo=UTC), parse_zone("UTC")
    found, wanted = (list(islice(after(parse_cron(text), start, zone), 60)) for text in (word, fields))
    assert found == wanted


def test_a_cron_is_read_once_and_shows_what_it_is() -> None:
    cron = parse_cron("0 12 * * *")
    assert isinstance(cron, Cron)
    assert cron is parse_cron("0 12 * * *")
    assert repr(cron) == "Cron('0 12 * * *')"


@pytest.mark.parametrize(
    "expression, message",
    [
        ("", '"" has 0 fields: use five (minute hour day month weekday) or six, with seconds first'),
        ("0 0 * *", '"0 0 * *" has 4 fields: use five'),
        ("0 0 0 * * * *", "has 7 fields: use five"),
        ("60 * * * * *", 'the second "60" is not allowed: use 0-59, or *, a list (1,2), a range (1-5), a step (*/2)'),
        ("60 * * * *", 'the minute "60" is not allowed: use 0-59, or'),
        ("-1 * * * *", 'the minute "-1" is not allowed'),
        ("1.5 * * * *", 'the minute "1.5" is not allowed'),
        ("*/0 * * * *", 'the minute "*/0" is not allowed'),
        ("*/ * * * *", 'the minute "*/" is not allowed'),
        ("1, * * * *", 'the minute "1," is not allowed'),
        (", * * * *", 'the minute "," is not allowed'),
        ("5-5/2 * * * *", 'the minute "5-5/2" is not allowed'),
        ("** * * * *", 'the minute "**" is not allowed'),
        ("0 24 * * *", 'the hour "24" is not allowed: use 0-23, or'),
        ("0 22-4 * * *", 'the hour "22-4" is not allowed'),
        ("0 0 0 * *", 'the day "0" is not allowed: use 1-31, L (the last day), LW (the last working day), or'),
        ("0 0 L/2 * *", 'the day "L/2" is not allowed'),
        ("0 0 lw/2 * *", 'the day "lw/2" is not allowed'),
        ("0 0 ? * *", 'the day "?" is not allowed'),
        ("0 0 * 13 *", 'the month "13" is not allowed: use 1-12, JAN-DEC, or'),
        ("0 0 * JANUARY *", 'the month "JANUARY" is not allowed'),
        ("0 0 * * 8", 'the weekday "8" is not allowed: use 0-7 (0 and 7 are Sunday), SUN-SAT, 1#2 (the second Monday)'),
        ("0 0 * * FRI-SUN", 'the weekday "FRI-SUN" is not allowed'),
        ("0 0 * * 1#6", 'the weekday "1#6" is not allowed'),
        ("0 0 * * 5L/2", 'the weekday "5L/2" is not allowed'),
        ("٣ 0 * * *", 'the minute "٣" is not allowed'),
        ("0 ３ * * *", 'the hour "３" is not allowed'),
        ("0 0 * * ſun", 'the weekday "ſun" is not allowed'),
        ("0\u00a00 * * * *", 'the minute "0\u00a00" is not allowed'),
        ("0 0 * * \x00", 'the weekday "\x00" is not allowed'),
        ("@reboot", '"@reboot" is not allowed: use @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually'),
        ("0 0 30 2 *", '"0 0 30 2 *" never fires: there is no date with this day, month and weekday'),
        ("0 0 31 APR,JUN *", "never fires"),
        ("0 0 */30 2 MON#3", "never fires"),
        ("0 0 */30 * 1#3", "never fires"),
        ("0 " * 101, "a cron expression has at most 200 characters, this one has 202"),
        ("1," * 10_000_000, "a cron expression has at most 200 characters"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field_and_what_it_takes(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_cron(expression)


@given(st.text(max_size=220) | st.text(alphabet="0123456789*/,-#LW? \tJANMON@", max_size=40))
def test_any_text_is_either_an_expression_that_fires_or_a_value_error(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    assert next(after(cron, datetime(2024, 1, 1, tzinfo=UTC), UTC))


# Zones


def test_zones_are_found_by_name() -> None:
    assert parse_zone("Europe/Berlin") is ZoneInfo("Europe/Berlin")
    assert parse_zone("UTC").key == "UTC"
    assert datetime(2024, 7, 1, tzinfo=parse_zone("UTC")).utcoffset() == timedelta()
    assert datetime(2024, 7, 1, tzinfo=parse_zone("UTC")).tzname() == "UTC"


@pytest.mark.parametrize(
    "name, hint",
    [
        ("Europe/Berln", 'the time zone "Europe/Berln" is not known; did you mean "Europe/Berlin"?'),
        ("europe/berlin", 'did you mean "Europe/Berlin"?'),
        ("Berlin", 'did you mean "Europe/Berlin"?'),
        ("New York", 'did you mean "America/New_York"?'),
        ("??", 'the time zone "??" is not known; use an IANA name such as Europe/Berlin'),
        ("", 'the time zone "" is not known; use an IANA name'),
        ("localtime", "is not known"),
        ("right/UTC", "is not known"),
        ("America", "is not known"),
        ("../../etc/passwd", "is not known"),
        ("/etc/passwd", "is not known"),
        ("UTC\0", "is not known"),
        ("\ud800", "is not known"),
        ("x" * 100_000, f'the time zone "{"x" * 200}…" is not known'),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        parse_zone(name)


@pytest.fixture
def no_zone_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    path = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(())
    parse_zone.cache_clear()
    _zone_names.cache_clear()
    yield
    zoneinfo.reset_tzpath(path)
    parse_zone.cache_clear()
    _zone_names.cache_clear()


@pytest.mark.usefixtures("no_zone_database")
def test_without_a_zone_database_there_is_utc_and_a_clear_error() -> None:
    assert next(after(parse_cron("@daily"), datetime(2024, 1, 1, tzinfo=UTC), parse_zone("UTC"))).day == 2
    with pytest.raises(ValueError, match='"Europe/Berlin" is not known, for this machine has no time zone database'):
        parse_zone("Europe/Berlin")
