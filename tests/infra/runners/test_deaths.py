"""Whoever dies, nobody is left behind, and everybody hears of it."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from domain.runs import Reason
from infra.runners import link
from tests.infra.runners.running import (
    Running,
    children_of,
    eventually,
    kill,
    running,
    until_gone,
)
from tests.infra.runners.test_stopping import DEAF, SLEEPING
from tests.processes import environment


@pytest.mark.parametrize(
    "code, words",
    [
        ("import os; os._exit(3)", "the process exited with code 3 before the task returned"),
        ("import os; os._exit(0)", "the process exited with code 0 before the task returned"),
        ("import os; os.kill(os.getpid(), 9)", "the process ended by signal 9 (SIGKILL); was it out of memory?"),
        ("import os; os.kill(os.getpid(), 15)", "the process ended by signal 15 (SIGTERM)"),
        ("import os; os.abort()", "the process ended by signal 6 (SIGABRT)"),
        ("import os; os.kill(os.getpid(), 40)", "the process ended by signal 40"),
        ("import ctypes; ctypes.string_at(0)", "the process ended by signal 11 (SIGSEGV)"),
        ("import os; os.closerange(3, 100)", "the process exited with code 1 before the task returned"),
    ],
)
async def test_a_process_that_dies_says_how(runs: Running, code: str, words: str) -> None:
    end = await runs.run(code)
    assert (end.reason, end.error) == (Reason.DIED, words)
    assert await runs.result("result = 1") == 1


async def test_what_a_dead_process_has_started_dies_too(runs: Running) -> None:
    code = "import os, subprocess; print(subprocess.Popen(['sleep', '100']).pid); os.kill(os.getpid(), 9)"
    await asyncio.wait_for(runs.run(code), 10)
    await until_gone(*map(int, runs.said()))
    await eventually(lambda: children_of(runs.runner.launcher_pid or 0) == [])


async def test_a_launcher_that_dies_takes_its_runs_along_and_gets_a_successor() -> None:
    async with running(grace_seconds=60) as runs:
        tasks = [asyncio.create_task(runs.run(DEAF + SLEEPING)) for _ in range(2)]
        pids = [int(line) for line in await runs.until_said(6)]
        launcher = runs.runner.launcher_pid
        assert launcher is not None
        children = children_of(launcher)
        kill(launcher)
        for end in await asyncio.gather(*tasks):
            assert end.reason is Reason.DIED
            assert end.error == "the launcher of processes ended by signal 9 (SIGKILL)"
        await until_gone(*pids, *children, within=2)
        assert await runs.result("result = 1") == 1
        assert runs.runner.launcher_pid not in {launcher, None}


async def test_a_run_that_waits_for_a_dead_launcher_ends_too() -> None:
    async with running() as runs:
        await runs.runner.start()
        assert runs.runner.launcher_pid is not None
        kill(runs.runner.launcher_pid, signal.SIGSTOP)
        run = asyncio.create_task(runs.run())
        await asyncio.sleep(0)
        kill(runs.runner.launcher_pid)
        assert (await asyncio.wait_for(run, 10)).reason is Reason.DIED


async def test_a_launcher_survives_the_signals_that_are_meant_for_a_service(runs: Running) -> None:
    await runs.runner.start()
    launcher = runs.runner.launcher_pid
    assert launcher is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        kill(launcher, number)
    assert await runs.result("result = 1") == 1
    assert runs.runner.launcher_pid == launcher


@contextmanager
def few(limit: int, most: int) -> Iterator[None]:
    """A block in which this process may have no more than so many of something."""
    former = resource.getrlimit(limit)
    resource.setrlimit(limit, (most, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, former)


async def test_a_run_that_finds_no_room_ends_and_harms_nobody(runs: Running) -> None:
    await runs.runner.start()
    with few(resource.RLIMIT_NOFILE, 400), ExitStack() as opened:
        with suppress(OSError):
            while True:
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        end = await runs.run()
    assert end.reason is Reason.DIED
    assert end.error == "the process of the task could not be started: [Errno 24] Too many open files"
    assert await runs.result("result = 1") == 1


def test_everything_is_importable_where_there_is_no_prctl() -> None:
    code = """
import os, sys
sys.platform = "darwin"
from infra.runners import process, system
system.adopt_orphans()
system.die_with(os.getppid())
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=20)


async def test_a_launcher_that_is_stuck_keeps_nobody_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "END_SECONDS", 0.2)
    async with running() as runs:
        run = asyncio.create_task(runs.run(DEAF + SLEEPING))
        pids = [int(line) for line in await runs.until_said(3)]
        launcher = runs.runner.launcher_pid
        assert launcher is not None
        kill(launcher, signal.SIGSTOP)
        await runs.runner.stop()
        assert (await run).error == "the runner of processes was stopped"
        await until_gone(launcher, *pids, within=2)
