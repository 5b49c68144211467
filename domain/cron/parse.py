"""Reads cron expressions, and says which field is wrong and what it takes."""

import re
import string
from collections.abc import Collection
from functools import lru_cache

from cronsim import CronSim, CronSimError

from domain.cron.fires import Cron
from domain.cron.zones import EARLIEST

MOST_CHARACTERS = 200

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day", "1-31, L (the last day), LW (the last working day)"),
    ("month", "1-12, JAN-DEC"),
    ("weekday", "0-7 (0 and 7 are Sunday), SUN-SAT, 1#2 (the second Monday), 5L (the last Friday)"),
)
# The fields that decide whether an expression is running, and how many values they have.
_SIZES = {1: 60, 2: 24}
_OPEN_STEP = re.compile(r"\d+/\d+")


@lru_cache(maxsize=1024)
def parse_cron(expression: str) -> Cron:
    """The `Cron` of five fields (minute, hour, day, month, weekday), of six (seconds first), or of a word: `@daily`.

    Raises `ValueError` with a sentence that says what is wrong and what would be right.
    """
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(f"a cron expression has at most {MOST_CHARACTERS} characters, this one has {len(expression)}")
    fields = _fields(expression.strip(string.whitespace))
    for index, text in enumerate(fields):
        _check_field(index, text)
    never = f'"{expression}" never fires: there is no date with this day, month and weekday'
    try:
        pattern = CronSim(" ".join(fields), EARLIEST)
    except CronSimError as error:
        # Each field by itself is right, so this is a day that none of the months has.
        raise ValueError(never) from error
    cron = Cron(expression, pattern, any(_is_running(index, fields[index]) for index in _SIZES))
    if not cron.fires_at_all():
        raise ValueError(never)
    return cron


def _fields(text: str) -> list[str]:
    """All six: without one for the seconds it is the full minute."""
    if text.startswith("@"):
        alias = _ALIASES.get(text.lower())
        if alias is None:
            raise ValueError(f'"{text}" is not allowed: use {", ".join(_ALIASES)}, or five fields')
        text = alias
    # By ASCII's spaces alone, so that any other is part of a field and shows up in its error.
    fields = re.split(r"\s+", text, flags=re.ASCII) if text else []
    if len(fields) not in {5, 6}:
        raise ValueError(
            f'"{text}" has {len(fields)} fields: use five (minute hour day month weekday) or six, with seconds first'
        )
    return fields if len(fields) == 6 else ["0", *fields]


def _check_field(index: int, text: str) -> None:
    name, allowed = _FIELDS[index]
    if not all(_is_term(index, term) for term in text.split(",")):
        raise ValueError(
            f'the {name} "{text}" is not allowed: use {allowed}, or *, a list (1,2), a range (1-5), a step (*/2)'
        )


def _is_term(index: int, term: str) -> bool:
    # Whatever is not ASCII may become so in upper case, which is what CronSim reads.
    if not term.isascii() or not _values(index, term):
        return False
    base, step, _ = term.upper().partition("/")
    # CronSim ignores the step after an L, and gives the range of a single value an open end.
    return not step or base == "*" or (base not in {"L", "LW"} and ("-" not in base or len(_values(index, base)) > 1))


def _values(index: int, text: str) -> Collection[object]:
    """What a field names; nothing when it is not valid."""
    fields = ["*"] * len(_FIELDS)
    fields[index] = text
    try:
        pattern = CronSim(" ".join(fields), EARLIEST)
    except CronSimError:
        return ()
    every = (pattern.seconds, pattern.minutes, pattern.hours, pattern.days, pattern.months, pattern.weekdays)
    # An empty field leaves five, and those are valid.
    return every[index] if text else ()


def _is_running(index: int, text: str) -> bool:
    is_open = any(term.startswith("*") or _OPEN_STEP.fullmatch(term) for term in text.split(","))
    return is_open or len(_values(index, text)) == _SIZES[index]
