"""Schedules: what is checked, which ticks are planned and what becomes of each of them."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bodies import Bodies
from domain.errors import Invalid, InvalidBody
from domain.query import Resource
from domain.schedules import (
    MOST_AT_ONCE,
    MOST_MISSED,
    SCHEDULES,
    CatchUp,
    Decision,
    Overlap,
    Plan,
    ScheduledTask,
    between,
    check,
    decide,
    jitter,
    next_fire,
    plan,
    preview,
)

START = datetime(2024, 3, 30, 12, tzinfo=UTC)
MICROSECOND, SECOND, MINUTE = timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def scheduled(cron: str = "0 * * * *", **values: Any) -> ScheduledTask:
    return ScheduledTask(**({"name": "report", "task": "report", "cron": cron, "created_at": START} | values))


def after(schedule: ScheduledTask, planned: Plan) -> ScheduledTask:
    """The schedule once a plan is carried out."""
    return msgspec.structs.replace(
        schedule,
        last_fire_at=planned.last_fire_at,
        next_fire_at=planned.next_fire_at,
        fired=schedule.fired + len(planned.fire),
        missed=schedule.missed + planned.missed,
    )


def wrong(schedule: ScheduledTask) -> dict[str, str]:
    with pytest.raises(InvalidBody) as caught:
        check(schedule)
    assert all(error.pointer == f"/{error.loc[1]}" for error in caught.value.errors)
    return {str(error.loc[1]): error.msg for error in caught.value.errors}


# The entity


def test_it_is_a_resource_with_the_defaults_of_a_careful_schedule() -> None:
    resource = Resource(ScheduledTask, "schedules")
    assert resource.fields.keys() == SCHEDULES.fields.keys() >= {"cron", "overlap", "args", "next_fire_at"}
    schedule = scheduled()
    check(schedule)
    assert (schedule.time_zone, schedule.overlap, schedule.catch_up) == ("UTC", "skip", "last")
    assert (schedule.catch_up_limit, schedule.misfire_grace_seconds, schedule.jitter_seconds) == (100, 60, 0)
    assert (schedule.queue, schedule.priority, schedule.timeout_seconds, schedule.next_fire_at) == (None,) * 4


def test_clients_send_what_they_choose_and_the_rest_is_the_services() -> None:
    bodies = Bodies(SCHEDULES)
    body = b'{"name": "n", "task": "t", "cron": "@daily", "overlap": "allow_all", "fired": 7, "last_fire_at": null}'
    assert dict(bodies.decode_create(body)) == {
        "name": "n",
        "task": "t",
        "cron": "@daily",
        "overlap": Overlap.ALLOW_ALL,
    }


# Checks


def test_every_wrong_field_is_named_at_once() -> None:
    errors = wrong(
        scheduled(
            "0 25 * * *",
            time_zone="Europe/Berln",
            name="",
            overlap="sometimes",
            catch_up_limit=0,
            jitter_seconds=float("inf"),
            start_at=START,
            end_at=START,
        )
    )
    assert errors.keys() == {
        "cron",
        "time_zone",
        "name",
        "overlap",
        "catch_up_limit",
        "jitter_seconds",
        "end_at",
    }
    assert errors["cron"].startswith('the hour "25" is not allowed: use 0-23')
    assert errors["time_zone"].endswith('did you mean "Europe/Berlin"?')
    assert errors["end_at"] == "end_at 2024-03-30T12:00:00.000000Z is not after start_at 2024-03-30T12:00:00.000000Z"


@pytest.mark.parametrize(
    "values, name, message",
    [
        ({"cron": "0 0 30 2 *"}, "cron", "never fires"),
        ({"cron": 5}, "cron", "Expected `str`, got `int`"),
        ({"task": "two words"}, "task", "Expected a name"),
        ({"misfire_grace_seconds": -1.0}, "misfire_grace_seconds", "Expected `float` >= 0"),
        ({"misfire_grace_seconds": 86_401.0}, "misfire_grace_seconds", "<= 86400"),
        ({"priority": 1_001}, "priority", "<= 1000"),
        ({"start_at": START.replace(tzinfo=None)}, "start_at", "has no time zone: add an offset, or Z for UTC"),
        ({"end_at": START.replace(tzinfo=None), "start_at": START}, "end_at", "has no time zone"),
        ({"end_at": "tomorrow"}, "end_at", "Invalid RFC3339"),
        (
            {"cron": "0 0 1 1 *", "start_at": START, "end_at": START + DAY},
            "end_at",
            '"0 0 1 1 *" never fires from start_at 2024-03-30T12:00:00.000000Z to end_at 2024-03-31T12:00:00.000000Z',
        ),
    ],
)
def test_a_wrong_field_says_what_is_wrong_with_it(values: dict[str, Any], name: str, message: str) -> None:
    errors = wrong(scheduled(**values))
    assert errors.keys() == {name}
    assert message in errors[name]


def test_a_span_in_which_it_fires_is_fine_on_either_side_alone_too() -> None:
    for values in ({"start_at": START}, {"end_at": START}, {"start_at": START, "end_at": START + SECOND}):
        check(scheduled(**values))


# The next ticks


def test_it_fires_from_its_start_on_and_before_its_end() -> None:
    schedule = scheduled(start_at=START, end_at=START + 2 * HOUR)
    assert next_fire(schedule, START - 100 * DAY) == START
    assert next_fire(schedule, START) == START + HOUR
    assert next_fire(schedule, START + HOUR) is None
    assert preview(schedule, START - DAY) == [START, START + HOUR]
    assert preview(schedule, START + DAY) == []


def test_a_preview_shows_the_next_ticks_in_the_zone_of_the_schedule_paused_or_not() -> None:
    schedule = scheduled("30 2 * * *", time_zone="Europe/Berlin", is_paused=True)
    assert [fire.isoformat() for fire in preview(schedule, START, 3)] == [
        "2024-03-31T01:00:00+00:00",
        "2024-04-01T00:30:00+00:00",
        "2024-04-02T00:30:00+00:00",
    ]
    assert len(preview(schedule, START)) == 10


def test_a_backfill_takes_all_ticks_of_a_span_or_none() -> None:
    schedule = scheduled(end_at=START + 3 * HOUR, last_fire_at=START + 2 * HOUR)
    assert between(schedule, START, START + 2 * HOUR, 2) == [START, START + HOUR]
    assert between(schedule, START, START + DAY, 3) == [START, START + HOUR, START + 2 * HOUR]
    assert between(schedule, START + DAY, START + 2 * DAY, 3) == []
    berlin = timezone(2 * HOUR)
    assert between(schedule, START.astimezone(berlin), (START + HOUR).astimezone(berlin), 1) == [START]


@pytest.mark.parametrize(
    "start, end, message",
    [
        (START, START, "The span from 2024-03-30T12:00:00.000000Z to 2024-03-30T12:00:00.000000Z does not end after"),
        (START, START - DAY, "does not end after its start"),
        (
            START,
            START + DAY,
            "There are at least 11 ticks from 2024-03-30T12:00:00.000000Z to .* at most 10 are allowed",
        ),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), "at least 11 ticks"),
        (START.replace(tzinfo=None), START, "need a time zone"),
    ],
)
def test_a_span_that_cannot_be_backfilled_is_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        between(scheduled(), start, end, 10)


# Plans


def test_a_tick_that_is_due_fires_and_the_next_one_is_known() -> None:
    schedule = scheduled(next_fire_at=START + HOUR)
    assert plan(schedule, START + HOUR + SECOND) == Plan(
        fire=(START + HOUR,),
        missed=0,
        missed_is_at_least=False,
        last_fire_at=START + HOUR,
        next_fire_at=START + 2 * HOUR,
    )


def test_nothing_is_due_before_its_time_nor_twice() -> None:
    schedule = scheduled(next_fire_at=START + HOUR)
    early = plan(schedule, START)
    assert (early.fire, early.last_fire_at, early.next_fire_at) == ((), None, START + HOUR)
    done = after(schedule, plan(schedule, START + HOUR))
    assert plan(done, START + HOUR).fire == ()
    assert plan(done, START + HOUR).next_fire_at == START + 2 * HOUR
    # Also when a clock has been set back meanwhile.
    back = plan(done, START - DAY)
    assert (back.fire, back.missed, back.last_fire_at) == ((), 0, START + HOUR)
    assert back.next_fire_at == START + 2 * HOUR


@pytest.mark.parametrize(
    "catch_up, limit, fire_hours, missed",
    [
        (CatchUp.NONE, 100, [], 5),
        (CatchUp.LAST, 100, [5], 4),
        (CatchUp.ALL, 100, [1, 2, 3, 4, 5], 0),
        (CatchUp.ALL, 2, [4, 5], 3),
    ],
)
def test_late_ticks_are_caught_up_with_as_the_schedule_says(
    catch_up: CatchUp, limit: int, fire_hours: list[int], missed: int
) -> None:
    schedule = scheduled(catch_up=catch_up, catch_up_limit=limit, next_fire_at=START + HOUR)
    planned = plan(schedule, START + 5 * HOUR + 61 * SECOND)
    assert planned.fire == tuple(START + hour * HOUR for hour in fire_hours)
    assert (planned.missed, planned.missed_is_at_least) == (missed, False)
    assert (planned.last_fire_at, planned.next_fire_at) == (START + 5 * HOUR, START + 6 * HOUR)


@pytest.mark.parametrize("catch_up, fire_hours", [("none", [5]), ("last", [5]), ("all", [1, 2, 3, 4, 5])])
def test_a_tick_that_is_on_time_always_fires_and_makes_up_for_late_ones(catch_up: str, fire_hours: list[int]) -> None:
    schedule = scheduled(catch_up=CatchUp(catch_up), next_fire_at=START + HOUR)
    planned = plan(schedule, START + 5 * HOUR + 60 * SECOND)
    assert planned.fire == tuple(START + hour * HOUR for hour in fire_hours)
    assert planned.missed == 5 - len(fire_hours)


def test_all_ticks_within_the_grace_are_on_time() -> None:
    schedule = scheduled("* * * * *", misfire_grace_seconds=180, next_fire_at=START)
    planned = plan(schedule, START + HOUR)
    assert planned.fire == tuple(START + number * MINUTE for number in (57, 58, 59, 60))
    assert planned.missed == 57


def test_what_was_before_a_change_of_the_schedule_is_let_be() -> None:
    changed = scheduled("* * * * *", last_fire_at=START, next_fire_at=START + 10 * HOUR, catch_up=CatchUp.ALL)
    planned = plan(changed, START + 10 * HOUR + 2 * MINUTE)
    assert planned.fire == tuple(START + 10 * HOUR + number * MINUTE for number in range(3))
    assert planned.missed == 0


def test_a_schedule_that_was_never_planned_is_considered_from_its_creation_on() -> None:
    planned = plan(scheduled(catch_up=CatchUp.ALL), START + 2 * HOUR)
    assert planned.fire == (START + HOUR, START + 2 * HOUR)


def test_the_last_tick_before_the_end_is_caught_up_with_long_after_it() -> None:
    schedule = scheduled(end_at=START + 3 * HOUR, next_fire_at=START + HOUR)
    planned = plan(schedule, START + 100 * DAY)
    assert (planned.fire, planned.missed, planned.next_fire_at) == ((START + 2 * HOUR,), 1, None)
    over = plan(after(schedule, planned), START + 200 * DAY)
    assert (over.fire, over.missed, over.next_fire_at, over.last_fire_at) == ((), 0, None, START + 2 * HOUR)


@pytest.mark.parametrize(
    "count, is_at_least", [(MOST_MISSED - 1, False), (MOST_MISSED, False), (MOST_MISSED + 1, True)]
)
def test_missed_ticks_are_counted_up_to_a_bound(count: int, is_at_least: bool) -> None:
    schedule = scheduled("* * * * * *", catch_up=CatchUp.NONE, misfire_grace_seconds=0, next_fire_at=START)
    planned = plan(schedule, START + (count - 1) * SECOND + timedelta(milliseconds=500))
    assert (planned.fire, planned.missed, planned.missed_is_at_least) == ((), min(count, MOST_MISSED), is_at_least)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_year_of_missed_seconds_is_planned_at_once(catch_up: CatchUp) -> None:
    schedule = scheduled(
        "* * * * * *", time_zone="Europe/Berlin", catch_up=catch_up, catch_up_limit=1_000, next_fire_at=START
    )
    seconds = []
    for _ in range(3):
        began = time.process_time()
        planned = plan(schedule, START + 365 * DAY)
        seconds.append(time.process_time() - began)
        assert planned.missed_is_at_least
        assert len(planned.fire) == 61 + (1_000 if catch_up is CatchUp.ALL else 0)
    assert min(seconds) < 0.05


CRONS = ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0,30 1-3 * * *", "*/20 * * * * *", "15 1,2 * * SUN"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
WAITS = st.lists(
    st.one_of(st.floats(0.001, 90), st.floats(0.001, 4_000), st.sampled_from([0.0, 60.0, 3_600.0])),
    min_size=1,
    max_size=30,
)
# Shortly before clocks are changed, in one of the zones or another.
BEGINS = st.sampled_from([(3, 30, 23), (10, 26, 23), (3, 10, 5), (11, 3, 4), (4, 6, 14), (10, 5, 14)]).map(
    lambda moment: datetime(2024, *moment, tzinfo=UTC)
)


def carried_out(schedule: ScheduledTask, nows: Iterable[datetime]) -> tuple[ScheduledTask, list[Plan]]:
    plans = []
    for now in nows:
        plans.append(plan(schedule, now))
        schedule = after(schedule, plans[-1])
    return schedule, plans


def ticks_of(schedule: ScheduledTask, begin: datetime, end: datetime) -> list[datetime]:
    """Those after `begin`, up to and with `end`."""
    if begin == end:
        return []
    return between(schedule, begin + MICROSECOND, end + MICROSECOND, 1_000_000)


def moments(begin: datetime, waits: Sequence[float]) -> list[datetime]:
    found = [begin]
    for wait in waits:
        found.append(found[-1] + timedelta(seconds=wait))
    return found[1:]


@given(cron=st.sampled_from(CRONS), zone=st.sampled_from(ZONES), begin=BEGINS, waits=WAITS)
def test_however_often_one_looks_each_tick_fires_exactly_once(
    cron: str, zone: str, begin: datetime, waits: list[float]
) -> None:
    schedule = scheduled(cron, time_zone=zone, created_at=begin, catch_up=CatchUp.ALL, catch_up_limit=1_000_000)
    nows = moments(begin, waits)
    done, plans = carried_out(schedule, nows)
    fired = [tick for planned in plans for tick in planned.fire]
    assert fired == ticks_of(schedule, begin, nows[-1])
    assert all(earlier < later for earlier, later in pairwise(fired))
    assert (done.missed, done.fired) == (0, len(fired))
    assert done.next_fire_at == next_fire(schedule, nows[-1])
    assert done.last_fire_at == (fired[-1] if fired else None)


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    begin=BEGINS,
    waits=WAITS,
    catch_up=st.sampled_from(CatchUp),
    limit=st.integers(1, 20),
    grace=st.sampled_from([0.0, 1.0, 60.0, 600.0]),
    span=st.tuples(st.none() | st.floats(0, 20_000), st.none() | st.floats(20_001, 60_000)),
)
def test_each_tick_is_exactly_once_fired_or_missed(
    cron: str,
    zone: str,
    begin: datetime,
    waits: list[float],
    catch_up: CatchUp,
    limit: int,
    grace: float,
    span: tuple[float | None, float | None],
) -> None:
    start_at, end_at = (None if seconds is None else begin + timedelta(seconds=seconds) for seconds in span)
    schedule = scheduled(
        cron,
        time_zone=zone,
        created_at=begin,
        catch_up=catch_up,
        catch_up_limit=limit,
        misfire_grace_seconds=grace,
        start_at=start_at,
        end_at=end_at,
    )
    nows = moments(begin, waits)
    done, plans = carried_out(schedule, nows)
    ticks = ticks_of(schedule, begin, nows[-1])
    times = Counter(tick for planned in plans for tick in planned.fire)
    assert set(times) <= set(ticks)
    assert set(times.values()) <= {1}
    assert done.fired + done.missed == len(ticks)
    for now, planned in zip(nows, plans, strict=True):
        on_time = [tick for tick in planned.fire if now - tick <= timedelta(seconds=grace)]
        late = len(planned.fire) - len(on_time)
        assert late <= {CatchUp.NONE: 0, CatchUp.LAST: 0 if on_time else 1, CatchUp.ALL: limit}[catch_up]
        assert not planned.missed or late or catch_up is not CatchUp.ALL


# Jitter


def test_jitter_is_the_same_for_the_same_tick_and_spreads_over_its_range() -> None:
    ticks = [START + number * MINUTE for number in range(2_000)]
    drawn = [jitter("01K5T0V9G8ZJ8Q6N4X3B7RM2WD", tick, 10) for tick in ticks]
    assert drawn == [jitter("01K5T0V9G8ZJ8Q6N4X3B7RM2WD", tick.astimezone(timezone(HOUR)), 10) for tick in ticks]
    assert all(timedelta() <= value < timedelta(seconds=10) for value in drawn)
    counts = Counter(value.seconds for value in drawn)
    assert all(140 <= counts[second] <= 260 for second in range(10))
    assert jitter("another", START, 10) != jitter("one", START, 10)


@pytest.mark.parametrize("seconds", [0, 1e-7, 1e-6])
def test_a_jitter_of_nothing_is_none(seconds: float) -> None:
    assert {jitter("id", START + number * SECOND, seconds) for number in range(20)} == {timedelta()}


# Overlaps


@pytest.mark.parametrize(
    "overlap, idle, running, waiting, both",
    [
        (Overlap.SKIP, Decision.START, Decision.SKIP, Decision.SKIP, Decision.SKIP),
        (Overlap.BUFFER_ONE, Decision.START, Decision.QUEUE, Decision.SKIP, Decision.SKIP),
        (Overlap.BUFFER_ALL, Decision.QUEUE, Decision.QUEUE, Decision.QUEUE, Decision.QUEUE),
        (Overlap.CANCEL_OTHER, Decision.START, Decision.REPLACE, Decision.REPLACE, Decision.REPLACE),
        (Overlap.ALLOW_ALL, Decision.START, Decision.START, Decision.START, Decision.START),
    ],
)
def test_what_happens_to_a_tick_depends_on_the_unfinished_jobs_of_its_schedule(
    overlap: Overlap, idle: Decision, running: Decision, waiting: Decision, both: Decision
) -> None:
    assert decide(overlap, 0, 0) is idle
    assert decide(overlap, 1, 0) is decide(overlap, 5, 0) is running
    assert decide(overlap, 0, 1) is decide(overlap, 0, 5) is waiting
    assert decide(overlap, 1, 1) is both


def test_very_many_ticks_on_time_fire_in_several_goes() -> None:
    schedule = scheduled("* * * * * *", misfire_grace_seconds=3600.0, last_fire_at=START)
    now = START + 2.5 * MOST_AT_ONCE * SECOND
    fired: list[datetime] = []
    for number in (MOST_AT_ONCE, MOST_AT_ONCE, MOST_AT_ONCE // 2):
        planned = plan(schedule, now)
        assert (len(planned.fire), planned.missed) == (number, 0)
        fired += planned.fire
        schedule = after(schedule, planned)
    assert fired == [START + (number + 1) * SECOND for number in range(MOST_AT_ONCE * 5 // 2)]
    assert plan(schedule, now).fire == ()
    assert planned.next_fire_at == fired[-1] + SECOND
