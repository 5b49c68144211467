"""A request read ahead and a reply held back, for what stands between the server and the app."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from litestar.status_codes import HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPResponseStartEvent,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from domain.replies import StoredReply, is_kept, kept_headers, may_be_shared

_Received = HTTPReceiveMessage | WebSocketReceiveMessage
_EVENT_STREAM = b"text/event-stream"

HELD = "millrace.held"
"""In the scope of a request whose reply is held back: nobody hears of progress before the end."""


class ReadBody:
    """The body of a request, read ahead and handed on in the pieces in which it came.

    `is_whole` says that all of it was read, `is_broken` that the client has gone away before that.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[_Received] = deque()
        self.is_whole = False
        self.is_broken = False

    async def read(self, most_bytes: int, take: Callable[[bytes], None]) -> None:
        """Read all of it, or as much as shows that it is longer than `most_bytes`; every piece goes to `take`."""
        size = 0
        while not self.is_whole and not self.is_broken and size <= most_bytes:
            message = await self._receive()
            self._messages.append(message)
            if message["type"] == "http.disconnect":
                self.is_broken = True
            elif message["type"] == "http.request":
                piece = message.get("body", b"")
                size += len(piece)
                take(piece)
                self.is_whole = not message.get("more_body", False) and size <= most_bytes

    async def receive(self) -> _Received:
        """What the app gets: first what was read, then what follows."""
        return self._messages.popleft() if self._messages else await self._receive()


class HeldReply:
    """A reply that is held back until it is released, and from then on goes straight to the client.

    `is_known` is set when all of it is here, or too much of it: an event stream, or more than `most_bytes`. Whoever
    sends it then waits for the release. `status` is 0 until it begins.
    """

    def __init__(self, send: Send, most_bytes: int) -> None:
        self._send = send
        self._most_bytes = most_bytes
        self._start: HTTPResponseStartEvent | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._is_released = asyncio.Event()
        self.is_known = asyncio.Event()

    @property
    def status(self) -> int:
        return self._start["status"] if self._start is not None else 0

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        found = self._start.get("headers", ()) if self._start is not None else ()
        return [(name.lower(), value) for name, value in found]

    @property
    def body(self) -> bytes | None:
        """All of the body; None when there is too much of it, or more may come."""
        return b"".join(self._pieces) if self._has_ended and self._size <= self._most_bytes else None

    async def send(self, message: Message) -> None:
        """What the app sends to."""
        if self._is_released.is_set():
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
            is_stream = any(name == b"content-type" and value.startswith(_EVENT_STREAM) for name, value in self.headers)
            await self._hold(is_enough=is_stream)
        elif message["type"] == "http.response.body":
            piece = message.get("body", b"")
            self._pieces.append(piece)
            self._size += len(piece)
            self._has_ended = not message.get("more_body", False)
            await self._hold(is_enough=self._has_ended or self._size > self._most_bytes)

    async def _hold(self, *, is_enough: bool) -> None:
        if is_enough:
            self.is_known.set()
            await self._is_released.wait()

    async def release(self) -> None:
        """Send what was held back; whatever follows is not held back any more."""
        try:
            if self._start is not None:
                await self._send(self._start)
            if self._pieces:
                body = b"".join(self._pieces)
                self._pieces.clear()
                await self._send({"type": "http.response.body", "body": body, "more_body": not self._has_ended})
        finally:
            self._is_released.set()


class CollectedReply:
    """A reply of the app, collected to be kept.

    One that must not be kept, or has more than `most_bytes`, is passing: the app waits until it is passed on to its
    client, or stopped because there is none.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._start: HTTPResponseStartEvent | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._running: asyncio.Task[None] | None = None
        self._is_known = asyncio.Event()
        self._is_taken = asyncio.Event()
        self._client: Send | None = None
        self.is_passing = False

    async def collect(self, app: ASGIApp, scope: Scope, receive: Receive) -> StoredReply | None:
        """The whole reply; None as soon as it is seen to be passing. Raises what the app raises."""
        # A task of its own, so that it can go on while nobody else waits for it any more.
        self._running = asyncio.create_task(_run(app, scope, receive, self._send))
        self._running.add_done_callback(lambda _: self._is_known.set())
        try:
            await self._is_known.wait()
        except asyncio.CancelledError:
            await self.stop()
            raise
        if self.is_passing:
            return None
        self._running.result()
        return self._reply()

    async def pass_on(self, send: Send) -> None:
        """Send what is passing, to the end of the app. Raises what the app raises."""
        assert self._running is not None
        self._client = send
        self._is_taken.set()
        # Whoever cancels this cancels that.
        await self._running

    async def stop(self) -> None:
        """End the app, if it is still at work."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _send(self, message: Message) -> None:
        if self.is_passing:
            await self._pass(message)
        elif message["type"] == "http.response.start":
            self._start = message
            status, headers = message["status"], message["headers"]
            is_shared = may_be_shared(headers) if status == HTTP_503_SERVICE_UNAVAILABLE else is_kept(status, headers)
            if not is_shared:
                await self._pass(message)
        elif message["type"] == "http.response.body":
            piece = message.get("body", b"")
            self._pieces.append(piece)
            self._size += len(piece)
            self._has_ended = not message.get("more_body", False)
            if self._size > self._most_bytes and self._start is not None:
                body = b"".join(self._pieces)
                self._pieces.clear()
                await self._pass(self._start, {**message, "body": body})

    async def _pass(self, *messages: Message) -> None:
        self.is_passing = True
        self._is_known.set()
        await self._is_taken.wait()
        assert self._client is not None
        for message in messages:
            await self._client(message)

    def _reply(self) -> StoredReply:
        if self._start is None or not self._has_ended:
            raise RuntimeError("the app has ended before its reply has")
        headers = kept_headers(self._start["headers"])
        etag = next((value for name, value in headers if name == b"etag"), b"")
        return StoredReply(self._start["status"], headers, b"".join(self._pieces), time.time(), etag)


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
