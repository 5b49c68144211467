"""What is kept of a computation besides its result, and what may be done with it as it gets older."""

import hashlib
import struct
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, Required, TypedDict, TypeVar

import msgspec

from domain.caching import fingerprint
from domain.errors import Misconfigured

ResultT = TypeVar("ResultT")

JITTER = 0.1
"""How far the lifetime of an entry differs from what was asked for, so that many do not end at the same time."""

EARLY = 0.8
"""At which part of its life an entry is computed again by whoever asks for it, in the background."""

LONGEST_KEY = 200

_FORM, _FORM_NUMBER = struct.Struct(">Bddf?"), 1


class Lifetime(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a result is good, and for how long after that it is better than nothing.

    `stale_while_revalidate_seconds` are those in which it is still given away while it is computed again,
    `stale_if_error_seconds` those in which it is so when that fails because something is unavailable.
    A result that is None is good for `negative_ttl_seconds`, or as long as others.
    """

    ttl_seconds: float
    negative_ttl_seconds: float | None = None
    stale_while_revalidate_seconds: float = 0
    stale_if_error_seconds: float = 0
    is_refreshed_early: bool = True

    def check(self) -> None:
        """Raise `Misconfigured` for what is no length of time."""
        for name in ("ttl_seconds", "negative_ttl_seconds", "stale_while_revalidate_seconds", "stale_if_error_seconds"):
            seconds = getattr(self, name)
            if seconds is None and name == "negative_ttl_seconds":
                continue
            if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
                raise Misconfigured(f"{name}={seconds!r}: use a number of seconds, 0 or more")

    def fresh_seconds(self, is_none: bool) -> float:
        """For how long a result is good."""
        return self.negative_ttl_seconds if is_none and self.negative_ttl_seconds is not None else self.ttl_seconds

    @property
    def stale_seconds(self) -> float:
        """For how long a result is kept after that."""
        return max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds)


class Seconds(TypedDict, total=False):
    """The same as arguments."""

    ttl_seconds: Required[float]
    negative_ttl_seconds: float | None
    stale_while_revalidate_seconds: float
    stale_if_error_seconds: float


class Freshness(StrEnum):
    """What may be done with an entry."""

    FRESH = "fresh"
    EARLY = "early"
    """Give it away, and compute it again."""
    STALE = "stale"
    """The same, but it is no longer good."""
    FALLBACK = "fallback"
    """Compute it again, and give it away if that fails."""
    DEAD = "dead"


class Entry(msgspec.Struct, frozen=True):
    """A result as bytes, None for a result that is None, and between which moments (Unix time) it is good."""

    payload: bytes | None
    made_at: float
    fresh_until: float
    load_seconds: float = 0

    def freshness(self, now: float, lifetime: Lifetime) -> Freshness:
        """What may be done with it at this moment."""
        if now < self.fresh_until:
            is_early = now >= self.made_at + (self.fresh_until - self.made_at) * EARLY
            return Freshness.EARLY if is_early and lifetime.is_refreshed_early else Freshness.FRESH
        if now < self.fresh_until + lifetime.stale_while_revalidate_seconds:
            return Freshness.STALE
        return Freshness.FALLBACK if now < self.fresh_until + lifetime.stale_if_error_seconds else Freshness.DEAD

    def encode(self) -> bytes:
        """As bytes."""
        is_none = self.payload is None
        return _FORM.pack(_FORM_NUMBER, self.made_at, self.fresh_until, self.load_seconds, is_none) + (
            self.payload or b""
        )


def decode_entry(data: bytes | None) -> Entry | None:
    """The entry that was encoded; None for anything else."""
    if data is None or len(data) < _FORM.size or data[0] != _FORM_NUMBER:
        return None
    _, made_at, fresh_until, load_seconds, is_none = _FORM.unpack_from(data)
    return Entry(None if is_none else data[_FORM.size :], made_at, fresh_until, load_seconds)


class Outcome(StrEnum):
    """Where an answer has come from."""

    HIT = "hit"
    STALE = "stale"
    MISS = "miss"
    """It was computed for this caller."""
    COALESCED = "coalesced"
    """It was computed for somebody else who asked at the same time."""
    BYPASS = "bypass"
    """It was computed, and not kept."""


class Answer(msgspec.Struct, Generic[ResultT], frozen=True):
    """A result, where it has come from, and for how long it is good."""

    value: ResultT
    outcome: Outcome
    ttl_seconds: float = 0


class Outcomes(msgspec.Struct, kw_only=True):
    """What has become of questions; each of them is one of these."""

    hits: int = 0
    stale: int = 0
    misses: int = 0
    coalesced: int = 0
    bypassed: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count a question that was answered."""
        self.hits += outcome is Outcome.HIT
        self.stale += outcome is Outcome.STALE
        self.misses += outcome is Outcome.MISS
        self.coalesced += outcome is Outcome.COALESCED
        self.bypassed += outcome is Outcome.BYPASS

    @property
    def spared(self) -> int:
        """How many needed no computation of their own."""
        return self.hits + self.stale + self.coalesced

    @property
    def hit_rate(self) -> float | None:
        """Which part those are of all that might have needed one; None before the first."""
        asked = self.spared + self.misses
        return self.spared / asked if asked else None


class ComputationStats(Outcomes, kw_only=True):
    """What has become of the questions for results.

    `refreshes` and `loads` are computations, in the background and all of them; `errors` are those that failed.
    """

    refreshes: int = 0
    loads: int = 0
    load_seconds: float = 0
    errors: int = 0
    invalidations: int = 0


def encoded(value: Any, kind: Any) -> bytes | None:
    """A result as it is kept; None for None. Bytes stay what they are."""
    if value is None:
        return None
    if kind is bytes:
        return bytes(value)
    return msgspec.msgpack.encode(value)


def decoded(payload: bytes | None, kind: Any) -> Any:
    """The result that was kept. Everybody gets an object of their own, which they may alter."""
    if payload is None or kind is bytes:
        return payload
    return msgspec.msgpack.decode(payload, type=kind)


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Raise `Misconfigured` for what are no tags; a text alone would be as many as it has letters."""
    if isinstance(tags, str) or not all(tags):
        raise Misconfigured(f"tags={tags!r}: give them as a list of texts that are not empty")
    return tuple(tags)


def full_key(key: str, kind: Any, generations: Sequence[int]) -> str:
    """The key under which a result of this type is kept as long as nothing changes that it depends on."""
    whole = f"{key}|{_shape(kind)}|{'.'.join(map(str, generations))}"
    if len(whole) <= LONGEST_KEY:
        return whole
    return f"{key[:100]}|{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()}"


@lru_cache(maxsize=1000)
def _shape(kind: Any) -> str:
    """What changes as soon as values of this type are written down in another way."""
    if kind is bytes or kind is Any:
        return getattr(kind, "__name__", "")
    return fingerprint(repr(kind), msgspec.json.encode(msgspec.json.schema(kind), order="sorted").decode())
