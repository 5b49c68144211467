"""The processes that a page starts: services, and workers beside them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 20


class Process:
    """A `millrace serve` or `millrace worker` of a page; it is there until it is stopped."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.log = folder / f"process-{time.monotonic_ns()}.log"
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *arguments],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def is_ready(self) -> bool:
        """Whether it has begun to do what it is for."""
        raise NotImplementedError

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the process and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Service(Process):
    """A service on a free port."""

    def __init__(self, file: Path, folder: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(["serve", str(file)], folder, {**environment, "PORT": str(self.port)})

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Worker(Process):
    """A worker beside a service."""

    def is_ready(self) -> bool:
        said = self.log.read_text()
        return "worker of " in said and said.endswith("\n")
