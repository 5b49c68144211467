"""Answers `GET /metrics` in a process that serves nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from domain.errors import Misconfigured

PATH = "/metrics"
_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE_SECONDS = 5.0
_MOST_HEAD_BYTES = 16_384
_MOST_CLIENTS = 16


@asynccontextmanager
async def metrics_port(host: str, port: int, text: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
    """Listen for the block. Raises `Misconfigured` when that cannot be."""
    clients = asyncio.Semaphore(_MOST_CLIENTS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with clients, asyncio.timeout(_PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _reply(head, text))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Nobody waits for an answer.
            pass
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_MOST_HEAD_BYTES)
    except OSError as error:
        raise Misconfigured(f"MILLRACE_METRICS_PORT={port}: cannot listen at {host}: {error.strerror}") from error
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _reply(head: bytes, text: Callable[[], Awaitable[bytes]]) -> bytes:
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != PATH.encode():
        return _message("404 Not Found", b"there is nothing but /metrics\n")
    if method not in {b"GET", b"HEAD"}:
        return _message("405 Method Not Allowed", b"use GET\n", "Allow: GET, HEAD\r\n")
    body = await text()
    return _message("200 OK", body, is_head=method == b"HEAD")


def _message(status: str, body: bytes, more: str = "", *, is_head: bool = False) -> bytes:
    kind = _MEDIA_TYPE if status.startswith("200") else "text/plain; charset=utf-8"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if is_head else body)
