"""Bulk against a process: a great many lines in the same memory, over a real connection."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.processes import PATIENCE_SECONDS

BULK = "/api/v1/items/$bulk"
ROWS = 30_000
LINES = {"content-type": "application/x-ndjson"}
# A third of what is sent; most of it are the pages that SQLite keeps.
MOST_GROWTH_KIB = 32 * 1024


def peak_kib(pid: int) -> int:
    """The most memory a process has ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def lines(count: int, name: str) -> Iterator[bytes]:
    """Lines of three kilobytes, some hundreds at a time."""
    for start in range(0, count, 500):
        yield b"".join(
            b'{"op": "create", "data": {"name": "%s%d",%s"price": 7}}\n' % (name.encode(), number, b" " * 3_000)
            for number in range(start, min(start + 500, count))
        )


@pytest.mark.parametrize("mode", ["partial", "atomic"])
def test_a_great_many_lines_take_no_more_memory_than_some(start: Start, mode: str) -> None:
    with start() as serving, httpx.Client(base_url=serving.url, timeout=10 * PATIENCE_SECONDS) as client:
        warm = client.post(f"{BULK}?mode={mode}", content=lines(5_000, "warm"), headers=LINES)
        assert warm.status_code == 200
        before = peak_kib(serving.process.pid)
        with client.stream("POST", f"{BULK}?mode={mode}", content=lines(ROWS, "item"), headers=LINES) as reply:
            *progress, last = list(reply.iter_lines())
        assert f'"succeeded":{ROWS},"failed":0' in last
        assert progress
        assert peak_kib(serving.process.pid) - before < MOST_GROWTH_KIB
        assert client.get("/api/v1/items/$stats").json() == {"total": ROWS + 5_000}
