"""One run as its worker sees it: what its process says, how it is stopped, and how it ended."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from domain.runs import Message, Reason, RunEnd, cut, timed_out
from infra.runners.channel import Channel, Output
from infra.runners.messages import Assignment, Ended, FromRun, Report, Stop
from infra.runners.system import kill_group

# What is still in the pipes when the process is gone is read for so long: a process that has left the group of the
# run may hold them open for ever.
DRAIN_SECONDS = 1.0
_DECODER: "msgspec.json.Decoder[FromRun]" = msgspec.json.Decoder(FromRun)


class Execution:
    """A run from its call to its end. `end` is set when its process is gone and everything it said has been read."""

    def __init__(self, assignment: Assignment, report: Callable[[Message], None], *, grace_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[RunEnd] = self._loop.create_future()
        self.job_id = assignment.run.job_id
        self._assignment = assignment
        self._report = report
        self._grace_seconds = grace_seconds
        self._channel: Channel[FromRun] | None = None
        self._outputs: list[Output] = []
        self._open = 0
        self._signal: Callable[[int], None] = lambda number: None
        self._pid: int | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._ended: Ended | None = None
        self._stop: tuple[Reason, float] | None = None
        self._death: str | None = None

    def begin(self, launch: Callable[[list[int]], None], send_signal: Callable[[int], None]) -> None:
        """Have the process launched with its ends of what it talks through. `send_signal` reaches all its group.

        Raises `OSError` when nothing more can be opened.
        """
        ours, fds = _opened()
        connection, stdout, stderr = ours
        self._signal = send_signal
        self._open = 3
        self._channel = Channel(connection, _DECODER, self._on_message, self._on_close)
        self._outputs = [
            Output(stdout, lambda line: self._report({"stdout": line}), self._on_close),
            Output(stderr, lambda line: self._report({"stderr": line}), self._on_close),
        ]
        launch(fds)
        self._channel.send(self._assignment)

    def abandon(self, end: RunEnd) -> None:
        """End without a process."""
        if not self.end.done():
            self.end.set_result(end)

    def on_started(self, pid: int) -> None:
        """The process is there: its time runs."""
        self._pid = pid
        seconds = self._assignment.run.timeout_seconds
        if seconds is not None:
            self._later(seconds, lambda: self.stop(Reason.TIMEOUT))

    def on_exited(self, code: int | None, error: str = "") -> None:
        """The process is gone, and its group is being killed."""
        self._death = error if code is None else _death(code, self._assignment.run.memory_mib)
        self._clear_timers()
        self._later(DRAIN_SECONDS, self._finish)
        self._finish_when_quiet()

    def stop(self, reason: Reason) -> None:
        """Tell the task to stop, later its processes to end, later end them. The first reason counts."""
        if self._channel is None:
            self.abandon(RunEnd(reason=reason))
        elif self._stop is None and self._ended is None and self._death is None:
            self._stop = (reason, time.monotonic())
            self._clear_timers()
            self._channel.send(Stop())
            self._later(self._grace_seconds, lambda: self._signal(signal.SIGTERM))
            self._later(2 * self._grace_seconds, lambda: self._signal(signal.SIGKILL))

    def kill(self) -> None:
        """End it now; nobody is interested any more."""
        self._report = lambda message: None
        if self._channel is None:
            self.abandon(RunEnd(reason=Reason.CANCELED))
        else:
            self._signal(signal.SIGKILL)

    def kill_orphans(self) -> None:
        """The launcher does not do it any more: kill the process, if it is not dead, and its descendants."""
        if self._pid is not None and self._death is None:
            kill_group(self._pid)

    def _on_message(self, message: FromRun) -> None:
        if isinstance(message, Report):
            self._report(message.message)
        elif self._ended is None:
            self._ended = message
            if self._stop is None and self._death is None:
                # It has nothing left to do but to exit.
                self._clear_timers()
                self._later(self._grace_seconds, lambda: self._signal(signal.SIGKILL))

    def _on_close(self) -> None:
        self._open -= 1
        self._finish_when_quiet()

    def _finish_when_quiet(self) -> None:
        if self._open == 0 and self._death is not None:
            self._finish()

    def _finish(self) -> None:
        self._clear_timers()
        # Whatever becomes of the rest of a line that is reported only now, the run has ended.
        with ExitStack() as ending:
            ending.callback(self.abandon, self._result())
            for output in reversed(self._outputs):
                ending.callback(output.close)
            if self._channel is not None:
                self._channel.close()

    def _result(self) -> RunEnd:
        if self._stop is None:
            return self._ended.end if self._ended is not None else died(self._death or "")
        reason, at = self._stop
        if reason is Reason.TIMEOUT:
            return timed_out(self._assignment.run.timeout_seconds or 0)
        # Its result was on the way already when somebody wanted it to stop.
        if self._ended is not None and self._ended.at < at and self._ended.end.reason is Reason.COMPLETED:
            return self._ended.end
        return RunEnd(reason=reason)

    def _later(self, seconds: float, call: Callable[[], Any]) -> None:
        self._timers.append(self._loop.call_later(seconds, call))

    def _clear_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def died(error: str) -> RunEnd:
    """The end of a run whose process is gone before its time, or never came."""
    return RunEnd(reason=Reason.DIED, error=cut(error))


def exit_text(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"


def _death(code: int, memory_mib: int | None) -> str:
    if code >= 0:
        return f"the process exited {exit_text(code)} before the task returned"
    text = f"the process ended {exit_text(code)}"
    if code == -signal.SIGKILL:
        return f"{text}; was it out of memory?"
    return text if memory_mib is None else f"{text}; its memory is limited to {memory_mib} MiB"


def _opened() -> tuple[tuple[socket.socket, int, int], list[int]]:
    """Socket, stdout and stderr: our ends, and those of the process. Raises `OSError` when no more can be opened."""
    with ExitStack() as opened:
        ours, theirs = socket.socketpair()
        opened.callback(ours.close)
        opened.callback(theirs.close)
        pipes = []
        for _ in range(2):
            pipes.append(os.pipe())
            for fd in pipes[-1]:
                opened.callback(os.close, fd)
        opened.pop_all()
    (stdout, their_stdout), (stderr, their_stderr) = pipes
    return (ours, stdout, stderr), [theirs.detach(), their_stdout, their_stderr]
