"""Servers and workers in processes of their own, ours and arq's, and what processes cost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.processes import environment

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def served(kind: str, url: str, redis_url: str | None = None) -> Iterator[tuple[int, int]]:
    """A server process of a kind that `bench.server` knows, on the database at `url`; yields its port and its id."""
    command = [sys.executable, "-m", "bench.server", kind, url, *([redis_url] if redis_url else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()
            process.wait(20)


@contextmanager
def working(url: str, redis_url: str | None) -> Iterator[int]:
    """A `millrace worker` for the service with jobs on the database at `url`; yields its process group."""
    changes = {"DATABASE_URL": url, **({"REDIS_URL": redis_url} if redis_url else {})}
    command = [sys.executable, "-m", "service.cli", "worker", "bench.jobs_service:app"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()


def processor_seconds(group: int) -> float:
    """The processor time that the processes of a group have used, all their threads included; needs Linux."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


class Idle(NamedTuple):
    """A process group with nothing to do: since when, by the monotonic clock, and the seconds it had used by then."""

    group: int
    since: float
    used: float


class Arq:
    """Bare arq in a process that does what it is told, and says how many seconds it took."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def done(self, jobs: int, setting: tuple[int, float]) -> float:
        """No-op jobs per second, of so many that wait already."""
        max_jobs, poll_delay = setting
        return jobs / self._seconds(f"run {jobs} {max_jobs} {poll_delay}")

    def enqueued(self, jobs: int) -> float:
        """Jobs per second when they are enqueued one by one."""
        return jobs / self._seconds(f"enqueue {jobs}")

    def _seconds(self, order: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(order, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


@contextmanager
def arq(redis_url: str) -> Iterator[Arq]:
    """Bare arq on a Redis, of which it empties the database that the URL names."""
    command = [sys.executable, "-m", "bench.arq_peer", redis_url]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Arq(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)
