"""The lines of a request, as they come in."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

from litestar.exceptions import InternalServerException
from litestar.types import HTTPReceiveMessage, Receive

from domain.errors import Unavailable
from service.http.problems import GONE

MOST_LINE_BYTES = 1024**2
LEAST_BYTES = 1024


class Lines:
    """Iterates over the lines that are not blank, each with its number from 1; one that is too long is None.

    `number` is that of the latest line. Raises `Unavailable` when a client that was waited for `idle_seconds` has not
    sent the end of a line and `LEAST_BYTES`; how long its lines take to be carried out does not count.
    """

    def __init__(self, receive: Receive, *, idle_seconds: float | None = None) -> None:
        self.number = 0
        self._receive = receive
        self._idle_seconds = self._left_seconds = idle_seconds
        self._came_bytes = 0

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes | None]]:
        rest = b""
        is_too_long = False
        async for piece in self._pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.number += 1
                if is_too_long or len(line) > MOST_LINE_BYTES:
                    is_too_long = False
                    self._moved_on()
                    yield self.number, None
                elif line.strip():
                    self._moved_on()
                    yield self.number, line
            if len(rest) > MOST_LINE_BYTES:
                # Its end is all that is still of interest.
                rest, is_too_long = b"", True
        if is_too_long or rest.strip():
            self.number += 1
            yield self.number, None if is_too_long else rest

    def _moved_on(self) -> None:
        # Only at the end of a line, so that two of them are never further apart.
        if self._came_bytes >= LEAST_BYTES:
            self._came_bytes, self._left_seconds = 0, self._idle_seconds

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._message()
            if message["type"] == "http.disconnect":
                raise InternalServerException(GONE)
            piece = message.get("body", b"")
            self._came_bytes += len(piece)
            yield piece
            if not message.get("more_body", False):
                return

    async def _message(self) -> HTTPReceiveMessage:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left_seconds):
                message = cast("HTTPReceiveMessage", await self._receive())
        except TimeoutError:
            raise Unavailable(
                f"The request brought less than a line and {LEAST_BYTES} bytes in {self._idle_seconds:g} seconds in "
                "the middle of a transaction, so nothing of it was kept"
            ) from None
        if self._left_seconds is not None:
            self._left_seconds -= time.monotonic() - began
        return message
