"""What it costs to be measured: processor time of requests with monitoring against the same without it."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.budgets import Promise
from bench.holding import hold
from bench.results import Figure
from service.http.application import Service
from tests.sample import builder, serving, settings

# Measured: 1.07 to 1.09, which is 1.2 µs for the layer itself where a request costs the least.
MONITORED = {
    "/health/live": Promise("monitored, to not: /health/live", "sqlite", "x", gate=1.25, aim=1.1),
    "/api/v1/items": Promise("monitored, to not: a list", "sqlite", "x", gate=1.2, aim=1.05),
}
REQUESTS, ROUNDS = 1_000, 9
_HEADERS = [(b"host", b"bench.test"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip"), (b"user-agent", b"bench")]


@pytest.mark.parametrize("path", MONITORED)
async def test_monitoring_costs_little_of_a_request(path: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bench.db'}"
    plain, measured = builder(url).build(settings()), builder(url).with_monitoring().build(settings())

    async def measure() -> Sequence[Figure]:
        rounds = []
        for number in range(1 + ROUNDS):
            # Whoever comes second finds a warmer machine, so they take turns.
            order = (plain, measured) if number % 2 else (measured, plain)
            seconds = {app: await _seconds(app, path) for app in order}
            if number:
                rounds.append(seconds[measured] / seconds[plain])
        return [Figure(MONITORED[path], median(rounds), f"{min(rounds):.2f} to {max(rounds):.2f}")]

    async with serving(plain), serving(measured):
        await hold(measure)


async def _seconds(app: Service, path: str) -> float:
    began = time.process_time()
    for _ in range(REQUESTS):
        await app(_scope(path), _receive, _send)
    return time.process_time() - began


def _scope(path: str) -> Any:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": _HEADERS,
        "client": ("127.0.0.1", 1),
        "server": ("bench.test", 80),
        "state": {},
        "extensions": {},
    }


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    pass
