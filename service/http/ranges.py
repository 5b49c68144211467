"""Parts of a representation: what `Range` and `If-Range` ask for (RFC 9110, section 14)."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

# More digits than any size has would only be work.
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


class Unsatisfiable(Exception):
    """Nothing of the representation is in the range."""


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Where the one range of `Range` starts and stops (exclusive). None asks for everything.

    What is malformed, in other units or of several ranges counts as not asked. Raises `Unsatisfiable`.
    """
    found = _RANGE.fullmatch(text.strip()) if text is not None else None
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        if not last:
            return None
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise Unsatisfiable
    return start, stop


def is_same(if_range: str | None, tag: str, modified_at: int) -> bool:
    """Whether `If-Range` names this very representation, by its strong tag or its date; also when nothing is said."""
    if if_range is None:
        return True
    text = if_range.strip()
    return text == tag if '"' in text else seconds_of(text) == modified_at


def http_date(seconds: int) -> str:
    """Seconds since 1970 as HTTP writes them: `Wed, 25 Nov 2026 06:00:00 GMT`."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def seconds_of(date: str | None) -> int | None:
    """An HTTP date as seconds since 1970, None for what is none."""
    try:
        found = parsedate_to_datetime(date) if date else None
        return None if found is None else int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        return None
