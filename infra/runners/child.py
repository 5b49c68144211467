"""The process of one run: calls the task and tells the worker what it reports and how it ended."""

import asyncio
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from domain.context import Context, acting_as
from domain.errors import encodable
from domain.runs import Message, Reason, Run, RunEnd, raised, returned
from domain.tasks import RunningJob, Task
from infra.runners.connection import Connection
from infra.runners.lines import MOST_LINE_BYTES
from infra.runners.messages import Assignment, Ended, Report
from infra.runners.modules import CannotImport, find
from infra.runners.system import OverLimit, die_with, limited

# What a thread needs that only waits; the usual 8 MiB would count as memory of the task.
LISTENER_STACK_BYTES = 256 * 1024


def main(fd: int, launcher: int) -> NoReturn:
    """What a fresh interpreter does that is to run a task."""
    prepare_streams()
    live(fd, launcher, is_fresh=True)


def live(fd: int, launcher: int, *, is_fresh: bool = False) -> NoReturn:
    """Be the process of a run until it has ended; `fd` is the socket to the worker.

    Nothing that the task leaves behind is waited for: no thread, no exit handler.
    """
    code = 1
    try:
        # A group of its own, by which it is stopped with all its descendants; and no terminal.
        os.setsid()
        die_with(launcher)
        reset_signals()
        work(Connection(fd), is_fresh=is_fresh)
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def prepare_streams() -> None:
    """Let what a task prints leave in whole lines, and nothing of it fail for the locale of the machine."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Without a buffer, text and its newline would go one by one, and others' between them.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False)


def reset_signals() -> None:
    """Handle signals as a new interpreter does, whatever the launcher and imported modules have set."""
    signal.set_wakeup_fd(-1)
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGPIPE: signal.SIG_IGN,
        signal.SIGXFSZ: signal.SIG_IGN,
    }
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, usual.get(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def work(connection: Connection, *, is_fresh: bool) -> None:
    """Get the assignment, call the task, tell how it ended."""
    frame = connection.receive()
    if frame is None:
        return
    assignment = msgspec.json.decode(frame, type=Assignment)
    if is_fresh:
        sys.path[:] = assignment.path
    run = assignment.run
    job = RunningJob(
        id=run.job_id,
        kind=run.kind,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        send=lambda message: _report(connection, message),
        graph_id=run.graph_id,
        trace_id=run.trace_id,
        timeout_seconds=run.timeout_seconds,
        fire_at=run.fire_at,
    )
    stopping = Stopping(job)
    _listen(connection, stopping)
    end = _end_of(assignment, job, stopping)
    at = time.monotonic()
    for stream in (sys.stdout, sys.stderr):
        # A task may have put anything in their place.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    connection.send(Ended(end, at))


class Stopping:
    """That a run must end: tells the job, and whoever has asked to be told."""

    def __init__(self, job: RunningJob) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def call(self, callback: Callable[[], None]) -> None:
        """Call this once, in another thread, when the run must end; now if it has been told so."""
        with self._lock:
            is_told = self._job.is_canceled
            if not is_told:
                self._callbacks.append(callback)
        if is_told:
            callback()

    def tell(self) -> None:
        """Say that it must."""
        with self._lock:
            self._job.cancel()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()


def _listen(connection: Connection, stopping: Stopping) -> None:
    def wait() -> None:
        # A worker that is gone says nothing; the launcher then ends this process.
        with suppress(OSError):
            if connection.receive() is not None:
                stopping.tell()

    former = threading.stack_size(LISTENER_STACK_BYTES)
    threading.Thread(target=wait, name="millrace-listener", daemon=True).start()
    threading.stack_size(former)


def _end_of(assignment: Assignment, job: RunningJob, stopping: Stopping) -> RunEnd:
    run = assignment.run
    try:
        task = find(assignment.place, run.kind)
    except CannotImport as error:
        return error.end
    context = Context(
        request_id=run.trace_id or run.job_id,
        principal=run.principal,
        tenant=run.tenant,
        traceparent=run.traceparent,
    )
    try:
        with acting_as(context), limited(run.memory_mib):
            return _called(task, run, job, stopping)
    except OverLimit as error:
        return RunEnd(reason=Reason.FAILED, error=f"MemoryError: {error}", is_permanent=True)
    except MemoryError as error:
        return _out_of_memory(error, task, run)
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is how its run ends
        return raised(error, task)


def _called(task: Task, run: Run, job: RunningJob, stopping: Stopping) -> RunEnd:
    value = task.called(task.decoded(msgspec.json.decode(run.args)), job)
    if asyncio.iscoroutine(value):
        value = asyncio.run(_awaited(value, stopping))
    return returned(value)


async def _awaited(coroutine: Coroutine[Any, Any, Any], stopping: Stopping) -> Any:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        # The loop may have ended just before.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)

    stopping.call(cancel)
    return await coroutine


def _out_of_memory(error: MemoryError, task: Task, run: Run) -> RunEnd:
    end = raised(error, task)
    if run.memory_mib is None:
        return end
    # The same arguments need the same memory the next time; only without a limit can it be the others' fault.
    text = f"MemoryError: over the limit of {run.memory_mib} MiB"
    return msgspec.structs.replace(end, error=text, is_permanent=True)


def _report(connection: Connection, message: Message) -> None:
    for part in _parts(message):
        # A worker that is gone has no use for it.
        with suppress(OSError):
            connection.send(Report(dict(part)))


def _parts(message: Message) -> list[Message]:
    """A message as it can be sent: a log entry as UTF-8, and a long one in pieces like a long line."""
    text = message.get("log")
    if text is None:
        return [message]
    text = encodable(text)
    starts = range(0, max(len(text), 1), MOST_LINE_BYTES)
    return [{"log": text[start : start + MOST_LINE_BYTES]} for start in starts]
