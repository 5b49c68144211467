"""Runs tasks in processes for a test, and looks after what becomes of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from domain.runs import Message, Reason, Run, RunEnd
from domain.tasks import Task
from infra.runners.process import ProcessRunner
from tests.infra.runners.samples import TASKS, execute

PATIENCE_SECONDS = 20
T = TypeVar("T")


class Running:
    """A runner and everything its runs have reported."""

    def __init__(self, runner: ProcessRunner) -> None:
        self.runner = runner
        self.reports: list[Message] = []

    async def run(self, code: str = "", *, task: Task = execute, args: Any = None, **options: Any) -> RunEnd:
        """Execute code in a process, or another task."""
        given = {"code": code} if args is None else args
        return await self.runner.run(
            task,
            Run(**{"job_id": "job", "kind": task.kind, "args": msgspec.json.encode(given), **options}),
            self.reports.append,
        )

    async def result(self, code: str = "", **options: Any) -> Any:
        """The result of a run that must not fail."""
        end = await self.run(code, **options)
        assert end.reason is Reason.COMPLETED, end
        return None if end.result is None else msgspec.json.decode(end.result)

    def said(self, stream: str = "stdout") -> list[str]:
        """What runs have said so far."""
        return [message[stream] for message in self.reports if stream in message]

    async def until_said(self, count: int = 1) -> list[str]:
        """The first lines, once there are so many."""
        return await eventually(lambda: self.said() if len(self.said()) >= count else None)


@asynccontextmanager
async def running(tasks: Sequence[Task] = TASKS, **options: Any) -> AsyncIterator[Running]:
    """A runner that leaves nothing behind: no process, no descriptor."""
    options.setdefault("grace_seconds", 0.2)
    before = descriptors()
    runner = ProcessRunner(tasks, **options)
    try:
        yield Running(runner)
    finally:
        pid = runner.launcher_pid
        await runner.stop()
        assert pid is None or state_of(pid) is None
    await eventually(lambda: descriptors() <= before)


async def eventually(question: Callable[[], T | None], *, within: float = PATIENCE_SECONDS) -> T:
    """The first true answer; fails when there is none in time."""
    async with asyncio.timeout(within):
        while not (answer := question()):  # noqa: ASYNC110 - nobody tells of what is asked here
            await asyncio.sleep(0.01)
    return answer


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def state_of(pid: int) -> str | None:
    """The state of a process as one letter, None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid: int) -> bool:
    """Whether a process still runs; who only waits to be reaped does not."""
    return state_of(pid) not in {None, "Z", "X"}


async def until_gone(*pids: int, within: float = PATIENCE_SECONDS) -> None:
    """Wait until none of these processes runs."""
    await eventually(lambda: not any(map(is_alive, pids)), within=within)


def children_of(pid: int) -> list[int]:
    """The children of a process, those included that nobody has reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill(pid: int, number: int = 9) -> None:
    """Send a signal."""
    os.kill(pid, number)
