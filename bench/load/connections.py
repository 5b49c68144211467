"""Many requests at once over kept connections: a client that does little, to leave the time to the server."""

import asyncio
import json
import time
from typing import Any, NamedTuple

import uvloop

from bench.operations import CPU, Requests, get

_LENGTH = b"content-length: "


class Load(NamedTuple):
    """What one round came to: requests per second, processor seconds per request, and each request's seconds."""

    rate: float
    cost: float
    times: list[float]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as a reply is whole, until the deadline."""

    def __init__(self, requests: Requests, deadline: float) -> None:
        self.requests = requests
        self.deadline = deadline
        self.times: list[float] = []
        self.body = b""
        self.finished = time.perf_counter()
        self.done = asyncio.get_running_loop().create_future()
        self._awaited = 0
        self._received: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        if not self._awaited:
            # uvicorn writes the whole head at once.
            head, _, data = data.partition(b"\r\n\r\n")
            status = head[9:12]
            if status[:2] != b"20" and status != b"304":
                raise AssertionError(head.decode() + data.decode())
            if status != b"304":
                at = head.index(_LENGTH) + len(_LENGTH)
                self._awaited = int(head[at:].partition(b"\r")[0])
        self._received.append(data)
        self._awaited -= len(data)
        if self._awaited:
            return
        self.finished = time.perf_counter()
        self.times.append(self.finished - self._sent)
        if self.finished < self.deadline:
            self._received.clear()
            self._send()
        else:
            self.body = b"".join(self._received)
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._awaited or not self.times:
            self.done.set_exception(error or ConnectionError("the server hung up"))
        else:
            self.done.set_result(None)


async def _connections(port: int, requests: Requests, count: int, seconds: float) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    deadline = time.perf_counter() + seconds
    opened = [
        await loop.create_connection(lambda: _Connection(requests, deadline), "127.0.0.1", port) for _ in range(count)
    ]
    connections = [connection for _, connection in opened]
    await asyncio.gather(*(connection.done for connection in connections))
    return connections


async def _reply(port: int, request: bytes) -> Any:
    [connection] = await _connections(port, iter([request]), 1, 0)
    return json.loads(connection.body)


async def _load(port: int, requests: Requests, count: int, seconds: float) -> Load:
    used = await _reply(port, get(CPU))
    started = time.perf_counter()
    connections = await _connections(port, requests, count, seconds)
    took = max(connection.finished for connection in connections) - started
    used = await _reply(port, get(CPU)) - used
    times = [time for connection in connections for time in connection.times]
    return Load(len(times) / took, used / len(times), times)


def reply(port: int, request: bytes) -> Any:
    """The decoded reply to one request. Raises `AssertionError` with the reply when it is no success."""
    return uvloop.run(_reply(port, request))


def load(port: int, requests: Requests, *, connections: int, seconds: float) -> Load:
    """Keep `connections` busy for about `seconds`."""
    return uvloop.run(_load(port, requests, connections, seconds))
