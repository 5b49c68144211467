"""Measures every request by its route: how many, how long, how large, and how many there are now."""

import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar.types import ASGIApp, Message, Receive, Send

from domain.measures import SECONDS, Family, Kind, Labels, Spread
from service.http.methods import method_of
from service.http.routing import ROUTE, UNMATCHED

MOST_ROUTES = 2_000
_SENT_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
# Statuses of what has no reply: a client that went away, and a mistake of ours, for which others answer.
_GONE, _FAILED = 499, 500

_NEW = ("http_request_method", "http_route", "http_response_status_code")
_OLD = ("http_method", "http_target", "http_status_code")


class Tally(msgspec.Struct):
    """What the requests of one method, route and status have come to."""

    spread: Spread
    bytes_in: int = 0
    bytes_out: int = 0


class Requests:
    """The requests that were answered, by method, route and status, and those that are being answered.

    Routes are those the service has, whatever clients ask for: `/books/{id}`, or `UNMATCHED` for anything else.
    """

    def __init__(self) -> None:
        self.active: dict[str, int] = {}
        self._tallies: dict[tuple[str, str, int], Tally] = {}

    def layer(self, app: ASGIApp) -> ASGIApp:
        """`app`, with all its requests measured."""

        async def measured(scope: Any, receive: Receive, send: Send) -> None:
            method = method_of(scope)
            request = _Measured(receive, send)
            active = self.active
            active[method] = active.get(method, 0) + 1
            status = _GONE
            began = time.perf_counter()
            try:
                await app(scope, request.receive if method in _SENT_METHODS else receive, request.send)
                status = request.status or _GONE
            except Exception:
                status = _FAILED
                raise
            finally:
                active[method] -= 1
                self._count(scope, method, _GONE if request.is_gone else status, time.perf_counter() - began, request)

        return measured

    def _count(self, scope: Any, method: str, status: int, seconds: float, request: "_Measured") -> None:
        route = scope.get(ROUTE) or scope.get("path_template") or UNMATCHED
        tally = self._tallies.get((method, route, status))
        if tally is None:
            tally = self._tally(method, route, status)
        spread = tally.spread
        spread.counts[bisect_left(SECONDS, seconds)] += 1
        spread.total += seconds
        tally.bytes_in += request.bytes_in
        if method != "HEAD":
            # What follows takes the body away.
            tally.bytes_out += request.bytes_out

    def _tally(self, method: str, route: str, status: int) -> Tally:
        if len(self._tallies) >= MOST_ROUTES:
            route = UNMATCHED
        return self._tallies.setdefault((method, route, status), Tally(spread=Spread(counts=[0] * (len(SECONDS) + 1))))

    def families(self) -> Iterator[Family]:
        """What was measured, under the names of both conventions of OpenTelemetry."""
        now = [((method,), count) for method, count in self.active.items()]
        yield Family(
            name="http_server_active_requests",
            description="Requests that are being answered",
            labels=_NEW[:1],
            values=now or [(("GET",), 0)],
        )
        found = [(_labels(key), tally) for key, tally in self._tallies.items()]
        yield Family(
            name="http_server_request_duration_seconds",
            description="How long requests took",
            kind=Kind.HISTOGRAM,
            labels=_NEW,
            bounds=SECONDS,
            values=[(labels, tally.spread) for labels, tally in found],
        )
        yield _summary(
            "http_server_duration_milliseconds",
            "How long requests took",
            [(labels, tally.spread.count, 1_000 * tally.spread.total) for labels, tally in found],
        )
        yield _summary(
            "http_server_request_size_bytes",
            "How large the bodies of requests were",
            [(labels, tally.spread.count, tally.bytes_in) for labels, tally in found],
        )
        yield _summary(
            "http_server_response_size_bytes",
            "How large the bodies of replies were",
            [(labels, tally.spread.count, tally.bytes_out) for labels, tally in found],
        )


class _Measured:
    """One request on its way through, of which status and sizes are noted."""

    __slots__ = ("_is_whole", "_receive", "_send", "bytes_in", "bytes_out", "is_gone", "status")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status = self.bytes_in = self.bytes_out = 0
        self._is_whole = self.is_gone = False

    async def receive(self) -> Any:
        message: Any = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
        elif not self._is_whole and not self.status:
            # Whatever the app makes of that, nobody hears it.
            self.is_gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
        elif message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _labels(key: tuple[str, str, int]) -> Labels:
    method, route, status = key
    return method, route, str(status)


def _summary(name: str, description: str, values: list[tuple[Labels, int, float]]) -> Family:
    return Family(
        name=name,
        description=description,
        kind=Kind.SUMMARY,
        labels=_OLD,
        values=[(labels, Spread(counts=[count], total=total)) for labels, count, total in values],
    )
