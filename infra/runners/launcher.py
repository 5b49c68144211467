"""The launcher: a process that imports the tasks' modules once and forks a process for every run.

Nothing else runs in it, so that nobody can keep it from what it is for: when the worker is gone, however that came
about, every process of every run is killed.
"""

import gc
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from infra.runners import child
from infra.runners.connection import Connection
from infra.runners.messages import Exited, Kill, Ready, Refused, Setup, Start, Started, ToLauncher
from infra.runners.modules import CannotImport, load
from infra.runners.system import adopt_orphans, close_others, die_with, kill_group

START_METHODS = ("auto", "fork", "spawn")
FDS_PER_RUN = 3
# How many descriptors are taken in at a time.
MOST_FDS = 60
# How long the processes of runs may take to be gone after they were killed.
REAP_SECONDS = 2


def command(module: str, *arguments: int) -> list[str]:
    """How to start a Python that calls `main` of one of our modules."""
    # Ours is found wherever it is, and nothing in the current folder takes the place of anything.
    root = str(Path(__file__).parents[2])
    call = f"main({', '.join(map(str, arguments))})"
    program = f"import sys; sys.path.append({root!r}); from infra.runners.{module} import main; {call}"
    # Unbuffered: what was printed is on its way when the process is killed.
    return [sys.executable, "-u", "-P", "-c", program]


def main(fd: int) -> NoReturn:
    """What the launcher's process does."""
    close_others(fd)
    connection = Connection(fd)
    frame = connection.receive()
    if frame is None:
        os._exit(0)
    setup = msgspec.json.decode(frame, type=Setup)
    # While it imports it cannot see the worker go; and as long as nothing runs, it may just end.
    die_with(setup.worker)
    child.prepare_streams()
    sys.path[:] = setup.path
    # What is imported stays, and to look for garbage in it would take a fifth of that time.
    gc.disable()
    try:
        for module in setup.modules:
            load(module)
    except CannotImport as error:
        with suppress(OSError):
            connection.send(Refused(error.end))
        os._exit(1)
    # A fork has the thread that calls it and no other, and whatever the others have locked stays locked.
    is_safe = threading.active_count() == 1
    is_forking = setup.start_method == "fork" or (setup.start_method == "auto" and is_safe)
    Launcher(connection, setup.worker, is_forking=is_forking).serve()


class Launcher:
    """Starts, signals and reaps the processes of runs."""

    def __init__(self, connection: Connection, worker: int, *, is_forking: bool) -> None:
        self._connection = connection
        self._worker = worker
        self._is_forking = is_forking
        self._pid = os.getpid()
        self._pids: dict[int, int] = {}
        self._fds: deque[int] = deque()
        self._wake, self._waker = os.pipe()

    def serve(self) -> NoReturn:
        """Do so until the worker is gone."""
        try:
            self._prepare()
            self._connection.send(Ready())
            poll = select.poll()
            for fd in (self._wake, self._connection.socket.fileno()):
                poll.register(fd, select.POLLIN)
            # A copy of the socket in a process that the worker has forked would keep it open for ever.
            while os.getppid() == self._worker:
                ready = {fd for fd, _ in poll.poll()}
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    self._reap()
                elif not self._obey():
                    break
        except (BrokenPipeError, ConnectionResetError):
            # The worker does not listen any more.
            pass
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            self._end()

    def _prepare(self) -> None:
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        # What is meant for a service as a whole must not end its runs: that is for the worker to decide.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        adopt_orphans()
        # The end of the worker wakes it like that of a run.
        die_with(self._worker, signal.SIGCHLD)
        gc.collect()
        # What is there now is shared with all processes of runs for as long as nobody touches it.
        gc.freeze()
        gc.enable()

    def _obey(self) -> bool:
        arrived = self._connection.arrived(MOST_FDS)
        if arrived is None:
            return False
        frames, fds = arrived
        self._fds += fds
        for frame in frames:
            message = ToLauncher.decode(frame)
            if isinstance(message, Start):
                self._start(message.run)
            else:
                self._kill(message)
        return True

    def _start(self, run: int) -> None:
        fds = [self._fds.popleft() for _ in range(FDS_PER_RUN)]
        try:
            pid = self._fork(fds) if self._is_forking else _spawn(fds, self._pid)
        except OSError as error:
            self._connection.send(Exited(run, None, f"the process of the task could not be started: {error}"))
        else:
            self._pids[run] = pid
            self._connection.send(Started(run, pid))
        finally:
            for fd in fds:
                os.close(fd)

    def _fork(self, fds: list[int]) -> int:
        # No handler of ours may run in the new process before it has its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # Python also counts the threads of libraries, which know about forks.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                self._become(fds)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _become(self, fds: list[int]) -> NoReturn:
        """Become the process of a run. What modules have opened when they were imported stays open: it is theirs."""
        try:
            connection, stdout, stderr = fds
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            for fd in (stdout, stderr, self._wake, self._waker, *self._fds):
                os.close(fd)
            self._connection.socket.close()
            child.live(connection, self._pid)
        finally:
            os._exit(1)

    def _kill(self, message: Kill) -> None:
        pid = self._pids.get(message.run)
        # A process that has no group yet has no descendants either.
        if pid is not None and not kill_group(pid, message.signal):
            with suppress(ProcessLookupError):
                os.kill(pid, message.signal)

    def _reap(self) -> None:
        while (ended := _waited(os.WNOHANG)) is not None:
            pid, code = ended
            run = next((run for run, known in self._pids.items() if known == pid), None)
            if run is not None:
                del self._pids[run]
                # Whatever it has started and left behind goes along.
                kill_group(pid)
                self._connection.send(Exited(run, code))

    def _end(self) -> NoReturn:
        for run in self._pids:
            self._kill(Kill(run, signal.SIGKILL))
        # Nobody is left as a zombie, unless the system itself cannot end it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(REAP_SECONDS)
        for pid in self._pids.values():
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            kill_group(pid)
        while _waited(os.WNOHANG) is not None:
            pass
        os._exit(0)


def _spawn(fds: list[int], launcher: int) -> int:
    """Start a fresh interpreter for a run; with threads around, only `exec` is safe after a fork."""
    connection, stdout, stderr = fds
    places = [(stdout, 1), (stderr, 2), (connection, 3)]
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    arguments = command("child", 3, launcher)
    return os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in places],
        setsigmask=[],
        setsigdef=ignored,
    )


def _waited(options: int) -> tuple[int, int] | None:
    """Process id and exit code of a child that has ended, if one has."""
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
