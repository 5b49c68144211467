"""The processes that are tortured: started, killed and started again, and gone with whoever tortures them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from tests.processes import PATIENCE_SECONDS, ROOT, environment, eventually, free_port
from tests.server_guard import die_with_the_guard

TARGET = "tests.torture.mill"
MARK = "TORTURE_MARK"
SKEW = "TORTURE_SKEW_SECONDS"
SKEWED = Path(__file__).with_name("skewed")


class Actor:
    """A `millrace` process in a group of its own; what it says is added to `log`."""

    greeting = "worker of"

    def __init__(self, name: str, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", "service.cli", *arguments]
        self._environment = environment(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, from the main thread: it gets a signal when the thread ends that has started it."""
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_the_guard(signal.SIGKILL),
            )

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it where it stands."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return self._process.wait(PATIENCE_SECONDS) if self._process is not None else 0

    def said(self) -> str:
        """What it has said since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")

    def has_said(self, *words: str) -> bool:
        """Whether one of its lines holds all these."""
        return any(all(word in line for word in words) for line in self.said().splitlines())

    @property
    def has_started(self) -> bool:
        """Whether it has come so far, since its last start, as to say that it runs."""
        return self.has_said(self.greeting)

    def is_ready(self) -> bool:
        """Whether it works by now."""
        return self.has_started


class Server(Actor):
    """A `millrace serve`, always at the same address."""

    greeting = "Uvicorn running on"

    def __init__(self, name: str, variables: Mapping[str, str], log: Path) -> None:
        port = free_port()
        super().__init__(name, ["serve", TARGET, "--port", str(port)], variables, log)
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Whether it takes requests."""
        try:
            return httpx.get(f"{self.url}/health/live", timeout=1, verify=False).is_success
        except httpx.HTTPError:
            return False


class Company:
    """All actors of one play, on one database."""

    def __init__(
        self, folder: Path, url: str, *, redis_url: str | None, lease_seconds: float, grace_seconds: float, losses: int
    ) -> None:
        self.mark = uuid4().hex
        self.url = url
        self.lease_seconds = lease_seconds
        self.losses = losses
        self.actors: list[Actor] = []
        self._folder = folder
        self._variables = {
            MARK: self.mark,
            "DATABASE_URL": url,
            "MILLRACE_HOME": str(folder),
            **({"REDIS_URL": redis_url} if redis_url else {}),
            "TORTURE_LEASE_SECONDS": str(lease_seconds),
            "TORTURE_GRACE_SECONDS": str(grace_seconds),
            "TORTURE_LOSSES": str(losses),
        }

    def server(self, **variables: str) -> Server:
        """Engage a `millrace serve`; it does not run yet."""
        name = f"server-{len(self.actors)}"
        server = Server(name, self._with(variables), self._folder / f"{name}.log")
        self.actors.append(server)
        return server

    def worker(self, *options: str, **variables: str) -> Actor:
        """Engage a `millrace worker`; it does not run yet."""
        name = f"worker-{len(self.actors)}"
        worker = Actor(name, ["worker", TARGET, *options], self._with(variables), self._folder / f"{name}.log")
        self.actors.append(worker)
        return worker

    def _with(self, variables: Mapping[str, str]) -> dict[str, str]:
        skewed = {"PYTHONPATH": f"{SKEWED}{os.pathsep}{ROOT}"} if SKEW in variables else {}
        return {**self._variables, **skewed, **variables}

    def start(self, *actors: Actor) -> None:
        """Start these actors, or all, and wait until they work."""
        for actor in actors or self.actors:
            actor.start()
        for actor in actors or self.actors:
            try:
                eventually(lambda: actor.is_ready() or not actor.is_running)  # noqa: B023
                assert actor.is_running
            except AssertionError as error:
                raise AssertionError(f"{actor.name} does not start: {actor.said()[-2_000:]}") from error

    def processes(self) -> set[int]:
        """Everything that runs because of it, however far from here it was started."""
        mark = f"{MARK}={self.mark}".encode()
        found = set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes().split(b"\0"):
                    found.add(int(environ.parent.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def close(self) -> None:
        """End everything."""
        for number in self.processes():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for actor in self.actors:
            actor.wait()


@contextmanager
def company(
    folder: Path,
    url: str,
    *,
    redis_url: str | None = None,
    lease_seconds: float = 2.0,
    grace_seconds: float = 0.2,
    losses: int = 1_000,
) -> Iterator[Company]:
    """Actors that are gone after the block; the rest is how the mill's workers are set."""
    made = Company(
        folder, url, redis_url=redis_url, lease_seconds=lease_seconds, grace_seconds=grace_seconds, losses=losses
    )
    try:
        yield made
    finally:
        made.close()
