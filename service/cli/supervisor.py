"""Several processes behind one socket: starts them, replaces what dies, starts again when files change."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

from domain.errors import Misconfigured, ServiceError
from service.app import load_app
from service.cli.output import PROBLEM, Failed, complain, exit_code_of, message_of
from service.cli.server import GRACE_SECONDS, log_for, serve_app

logger = logging.getLogger("uvicorn.error")

LOOK_SECONDS = 0.3
# What a worker needs on top of the time its requests get, to close what it has open.
CLOSING_SECONDS = 10
_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A process that serves; it reports through a pipe, and ends when the pipe's other end is gone."""

    def __init__(self, target: str | None, listener: socket.socket) -> None:
        self.reports, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=work, args=(target, listener, theirs), daemon=False)
        self.is_started = False
        # Until it can handle a Ctrl-C it must not get one: it would die in the middle of an import, with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def report(self) -> tuple[int, str] | None:
        """Why it failed, if it says so; anything else it says is that it has started."""
        try:
            if not self.reports.poll():
                return None
            failure: tuple[int, str] | None = self.reports.recv()
        except (EOFError, OSError):
            return None
        self.is_started = failure is None
        return failure

    def stop(self, is_forced: bool = False) -> None:
        """Ask it to end, or make it."""
        if self.process.exitcode is None:
            (self.process.kill if is_forced else self.process.terminate)()


def work(target: str | None, listener: socket.socket, supervisor: Connection) -> None:
    """What runs in a worker's process."""
    threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    try:
        app = load_app(target)
        log_for(app)
        serve_app(app, target, listener, lambda: _tell(supervisor, None))
    except (Misconfigured, ServiceError, Failed) as error:
        _tell(supervisor, (exit_code_of(error), message_of(error)))
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        # It came before anybody was there to handle it; the supervisor has got it too.
        sys.exit(0)


def _tell(supervisor: Connection, report: tuple[int, str] | None) -> None:
    # A supervisor that is stopping does not listen any more.
    with suppress(OSError):
        supervisor.send(report)


def _end_with(supervisor: Connection) -> None:
    """A worker must not outlive its supervisor, however that one died."""
    try:
        supervisor.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


class Supervisor:
    """Keeps `count` workers running, or one that is replaced whenever a file in the `watched` folders changes."""

    def __init__(
        self,
        target: str | None,
        listener: socket.socket,
        count: int,
        on_started: Callable[[], None],
        watched: tuple[Path, ...] = (),
    ) -> None:
        self._target = target
        self._listener = listener
        self._count = count
        self._on_started = on_started
        self._watched = watched
        self._files: Mapping[Path, int] = {}
        self._workers: list[Worker] = []
        self._signals = 0
        self._has_started = False
        self._wake, self._waker = _SPAWN.Pipe(duplex=False)

    def run(self) -> None:
        """Serve until a signal comes. Raises `Failed` with what a worker says that cannot start."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._files = dict(_files(self._watched))
        try:
            self._workers = [Worker(self._target, self._listener) for _ in range(self._count)]
            while not self._signals:
                self._look_after()
        finally:
            self._stop_all()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._waker.send_bytes(b"!")

    def _look_after(self) -> None:
        """Wait until something happens, and deal with it."""
        sentinels = [worker.process.sentinel for worker in self._workers]
        reports = [worker.reports for worker in self._workers if not worker.is_started and not worker.reports.closed]
        wait([self._wake, *sentinels, *reports], LOOK_SECONDS if self._watched else None)
        for worker in list(self._workers):
            failure = worker.report() if worker.reports in reports else None
            if failure is not None:
                self._failed(worker, failure)
            elif worker.process.exitcode is not None and not self._signals:
                self._died(worker)
        if not self._has_started and self._workers and all(worker.is_started for worker in self._workers):
            self._has_started = True
            self._on_started()
        if self._watched:
            self._renew_changed()

    def _failed(self, worker: Worker, failure: tuple[int, str]) -> None:
        exit_code, message = failure
        if not (self._watched and self._has_started):
            raise Failed(message, exit_code)
        # Whoever is editing will repair it, and that is noticed.
        complain(message)
        self._remove(worker)

    def _died(self, worker: Worker) -> None:
        code = worker.process.exitcode
        if not worker.is_started:
            self._failed(worker, (PROBLEM, f"a worker ended before it had started (exit code {code})"))
            return
        self._remove(worker)
        if not self._watched:
            logger.warning("worker %s ended (exit code %s); another one starts", worker.process.pid, code)
            self._workers.append(Worker(self._target, self._listener))

    def _renew_changed(self) -> None:
        files = dict(_files(self._watched))
        if files == self._files:
            return
        changed = sorted({path for path, _ in files.items() ^ self._files.items()})
        self._files = files
        logger.warning("%s changed: starting again", ", ".join(path.name for path in changed[:3]))
        for worker in list(self._workers):
            worker.stop()
            worker.process.join(GRACE_SECONDS + CLOSING_SECONDS)
            worker.stop(is_forced=True)
            self._remove(worker)
        self._workers = [Worker(self._target, self._listener)]

    def _remove(self, worker: Worker) -> None:
        worker.process.join()
        worker.reports.close()
        self._workers.remove(worker)

    def _stop_all(self) -> None:
        # Nobody new gets in while the workers finish.
        self._listener.close()
        for worker in self._workers:
            worker.stop()
        asked = self._signals
        running = self._workers
        while running := [worker for worker in running if worker.process.exitcode is None]:
            while self._wake.poll():
                self._wake.recv_bytes()
            sentinels = [worker.process.sentinel for worker in running]
            is_quiet = not wait([self._wake, *sentinels], GRACE_SECONDS + CLOSING_SECONDS)
            if is_quiet or self._signals > max(asked, 1):
                for worker in running:
                    worker.stop(is_forced=True)
                    worker.process.join()


def _files(folders: tuple[Path, ...]) -> Iterator[tuple[Path, int]]:
    """Every Python file below the folders with the time of its last change; environments are left out."""
    for folder in folders:
        for where, names, files in os.walk(folder):
            names[:] = [
                name
                for name in names
                if not name.startswith((".", "__")) and not Path(where, name, "pyvenv.cfg").exists()
            ]
            for path in (Path(where, name) for name in files if name.endswith(".py")):
                try:
                    yield path, path.stat().st_mtime_ns
                except FileNotFoundError:
                    continue
