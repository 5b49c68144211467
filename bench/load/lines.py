"""Lines in a request that never ends before they do, and what the lines of its reply say."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

_END = b"0\r\n\r\n"


async def send_lines(port: int, path: str, chunks: Iterable[bytes]) -> dict[str, Any]:
    """POST them, and read all the while; returns the summary. Raises `AssertionError` for a reply without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_last_bytes(reader))
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: bench.test\r\ncontent-type: application/x-ndjson\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(_END)
        last = await reading
    finally:
        reading.cancel()
        writer.close()
    _, found, summary = last.rpartition(b'{"summary":')
    assert found, last.decode()
    return msgspec.json.decode(summary.partition(b"\n")[0][:-1], type=dict[str, Any])


async def _last_bytes(reader: asyncio.StreamReader) -> bytes:
    kept = b""
    while data := await reader.read(65536):
        kept = (kept + data)[-65536:]
        if kept.endswith(_END):
            break
    return kept
