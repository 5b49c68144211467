"""What every stored thing has: identity, two timestamps and tags."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import uuid_utils
from msgspec import Meta

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two characters at a time halves the work of the hottest line of a bulk insert.
_PAIRS = tuple(a + b for a in CROCKFORD for b in CROCKFORD)
_PAIR_SHIFTS = tuple(range(120, -1, -10))
_DIGITS = frozenset(CROCKFORD)
_TICK = timedelta(microseconds=1)

Ulid = Annotated[
    str,
    Meta(
        pattern="^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$",
        min_length=26,
        max_length=26,
        description="a ULID: 26 characters of Crockford base32, time-ordered",
        examples=["01K5T0V9G8ZJ8Q6N4X3B7RM2WD"],
    ),
]
"""A ULID as text. Either case is accepted; it is stored and returned in upper case."""

Tag = Annotated[
    str,
    # The look-ahead keeps a trailing newline out: "$" alone would match before it.
    Meta(
        pattern=r"^[\w-]+(?!\n)$",
        min_length=1,
        max_length=100,
        description="tag: 1 to 100 letters, digits, hyphens and underscores",
    ),
]
"""A label: letters of any script, digits, hyphens and underscores, at most 100 characters."""

Tags = Annotated[list[Tag], Meta(max_length=50)]

Email = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?!\n)$",
        max_length=254,
        description="an e-mail address",
        examples=["ada@example.com"],
    ),
]
"""An e-mail address by the rule browsers use for `<input type=email>`."""


def new_id() -> str:
    """A new ULID. Ids made by one process increase strictly, also within one millisecond.

    The 128 bits are those of a UUIDv7 (RFC 9562), whose generator is monotonic; written in base32 they are a ULID.
    """
    number = uuid_utils.uuid7().int
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _PAIR_SHIFTS])


def parse_id(text: str) -> str | None:
    """`text` as an upper-case ULID, or None when it is none."""
    if len(text) != 26:
        return None
    upper = text.upper()
    # upper() can turn other letters into ASCII ones (dotless i into I), so only ASCII input counts.
    return upper if text.isascii() and upper[0] <= "7" and _DIGITS.issuperset(upper) else None


def now_utc() -> datetime:
    """The present instant, aware and in UTC."""
    return datetime.now(UTC)


def version_after(moment: datetime, now: datetime) -> datetime:
    """The `updated_at` of what is changed now and was last changed at `moment`.

    Strictly later, whatever the clocks of other replicas say: it is the version that clients compare.
    """
    return max(now, moment + _TICK)


class Entity(msgspec.Struct, kw_only=True):
    """Base of every stored entity. `created_at` and `updated_at` are set by the service, aware UTC, microseconds."""

    id: Ulid = msgspec.field(default_factory=new_id)
    created_at: datetime = msgspec.field(default_factory=now_utc)
    updated_at: datetime = msgspec.field(default_factory=now_utc)
    tags: Tags = msgspec.field(default_factory=list)


SERVER_MANAGED = frozenset({"created_at", "updated_at"})
"""Fields a client may send back but never sets."""


def duplicate_tags(tags: Sequence[str]) -> list[str]:
    """The tags that stand in `tags` more than once, in order of first appearance. Case matters."""
    if len(set(tags)) == len(tags):
        # As nearly always, and many times faster than counting.
        return []
    return [tag for tag, times in Counter(tags).items() if times > 1]
