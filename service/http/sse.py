"""Server-sent events: how they look, how long one waits between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from litestar import Request
from litestar.response import Stream

from domain.errors import FieldError, InvalidPage
from domain.query.parse import unknown_parameters
from service.http.parameters import query_parameter
from service.http.query import parameters

HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}
HEARTBEAT = b": heartbeat\n\n"
HEARTBEAT_SECONDS = 15.0
_LEAST_INTERVAL, _MAX_INTERVAL = 0.02, 60.0
POLL_INTERVAL = query_parameter(
    "poll_interval",
    "How often to look, in seconds",
    {"type": "number", "exclusiveMinimum": 0, "maximum": _MAX_INTERVAL},
)


def event(data: bytes, *, id: int | None = None) -> bytes:
    """One event; `id` is what a client sends back as `Last-Event-ID` when it comes again."""
    head = b"" if id is None else b"id: %d\n" % id
    return head + b"data: " + data + b"\n\n"


def event_stream(events: AsyncIterator[bytes]) -> Stream:
    """The reply that sends `events` as they come."""
    return Stream(events, media_type="text/event-stream", headers=HEADERS)


async def pause(seconds: float, draining: asyncio.Event) -> None:
    """Wait for so long, or until the server begins to stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await draining.wait()


def poll_interval(request: Request[Any, Any, Any], default: float) -> float:
    """The `poll_interval` of a stream in seconds, more than 0 and at most 60."""
    asked = default
    for name, text in parameters(request.scope):
        if name != "poll_interval":
            raise unknown_parameters([name], ("poll_interval",))
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= _MAX_INTERVAL:
            message = f'"{name}" must be a number of seconds, more than 0 and at most {_MAX_INTERVAL:g}'
            error = FieldError(type="out_of_range", loc=("query", name), msg=message, input=text[:100])
            raise InvalidPage(f"Request validation failed: {message}", errors=[error])
        asked = seconds
    # More often would only keep the service busy.
    return max(asked, _LEAST_INTERVAL)
