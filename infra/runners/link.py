"""The worker's side of one launcher: starts it, has it start runs, and outlives it."""

import asyncio
import itertools
import socket
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress

import msgspec

from domain.runs import Reason, RunEnd
from infra.runners.channel import Channel
from infra.runners.execution import Execution, died, exit_text
from infra.runners.launcher import command
from infra.runners.messages import Exited, FromLauncher, Kill, Refused, Setup, Start, Started

# A launcher that nobody needs ends by itself, and at once; this is for one that is stuck.
END_SECONDS = 5.0
_DECODER: "msgspec.json.Decoder[FromLauncher]" = msgspec.json.Decoder(FromLauncher)


class Link:
    """One launcher, started when this is made. It is `is_usable` until it has ended or is about to.

    `loaded` becomes None when it can start runs, otherwise it is how those end that waited for it. `life` is done when
    the launcher is gone with everything it has started.
    """

    def __init__(self, setup: Setup, *, load_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._setup = setup
        self._channel: Channel[FromLauncher] | None = None
        self._process: Process | None = None
        self._numbers = itertools.count(1)
        self._waiting: list[Execution] = []
        self._executions: dict[int, Execution] = {}
        self._is_closed = asyncio.Event()
        self._failure: RunEnd | None = None
        self._load_timer = loop.call_later(load_seconds, self._give_up, load_seconds)
        self.is_usable = True
        self.loaded: asyncio.Future[RunEnd | None] = loop.create_future()
        self.life = loop.create_task(self._live())

    @property
    def pid(self) -> int | None:
        """The process of the launcher, once there is one."""
        return self._process.pid if self._process is not None else None

    def add(self, execution: Execution) -> None:
        """Run this as soon as everything is imported."""
        if self.loaded.done():
            self._begin(execution)
        else:
            self._waiting.append(execution)

    def stop(self, error: str) -> None:
        """End the launcher and everything it has started; what still runs ends with this error."""
        if self.is_usable:
            self._fail(died(error))
            self._close()

    async def _live(self) -> None:
        try:
            self._process = await self._spawned()
            # It may have been stopped meanwhile.
            if not self.is_usable:
                self._close()
            code = await self._gone(self._process)
            self._fail(died(f"{self._doing()} ended {exit_text(code)}"))
        except OSError as error:
            self._fail(died(f"the launcher of processes could not be started: {error}"))
        finally:
            self._close()
            self._load_timer.cancel()
            self._settle()

    async def _spawned(self) -> Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # By the thread of the loop, for it gets a signal when the thread that has started it ends.
                process = await asyncio.create_subprocess_exec(
                    *command("launcher", theirs.fileno()),
                    stdin=DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._channel = Channel(ours, _DECODER, self._on_message, self._on_lost)
        self._channel.send(self._setup)
        return process

    async def _gone(self, process: Process) -> int:
        """Wait until the launcher has ended, for whatever reason; returns its exit code."""
        ended = asyncio.ensure_future(process.wait())
        ended.add_done_callback(lambda _: self._on_lost())
        await self._is_closed.wait()
        timer = asyncio.get_running_loop().call_later(END_SECONDS, self._force)
        try:
            return await ended
        finally:
            timer.cancel()

    def _force(self) -> None:
        for execution in self._executions.values():
            execution.kill_orphans()
        self._kill()

    def _on_message(self, message: FromLauncher) -> None:
        if isinstance(message, Started):
            self._executions[message.run].on_started(message.pid)
        elif isinstance(message, Exited):
            self._executions.pop(message.run).on_exited(message.code, message.error)
        elif isinstance(message, Refused):
            self._fail(message.end)
        elif self.is_usable:
            self._load_timer.cancel()
            self.loaded.set_result(None)
            waiting, self._waiting = self._waiting, []
            for execution in waiting:
                self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        # It may have been canceled while it waited.
        if execution.end.done():
            return
        assert self._channel is not None
        channel, number = self._channel, next(self._numbers)
        self._executions[number] = execution
        try:
            execution.begin(
                lambda fds: channel.send(Start(number), fds), lambda signal: channel.send(Kill(number, signal))
            )
        except OSError as error:
            del self._executions[number]
            execution.abandon(died(f"the process of the task could not be started: {error}"))

    def _on_lost(self) -> None:
        """Hear of its end: from the socket, or from the system where something else keeps that open."""
        if not self._is_closed.is_set():
            for execution in self._executions.values():
                execution.kill_orphans()
            self.is_usable = False
            self._is_closed.set()

    def _give_up(self, seconds: float) -> None:
        names = ", ".join(module.name for module in self._setup.modules)
        self._fail(
            RunEnd(reason=Reason.FAILED, error=f"TimeoutError: importing {names} took longer than {seconds:g} s")
        )
        self._close()

    def _fail(self, end: RunEnd) -> None:
        """Note why nothing runs here any more; the first reason counts."""
        self.is_usable = False
        self._failure = self._failure or end

    def _close(self) -> None:
        """Let the launcher see that it is no longer needed."""
        if self._channel is not None:
            self._channel.close()
            self._is_closed.set()
            # While it imports it looks at nothing, but has not started anything either.
            if not self.loaded.done():
                self._kill()

    def _kill(self) -> None:
        # It may be gone already.
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _settle(self) -> None:
        failure = self._failure or died("the launcher of processes was given up")
        if not self.loaded.done():
            self.loaded.set_result(failure)
        for execution in self._waiting:
            execution.abandon(failure)
        for execution in self._executions.values():
            execution.on_exited(None, failure.error or "")
        self._waiting.clear()
        self._executions.clear()

    def _doing(self) -> str:
        if self.loaded.done():
            return "the launcher of processes"
        return f"the process that imports {', '.join(module.name for module in self._setup.modules)}"
