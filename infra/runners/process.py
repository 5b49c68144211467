"""Runs tasks in processes of their own, which can be limited and killed, and never outlive their worker."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable

from domain.errors import Misconfigured
from domain.query.resource import suggestion
from domain.runs import Message, Reason, Run, RunEnd
from domain.tasks import Task
from infra.runners.execution import Execution, died
from infra.runners.launcher import START_METHODS
from infra.runners.link import Link
from infra.runners.messages import Assignment, Setup
from infra.runners.modules import Module, check_importable, modules_of, place_of

# How long somebody who is canceled himself waits for a run that he has killed.
KILL_SECONDS = 5.0
STOPPED = "the runner of processes was stopped"


class ProcessRunner:
    """Runs tasks in processes; belongs to one event loop.

    A launcher, started when it is first needed, imports the modules of `tasks`, and `modules`, once and forks a
    process per run; where importing them starts threads, every run gets a fresh interpreter instead (`start_method`
    "auto", or else "fork" or "spawn"). A run that must stop is told so; `grace_seconds` later its processes get
    SIGTERM, and after as long again SIGKILL. Importing may take `load_seconds`.

    A run whose time is up has timed out, whatever it still does. One that is canceled is canceled, unless it had
    returned before. Raises `Misconfigured` for a task that another process could not find.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        modules: Iterable[Module] = (),
        start_method: str = "auto",
        grace_seconds: float = 5.0,
        load_seconds: float = 120.0,
    ) -> None:
        check_start_method(start_method)
        self._tasks = [task for task in tasks if task.is_process]
        for task in self._tasks:
            check_importable(task)
        self._modules = list(modules)
        self._start_method = start_method
        self._grace_seconds = grace_seconds
        self._load_seconds = load_seconds
        self._link: Link | None = None
        self._links: set[Link] = set()
        self._executions: set[Execution] = set()
        self._is_stopped = False

    @property
    def launcher_pid(self) -> int | None:
        """The process of the launcher, while there is one."""
        return self._link.pid if self._link is not None and self._link.is_usable else None

    async def start(self) -> None:
        """Import the modules now, so that the first run need not wait. Raises `Misconfigured` when they cannot be."""
        if self._tasks and not self._is_stopped:
            failure = await asyncio.shield(self._usable_link().loaded)
            if failure is not None:
                raise Misconfigured(failure.error or STOPPED)

    async def run(self, task: Task, run: Run, report: Callable[[Message], None]) -> RunEnd:
        """Call a task and wait for its end; what it reports meanwhile goes to `report`, line by line what it prints.

        The time of a run begins with its process. Cancelling the caller kills the run at once.
        """
        if self._is_stopped:
            return died(STOPPED)
        assignment = Assignment(place_of(task), _path(), run)
        execution = Execution(assignment, report, grace_seconds=self._grace_seconds)
        self._executions.add(execution)
        execution.end.add_done_callback(lambda _: self._executions.discard(execution))
        self._usable_link().add(execution)
        try:
            return await asyncio.shield(execution.end)
        except asyncio.CancelledError:
            execution.kill()
            await asyncio.wait([execution.end], timeout=KILL_SECONDS)
            raise

    def cancel(self, job_id: str) -> None:
        """Tell a run to stop: first politely, then by SIGTERM, then by SIGKILL of all its processes."""
        for execution in list(self._executions):
            if execution.job_id == job_id:
                execution.stop(Reason.CANCELED)

    async def stop(self) -> None:
        """Kill whatever still runs, end the launcher, and run nothing more."""
        self._is_stopped = True
        for link in list(self._links):
            link.stop(STOPPED)
        lives = [link.life for link in self._links]
        ends = [execution.end for execution in self._executions]
        await asyncio.gather(*lives, return_exceptions=True)
        if ends:
            await asyncio.wait(ends)

    def _usable_link(self) -> Link:
        if self._link is None or not self._link.is_usable:
            # A process that imports its task by itself needs no launcher that has.
            modules = [] if self._start_method == "spawn" else [*modules_of(self._tasks), *self._modules]
            setup = Setup(os.getpid(), _path(), modules, self._start_method)
            link = self._link = Link(setup, load_seconds=self._load_seconds)
            self._links.add(link)
            link.life.add_done_callback(lambda _: self._links.discard(link))
        return self._link


def check_start_method(name: str) -> None:
    """Raise `Misconfigured` for what is no way to start a process."""
    if name not in START_METHODS:
        hint = suggestion(name, START_METHODS)
        raise Misconfigured(f"start_method={name!r}{hint}: use one of {', '.join(START_METHODS)}")


def _path() -> list[str]:
    return [str(entry) for entry in sys.path]
