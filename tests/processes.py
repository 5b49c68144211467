"""Runs `millrace` as a process of its own, and takes care that it never outlives its test."""

import codecs
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, TypeVar

import httpx

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30
_RUNNING = re.compile(r"Uvicorn running on (http://\S+)")
T = TypeVar("T")


def eventually(question: Callable[[], T], *, within: float = PATIENCE_SECONDS) -> T:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; the last answer was {answer!r}")
        time.sleep(0.02)
    return answer


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This one without what configures services, so that tests do not depend on who runs them."""
    ours = ("DATABASE_URL", "REDIS_URL", "MILLRACE_", "HOST", "PORT", "WORKERS", "LOG_", "COLUMNS")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **(changes or {})}


def millrace(
    *arguments: str, folder: Path, variables: Mapping[str, str] | None = None, stdin: int | IO[str] = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(variables),
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


class Serving:
    """A running `millrace serve` on a free port, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.output = ""
        self.url = ""
        self._said = threading.Condition()
        self._is_silent = False
        # All the time: a service stands still as soon as nobody reads what it logs and the pipe is full.
        self._reading = threading.Thread(target=self._read_all, daemon=True)
        self._reading.start()

    def wait_until_started(self) -> None:
        """Wait until it says where it runs."""
        self._wait_until(lambda: _RUNNING.search(self.output) is not None)
        found = _RUNNING.search(self.output)
        assert found is not None
        self.url = found[1]

    def wait_for(self, text: str) -> None:
        """Wait until it has said `text`."""
        self._wait_until(lambda: text in self.output)

    def _wait_until(self, is_said: Callable[[], bool]) -> None:
        with self._said:
            while not is_said():
                if self._is_silent:
                    raise AssertionError(f"it ended with {self.process.wait(PATIENCE_SECONDS)}:\n{self.output}")
                if not self._said.wait(PATIENCE_SECONDS):
                    raise AssertionError(f"it says nothing more:\n{self.output}")

    def _read_all(self) -> None:
        assert self.process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_open = True
        while is_open:
            said = os.read(self.process.stdout.fileno(), 65536)
            is_open = bool(said)
            with self._said:
                self.output += decoder.decode(said, final=not is_open)
                self._is_silent = not is_open
                self._said.notify_all()

    def finish_reading(self) -> None:
        """Wait until everything it has said is in `output`, which is when nobody has its pipe any more."""
        self._reading.join(PATIENCE_SECONDS)
        assert not self._reading.is_alive(), "something that it has started still runs"

    def client(self) -> httpx.Client:
        """Somebody who talks to it."""
        # Without TLS there is nothing to verify, and to read the certificates takes longer than many a request.
        return httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, verify=False)

    @cached_property
    def http(self) -> httpx.Client:
        """Somebody who talks to it for as long as it is there."""
        return self.client()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code. What it still said is in `output`."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        self.process.wait(PATIENCE_SECONDS)
        self.finish_reading()
        # Whatever it has started is gone too, if not in the same instant.
        if self.process.returncode >= 0:
            eventually(lambda: not self.group())
        return self.process.returncode

    def group(self) -> set[int]:
        """The processes that belong to it and still run."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(group) == self.process.pid and state != "Z":
                found.add(int(stat.parent.name))
        return found


@contextmanager
def launched(
    *arguments: str, folder: Path, variables: Mapping[str, str] | None = None, command: str = "serve"
) -> Iterator[Serving]:
    """Start `millrace serve`, or another command, without waiting for it."""
    with running(
        [sys.executable, "-m", "service.cli", command, *arguments],
        folder=folder,
        variables={"COLUMNS": "80", **(variables or {})},
    ) as service:
        yield service


@contextmanager
def running(command: Sequence[str], *, folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Run a command that starts a service."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment({"PORT": "0", **(variables or {})}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    serving = Serving(process)
    try:
        yield serving
    finally:
        for number in serving.group():
            os.kill(number, signal.SIGKILL)
        process.wait()
        serving.finish_reading()
        assert process.stdout is not None
        process.stdout.close()
        if "http" in vars(serving):
            serving.http.close()


@contextmanager
def serving(*arguments: str, folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """A `millrace serve` that is ready for requests."""
    with launched(*arguments, folder=folder, variables=variables) as service:
        service.wait_until_started()
        yield service


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
