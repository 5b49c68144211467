"""The lines of a request, as they come in."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from litestar.exceptions import InternalServerException
from litestar.types import HTTPReceiveMessage, Receive

from domain.errors import Unavailable
from service.http.problems import GONE

MOST_LINE_BYTES = 1024**2


class Lines:
    """Iterates over the lines that are not blank, each with its number from 1; one that is too long is None.

    `number` is that of the latest line. Raises `Unavailable` after `idle_seconds` without a byte.
    """

    def __init__(self, receive: Receive, *, idle_seconds: float | None = None) -> None:
        self.number = 0
        self._receive = receive
        self._idle_seconds = idle_seconds

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes | None]]:
        rest = b""
        is_too_long = False
        async for piece in self._pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.number += 1
                if is_too_long or len(line) > MOST_LINE_BYTES:
                    is_too_long = False
                    yield self.number, None
                elif line.strip():
                    yield self.number, line
            if len(rest) > MOST_LINE_BYTES:
                # Its end is all that is still of interest.
                rest, is_too_long = b"", True
        if is_too_long or rest.strip():
            self.number += 1
            yield self.number, None if is_too_long else rest

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    message = cast("HTTPReceiveMessage", await self._receive())
            except TimeoutError:
                raise Unavailable(
                    f"The request stood still for {self._idle_seconds:g} seconds in the middle of a transaction, "
                    "so nothing of it was kept"
                ) from None
            if message["type"] == "http.disconnect":
                raise InternalServerException(GONE)
            yield message["body"]
            if not message.get("more_body", False):
                return
