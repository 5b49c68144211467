"""A bulk request as lines: read, carried out and answered piece by piece, in the same memory however many there are."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from litestar.exceptions import HTTPException
from litestar.types import Receive, Scope, Send

from domain.bulk import BulkCounts, BulkItem, BulkOperationError, BulkOptions, ItemResult, Mode
from domain.bulk_items import ItemReader
from domain.errors import ServiceError
from domain.validation import problem, rejected
from service.http.bulk_reply import Shower
from service.http.capturing import HELD
from service.http.lines import MOST_LINE_BYTES, Lines
from service.http.problems import item_problem, status_of
from service.managers.base import Manager

logger = logging.getLogger("millrace.http")

LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
CHUNK_ITEMS, CHUNK_BYTES = 1_000, 1024**2
"""How much is carried out at a time."""

AT_ONCE = 100
"""How many items are read before others get their turn."""

IDLE_SECONDS, CHUNK_SECONDS = 20.0, 5.0
"""How long a client that has a transaction may take for some progress, and after how long a line ends its chunk.

PostgreSQL ends a transaction in which nothing is done for thirty seconds, which is more than both together.
"""

MOST_LISTED = 1_000
"""How many items that failed are listed; the others are counted."""
_MOST_SUMMED = 100

_encode = msgspec.json.Encoder().encode


class BulkStream:
    """The reply, an ASGI app that reads the request itself.

    Requests are read whatever becomes of the reply: most clients look at it only once they have sent everything. So
    what they do not take yet is kept, of progress only the latest.
    """

    def __init__(self, manager: Manager[Any], reader: ItemReader, options: BulkOptions, shower: Shower) -> None:
        self._manager = manager
        self._reader = reader
        self._options = options
        self._shower = shower
        self._has_transaction = options.mode is Mode.ATOMIC or options.dry_run
        self._counts = BulkCounts()
        self._errors: list[BulkOperationError] = []
        self._listed = 0
        self._numbers: dict[int, int] = {}
        self._lines: Lines
        self._items: list[bytes] = []
        self._progress: bytes | None = None
        self._is_telling = asyncio.Event()
        self._has_begun = False
        self._is_held = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What begins before the work is done would be taken for its end, and its transaction with that.
        self._is_held = HELD in scope
        self._lines = Lines(receive, idle_seconds=IDLE_SECONDS if self._has_transaction else None)
        work = asyncio.create_task(self._manager.bulk_stream(self._chunks(), self._options, self._report))
        try:
            while not work.done():
                await self._told(work)
                await self._flush(send)
            await self._end(work, send)
        finally:
            work.cancel()
            # Its transaction ends before anything else happens to the request.
            await asyncio.wait({work})

    async def _told(self, work: "asyncio.Task[Any]") -> None:
        """Wait until there is something to tell, or the work is done."""
        telling = asyncio.create_task(self._is_telling.wait())
        try:
            await asyncio.wait({work, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
        self._is_telling.clear()

    async def _flush(self, send: Send) -> None:
        if self._progress is None or self._is_held:
            return
        pieces, self._items, self._progress = [*self._items, self._progress], [], None
        await self._begin(send, 200)
        await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})

    async def _begin(self, send: Send, status: int) -> None:
        if not self._has_begun:
            self._has_begun = True
            headers = [(b"content-type", LINES[0].encode()), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _end(self, work: "asyncio.Task[tuple[BulkCounts, bool]]", send: Send) -> None:
        error, is_kept = None, False
        try:
            _, is_kept = work.result()
        except HTTPException:
            if not self._has_begun:
                raise
            logger.info("a client went away in the middle of its lines")
            return
        except ServiceError as found:
            if not self._has_begun:
                raise
            error = found
        failed = self._counts.failed
        is_refused = not is_kept and not self._options.dry_run and self._options.mode is Mode.ATOMIC
        await self._begin(send, 422 if is_refused else 207 if failed else 200)
        last = _encode({"summary": self._summary(is_refused, error)}) + b"\n"
        await send({"type": "http.response.body", "body": b"".join([*self._items, last]), "more_body": False})

    def _summary(self, is_refused: bool, error: ServiceError | None) -> dict[str, Any]:
        counts = self._counts
        kept = BulkCounts(failed=counts.failed) if is_refused else counts
        return {
            "mode": self._options.mode,
            "dry_run": self._options.dry_run,
            "total": counts.total,
            "succeeded": kept.total - kept.failed,
            "failed": kept.failed,
            "errors": self._errors,
            "counts": kept,
            **({} if error is None else {"status": status_of(error), "problem": item_problem(error)}),
        }

    # What the work is given, and tells

    async def _chunks(self) -> AsyncIterator[Sequence[BulkItem]]:
        items: list[BulkItem] = []
        size = index = 0
        began = time.monotonic()
        async for number, line in self._lines:
            if items and (len(items) >= CHUNK_ITEMS or size + len(line or b"") > CHUNK_BYTES):
                yield items
                items, size, began = [], 0, time.monotonic()
            if index and not items:
                # Only now it is known that the chunk before was not the last.
                self._tell()
                self._numbers = {}
            self._numbers[index] = number
            items.append(_too_long(index) if line is None else self._reader.read(line, index, ()))
            size += len(line or b"")
            index += 1
            if self._has_transaction and time.monotonic() - began > CHUNK_SECONDS:
                yield items
                items, size, began = [], 0, time.monotonic()
            if index % AT_ONCE == 0:
                await asyncio.sleep(0)
        yield items

    def _report(self, results: Sequence[ItemResult]) -> None:
        self._counts.add(results)
        for result in results:
            if result.error is not None:
                self._list(result, result.error)

    def _list(self, result: ItemResult, error: ServiceError) -> None:
        line = self._numbers[result.index]
        if len(self._errors) < _MOST_SUMMED:
            self._errors.append(BulkOperationError(result.id or f"line {line}", error.detail))
        self._listed += 1
        if self._listed <= MOST_LISTED:
            self._items.append(_encode({"item": self._shower.failed(result, error, line=line)}) + b"\n")

    def _tell(self) -> None:
        """Show how far it is, which begins the reply: its status is known only while one chunk is all there is."""
        counts = self._counts
        shown = {
            "lines": max(self._numbers.values()),
            "succeeded": counts.total - counts.failed,
            "failed": counts.failed,
        }
        self._progress = _encode({"progress": shown}) + b"\n"
        self._is_telling.set()


def _too_long(index: int) -> BulkItem:
    message = f"is longer than the {MOST_LINE_BYTES} bytes that a line may have"
    return BulkItem(index=index, error=rejected([problem("too_long", message, (), None)]))
