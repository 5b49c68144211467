"""Traces: what a request has caused, across processes and services, as W3C Trace Context carries it."""

import enum
import re
from collections.abc import Mapping
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VERSION_0 = 55


class Role(enum.Enum):
    """What a span is in a conversation: an answer to somebody, or what was left to be done later."""

    SERVER = enum.auto()
    CONSUMER = enum.auto()


class Span(Protocol):
    """Something that takes time, as part of a trace. `traceparent` is what its children are told."""

    @property
    def traceparent(self) -> str: ...

    def update(self, name: str, attributes: Attributes) -> None:
        """Name it, and add what is known by now."""
        ...

    def fail(self, reason: str) -> None:
        """Say that it has failed."""
        ...

    def end(self) -> None:
        """It is over; in the task that has started it."""
        ...


class Tracer(Protocol):
    """Starts spans, and tells somebody of them when they are over."""

    def start(self, name: str, role: Role, parent: str | None, attributes: Attributes) -> Span:
        """Start a span, as a child of `parent` or as the first of a trace."""
        ...

    async def close(self) -> None:
        """Tell what has not been told yet, for a moment."""
        ...


def checked_traceparent(text: str) -> str | None:
    """`text` if it is one; else the trace begins here. Of later versions the part that is known counts."""
    known = text[:_VERSION_0]
    if not _TRACEPARENT.fullmatch(known):
        return None
    is_alone = len(text) == _VERSION_0
    return f"00{known[2:]}" if is_alone or (known[:2] != "00" and text[_VERSION_0] == "-") else None
