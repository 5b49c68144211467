"""Tasks for the tests of the runners; what most of them do is in the test that runs them."""

import ast
from inspect import CO_COROUTINE
from typing import Any

import msgspec

from domain.retries import RetryLater
from domain.tasks import Artifact, RunningJob, task


class Pair(msgspec.Struct):
    """Two numbers."""

    first: int
    second: int = 1


class Code(msgspec.Struct):
    """What is to be executed; its `result` is returned."""

    code: str


@task(process=True)
async def add(args: Pair) -> int:
    """Add two numbers."""
    return args.first + args.second


@task()
def nothing() -> None:
    """Do nothing."""


@task()
def execute(args: Code, job: RunningJob) -> Any:
    """Execute code."""
    names: dict[str, Any] = {"job": job, "Artifact": Artifact, "RetryLater": RetryLater}
    exec(args.code, names)
    return names.get("result")


@task(process=True)
async def execute_async(args: Code, job: RunningJob) -> Any:
    """Execute code that may wait."""
    names: dict[str, Any] = {"job": job}
    code = compile(args.code, "<test>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    found = eval(code, names)
    if code.co_flags & CO_COROUTINE:
        await found
    return names.get("result")


class Shelf:
    """Holds a task that is no module's own."""

    @task()
    def kept() -> int:
        """Be found as an attribute of a class."""
        return 3


TASKS = (add, nothing, execute, execute_async, Shelf.kept)
