"""A service whose clock is wrong: its jobs go by the database's, and it answers while they need every core."""

import json
import os
import statistics
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.torture.actors import Server, company
from tests.torture.record import database_now
from tests.torture.setups import EARLY, HOUR
from tests.torture.stage import submitted, until_all
from tests.torture.witness import create, opened

pytestmark = pytest.mark.usefixtures("lost_job")
BURNING_SECONDS = 2.0


async def test_health_is_answered_while_jobs_keep_every_core_busy_and_clocks_are_wrong(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with company(tmp_path, sqlite_url) as mill:
        server = mill.server(**EARLY)
        mill.start(server)
        ids = [submitted(server, "burn", {"seconds": BURNING_SECONDS + 3}) for _ in range(os.cpu_count() or 1)]
        async with opened(sqlite_url) as engine:
            await create(engine)
            await until_all(engine, ids, lambda record, id: record.jobs[id].state == "running")
            times = _asked(server, BURNING_SECONDS)
            record = await until_all(engine, ids, lambda record, id: id in record.jobs)
            now = await database_now(engine)
    assert {record.jobs[id].state for id in ids} == {"running"}
    assert {(now - record.jobs[id].submitted_at).total_seconds() // HOUR for id in ids} == {0}
    assert (now - _latest(server)).total_seconds() // HOUR == 1
    last = statistics.quantiles(times, n=100)[-1]
    with capsys.disabled():
        print(f"\n/health beside burning jobs: p50 {statistics.median(times):.1f} ms, p99 {last:.1f} ms")
    assert last < 1_000


def _latest(server: Server) -> datetime:
    """When the server wrote the latest line of its log, by its own clock."""
    line = json.loads(server.said().splitlines()[-1])
    return datetime.fromisoformat(line["timestamp"])


def _asked(server: Server, seconds: float) -> list[float]:
    """How many milliseconds each of many requests took, one after the other."""
    times, until = [], time.monotonic() + seconds
    with httpx.Client(base_url=server.url) as client:
        while time.monotonic() < until:
            began = time.monotonic()
            assert client.get("/health").status_code == 200
            times.append((time.monotonic() - began) * 1_000)
    return times
