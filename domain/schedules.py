"""Schedules: tasks that are submitted at the times of a cron expression, and which of these times are due."""

import enum
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.cron import LATEST, parse_cron, parse_zone
from domain.entity import Entity
from domain.errors import FieldError, Invalid
from domain.jobs import Name, Priority, TimeoutSeconds
from domain.query import Resource
from domain.validation import invalid_fields, problem, rejected
from domain.wire import timestamp_text

BACKFILL = "backfill"
"""The detail of a tick that was made up for by hand; its job does not count for an overlap."""

MOST_AT_ONCE = 100
"""How many ticks on time fire in one go."""

MOST_MISSED = 10_000
"""How far missed ticks are counted."""

_MICROSECOND = timedelta(microseconds=1)
_DaySeconds = Annotated[float, Meta(ge=0, le=86_400)]


class Overlap(enum.StrEnum):
    """What becomes of a tick while jobs of earlier ticks are unfinished."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"  # it waits for them, unless another one does already
    BUFFER_ALL = "buffer_all"  # it waits for them
    CANCEL_OTHER = "cancel_other"  # they are canceled, and it waits for their end
    ALLOW_ALL = "allow_all"


class CatchUp(enum.StrEnum):
    """What becomes of ticks that nobody was there for."""

    NONE = "none"
    LAST = "last"  # one of them stands for all
    ALL = "all"


class Decision(enum.StrEnum):
    """What to do with one tick."""

    START = "start"  # submit a job
    QUEUE = "queue"  # submit a job that waits for the others of its schedule
    SKIP = "skip"
    REPLACE = "replace"  # cancel the others, then submit a job that waits for their end


class TickOutcome(enum.StrEnum):
    """What became of a tick."""

    FIRED = "fired"
    SKIPPED = "skipped"
    FAILED = "failed"  # its job could not be submitted


class Tick(msgspec.Struct, frozen=True):
    """A tick that was seen to: the job it has submitted, or why there is none."""

    fire_at: datetime
    outcome: TickOutcome
    job_id: str | None = None
    detail: str | None = None


class ScheduledTask(Entity, kw_only=True):
    """A task that is submitted at every tick, which is a time that `cron` names in `time_zone`.

    `task` is its kind and `args` what it gets. There are ticks from `start_at` on and before `end_at`. One that is
    seen to within `misfire_grace_seconds` is on time, a later one is subject to `catch_up`, which fires at most
    `catch_up_limit` of them. A job is put off by up to `jitter_seconds`. For `queue`, `priority` and
    `timeout_seconds` None is the task's own. `last_fire_at` is the latest tick that was considered, whatever became
    of it; `fired`, `skipped` (for an overlap) and `missed` (for being late) count them.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    task: Name
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    cron: str
    time_zone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    catch_up_limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    misfire_grace_seconds: _DaySeconds = 60.0
    jitter_seconds: _DaySeconds = 0.0
    start_at: datetime | None = None
    end_at: datetime | None = None
    is_paused: bool = False
    queue: Name | None = None
    priority: Priority | None = None
    timeout_seconds: TimeoutSeconds | None = None
    next_fire_at: datetime | None = None
    last_fire_at: datetime | None = None
    fired: int = 0
    skipped: int = 0
    missed: int = 0


SCHEDULES: Resource[ScheduledTask] = Resource(
    ScheduledTask,
    "schedules",
    searchable={"name", "task"},
    read_only={"next_fire_at", "last_fire_at", "fired", "skipped", "missed"},
)
"""What clients may ask of schedules."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about the ticks of a schedule that are due.

    `fire` holds those to fire, oldest first; `missed` counts the others, to `MOST_MISSED` when `missed_is_at_least`.
    `last_fire_at` is the latest of all, and that of the schedule when there are none; `next_fire_at` the next to come.
    """

    fire: tuple[datetime, ...]
    missed: int
    missed_is_at_least: bool
    last_fire_at: datetime | None
    next_fire_at: datetime | None


def check(schedule: ScheduledTask) -> None:
    """Raise `InvalidBody` with every field of a schedule that is wrong."""
    # Its arguments are the task's to check.
    values = {name: getattr(schedule, name) for name in schedule.__struct_fields__ if name != "args"}
    errors = invalid_fields(msgspec.to_builtins(values), ScheduledTask)
    known = {error.loc[1] for error in errors}
    for name, parse in (("cron", parse_cron), ("time_zone", parse_zone)):
        if name not in known:
            try:
                parse(values[name])
            except ValueError as error:
                errors.append(problem("value_error", str(error), (name,), values[name]))
    errors += _wrong_window(schedule, is_readable=not errors)
    if errors:
        raise rejected(errors)


def _wrong_window(schedule: ScheduledTask, *, is_readable: bool) -> list[FieldError]:
    moments = {name: getattr(schedule, name) for name in ("start_at", "end_at")}
    given = {name: moment for name, moment in moments.items() if isinstance(moment, datetime)}
    naive = [name for name, moment in given.items() if moment.tzinfo is None]
    if naive or len(given) < 2:
        message = "has no time zone: add an offset, or Z for UTC"
        return [problem("value_error", message, (name,), str(given[name])) for name in naive]
    start, end = (f"{name} {timestamp_text(moment)}" for name, moment in given.items())
    if given["end_at"] <= given["start_at"]:
        return [problem("value_error", f"{end} is not after {start}", ("end_at",), str(given["end_at"]))]
    if is_readable and next(_ticks(schedule, given["start_at"], given["end_at"]), None) is None:
        message = f'"{schedule.cron}" never fires from {start} to {end}'
        return [problem("value_error", message, ("end_at",), str(given["end_at"]))]
    return []


def _ticks(
    schedule: ScheduledTask, start: datetime, end: datetime, *, newest_first: bool = False
) -> Iterator[datetime]:
    """The ticks from `start` on and before `end`. Raises `ValueError` for what `check` refuses."""
    low = start if schedule.start_at is None else max(start, schedule.start_at)
    high = end if schedule.end_at is None else min(end, schedule.end_at)
    return parse_cron(schedule.cron).within(low, high, parse_zone(schedule.time_zone), newest_first=newest_first)


def next_fire(schedule: ScheduledTask, after: datetime) -> datetime | None:
    """The first tick later than `after`, from `start_at` on and before `end_at`; a pause does not matter here."""
    return next(_ticks(schedule, after + _MICROSECOND, LATEST), None)


def preview(schedule: ScheduledTask, now: datetime, count: int = 10) -> list[datetime]:
    """The next `count` ticks, or as many as there are."""
    return list(islice(_ticks(schedule, now + _MICROSECOND, LATEST), count))


def between(schedule: ScheduledTask, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """The ticks from `start` on and before `end`, for a backfill; also those that have fired already.

    Raises `Invalid` when there are more than `limit`.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise Invalid("The start and the end of a span need a time zone: add an offset, or Z for UTC")
    words = f"{timestamp_text(start)} to {timestamp_text(end)}"
    if end <= start:
        raise Invalid(f"The span from {words} does not end after its start")
    found = list(islice(_ticks(schedule, start, end), limit + 1))
    if len(found) > limit:
        raise Invalid(f"There are at least {limit + 1} ticks from {words} and at most {limit} are allowed")
    return found


def plan(schedule: ScheduledTask, now: datetime) -> Plan:
    """What to do at `now` about the ticks since `last_fire_at`, or from `next_fire_at` on when that is later.

    (A change of the schedule and the end of a pause set `next_fire_at` anew, so that what was before is let be; a
    schedule that has neither is considered from its creation on.) Ticks that are on time fire, `MOST_AT_ONCE` at a
    time. Of the late ones `all` fires the newest `catch_up_limit`, and `last` the newest, unless one is on time: that
    is the run that makes up for the others, as with every scheduler that coalesces. The rest is missed. The work
    depends on what fires and on `MOST_MISSED`, not on how long nobody was there. A pause does not matter here.
    """
    upcoming = schedule.next_fire_at and schedule.next_fire_at - _MICROSECOND
    since = max(filter(None, (schedule.last_fire_at, upcoming)), default=schedule.created_at)
    start, end = since + _MICROSECOND, now + _MICROSECOND
    punctual = max(start, now - timedelta(seconds=schedule.misfire_grace_seconds))
    upcoming_after: datetime | None = None
    on_time = tuple(islice(_ticks(schedule, punctual, end), MOST_AT_ONCE + 1))
    if len(on_time) > MOST_AT_ONCE:
        # The rest is due at once, and is seen to in the next go.
        *first, upcoming_after = on_time
        on_time, end = tuple(first), upcoming_after
    late = _ticks(schedule, start, punctual, newest_first=True)
    makes_up = {CatchUp.NONE: 0, CatchUp.LAST: 0 if on_time else 1, CatchUp.ALL: schedule.catch_up_limit}
    caught_up = tuple(islice(late, makes_up[schedule.catch_up]))
    missed = sum(1 for _ in islice(late, MOST_MISSED + 1))
    return Plan(
        fire=(*reversed(caught_up), *on_time),
        missed=min(missed, MOST_MISSED),
        missed_is_at_least=missed > MOST_MISSED,
        last_fire_at=next(_ticks(schedule, start, end, newest_first=True), schedule.last_fire_at),
        next_fire_at=upcoming_after or next_fire(schedule, max(now, since)),
    )


def jitter(schedule_id: str, fire_at: datetime, jitter_seconds: float) -> timedelta:
    """How long the job of a tick is put off: less than `jitter_seconds`, and always the same for the same tick."""
    text = f"{schedule_id} {fire_at.astimezone(UTC).isoformat()}"
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    return timedelta(microseconds=number * int(jitter_seconds * 1_000_000) >> 64)


def decide(overlap: Overlap, active: int, waiting: int) -> Decision:
    """What to do with a tick while `active` jobs of its schedule run and `waiting` ones have yet to begin."""
    is_idle = not active and not waiting
    decisions = {
        Overlap.SKIP: Decision.START if is_idle else Decision.SKIP,
        # A job that waits for a worker is as good as a buffered one: it will run after this tick.
        Overlap.BUFFER_ONE: Decision.SKIP if waiting else Decision.QUEUE if active else Decision.START,
        Overlap.BUFFER_ALL: Decision.QUEUE,
        Overlap.CANCEL_OTHER: Decision.START if is_idle else Decision.REPLACE,
        Overlap.ALLOW_ALL: Decision.START,
    }
    return decisions[overlap]
