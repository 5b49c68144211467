"""What happens to the servers behind a service: they are emptied, stopped, killed, and started again."""

import asyncio
import os
import random
import signal
import socket
import time

from tests.servers import START_SECONDS, PostgresServer, RedisServer
from tests.torture.storm import Outage


def of_redis(server: RedisServer, longest_seconds: float) -> list[Outage]:
    """It loses everything; for up to `longest_seconds` it is away, or stands still."""
    alone = asyncio.Lock()

    async def flush(chance: random.Random) -> None:
        for _ in range(3):
            async with alone:
                _send(server, b"FLUSHALL\r\n")
            await asyncio.sleep(chance.random())

    async def stop(chance: random.Random) -> None:
        async with alone:
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(chance.uniform(0.2, longest_seconds))
            await asyncio.to_thread(server.start)

    async def stall(chance: random.Random) -> None:
        async with alone:
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0.2, longest_seconds))
            os.kill(server.pid, signal.SIGCONT)

    return [("flushes of Redis", flush), ("restarts of Redis", stop), ("stalls of Redis", stall)]


def of_postgres(server: PostgresServer, longest_seconds: float) -> list[Outage]:
    """It is stopped and started; it crashes; and is away for up to `longest_seconds`."""
    alone = asyncio.Lock()

    async def stop(chance: random.Random) -> None:
        async with alone:
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(chance.uniform(0.2, longest_seconds))
            await asyncio.to_thread(server.start)

    async def crash(chance: random.Random) -> None:
        async with alone:
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(chance.uniform(0.2, longest_seconds))
            await asyncio.to_thread(_start_again, server)

    return [("restarts of PostgreSQL", stop), ("crashes of PostgreSQL", crash)]


def _start_again(server: PostgresServer) -> None:
    # For a moment processes of the one that crashed may still use its memory.
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.start()
            return
        except RuntimeError:
            if time.monotonic() > deadline:
                raise


def _send(server: RedisServer, command: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(command)
        assert connection.recv(64).startswith(b"+OK")
