"""What a service costs before it has done anything: the time of its start, and the memory it idles in."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.budgets import START_UP, START_UP_MEMORY, START_UP_TO_BARE
from bench.holding import hold
from bench.results import Figure
from bench.workers import processor_seconds
from tests.processes import environment

ROOT = Path(__file__).parents[1]
ROUNDS, PATIENCE_SECONDS, SETTLE_SECONDS = 5, 30, 0.3
SERVICE = """\
from piccolo.columns import Varchar

from domain.entity import Entity
from domain.query import Resource
from domain.registration import ServiceInfo
from infra.database.table import EntityTable
from service.builder import ServiceBuilder


class Book(Entity, kw_only=True):
    title: str


class Books(EntityTable, tablename="books"):
    title = Varchar(length=200)


library = ServiceBuilder(info=ServiceInfo(id="library", display_name="Library")).with_database()
app = library.with_crud(Resource(Book, "books"), table=Books).with_health().build()
"""


class Start(NamedTuple):
    """How a server started: seconds on the wall, processor seconds, and MiB of memory while it idles."""

    seconds: float
    used: float
    mebibytes: float


async def test_a_small_service_is_there_at_once_and_idles_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SERVICE)

    async def measure() -> Sequence[Figure]:
        rounds = [(_started(tmp_path / str(number), _ours), _started(tmp_path, _bare)) for number in range(ROUNDS)]
        ours, bare = zip(*rounds, strict=True)
        seconds, used, memory = (median(figures) for figures in zip(*ours, strict=True))
        bare_used, bare_memory = median(start.used for start in bare), median(start.mebibytes for start in bare)
        return [
            Figure(START_UP, used, f"{seconds:.2f} s on the wall"),
            Figure(START_UP_TO_BARE, median(one.used / other.used for one, other in rounds), f"bare {bare_used:.2f} s"),
            Figure(START_UP_MEMORY, memory, f"the bare libraries {bare_memory:.0f} MiB"),
        ]

    await hold(measure)


def _ours(folder: Path, port: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    main = str(folder.parent / "main.py")
    return [sys.executable, "-m", "service.cli", "serve", main, "--port", str(port), "--home", str(folder)]


def _bare(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "bench.bare", str(port)]


def _started(folder: Path, command: Callable[[Path, int], list[str]]) -> Start:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    arguments = command(folder, port)
    began = time.perf_counter()
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            while not _is_healthy(port):
                assert process.poll() is None, f"{arguments} ended"
                assert time.perf_counter() - began < PATIENCE_SECONDS
                time.sleep(0.005)
            seconds, used = time.perf_counter() - began, processor_seconds(process.pid)
            time.sleep(SETTLE_SECONDS)
            return Start(seconds, used, resident_mebibytes(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _is_healthy(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: bench.test\r\nconnection: close\r\n\r\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def resident_mebibytes(pid: int) -> float:
    """The memory that a process has, also what it shares with others; needs Linux."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
