"""A run that must stop is told so, then told by a signal, then killed with all its processes."""

import asyncio
import re
import time

import pytest

from domain.runs import Reason
from domain.tasks import Task
from tests.infra.runners.running import Running, children_of, eventually, is_alive, running, until_gone
from tests.infra.runners.samples import execute, execute_async

CHECKING = "print('runs', flush=True)\nwhile True: job.check()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
# Backtracks for ages, and lets no other thread of its process have a turn.
HOLDING = "import os, re; print(os.getpid()); re.match(r'(a+)+$', 'a' * 40 + 'b')"
SLEEPING = """
import os, subprocess, time
print(subprocess.Popen(["sleep", "100"]).pid)
print(subprocess.Popen("sleep 100 & echo $!; wait", shell=True, stdout=None).pid)
time.sleep(100)
"""


async def canceled(runs: Running, code: str, lines: int = 1, task: Task = execute) -> tuple[Reason, float]:
    """How a run ends that is canceled after it has printed so many lines, and how long that takes."""
    runs.reports.clear()
    run = asyncio.create_task(runs.run(code, task=task))
    await runs.until_said(lines)
    began = time.monotonic()
    runs.runner.cancel("job")
    end = await run
    return end.reason, time.monotonic() - began


async def test_a_task_that_checks_ends_by_itself() -> None:
    async with running(grace_seconds=60) as runs:
        reason, seconds = await canceled(runs, CHECKING)
        assert reason is Reason.CANCELED
        assert seconds < 5


async def test_a_task_that_is_canceled_may_clean_up() -> None:
    code = "print('runs')\ntry:\n    while True: job.check()\nfinally:\n    print('cleaned')"
    async with running(grace_seconds=60) as runs:
        assert (await canceled(runs, code))[0] is Reason.CANCELED
        assert runs.said() == ["runs", "cleaned"]


@pytest.mark.parametrize("wait", ["await asyncio.sleep(100)", "await asyncio.to_thread(job._canceled.wait)"])
async def test_an_async_task_is_canceled_where_it_waits(wait: str) -> None:
    code = f"import asyncio\nprint('runs')\ntry:\n    {wait}\nfinally:\n    print('cleaned')"
    async with running(grace_seconds=60) as runs:
        assert (await canceled(runs, code, task=execute_async))[0] is Reason.CANCELED
        assert runs.said() == ["runs", "cleaned"]


async def test_an_async_task_that_was_told_before_it_began_is_canceled() -> None:
    code = "print('runs')\nwhile not job.is_canceled: pass\nimport asyncio\nawait asyncio.sleep(100)"
    async with running(grace_seconds=60) as runs:
        assert (await canceled(runs, code, task=execute_async))[0] is Reason.CANCELED


async def test_a_task_that_does_not_look_is_ended_by_sigterm(runs: Running) -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('told'), sys.exit()))\n"
    reason, seconds = await canceled(runs, f"{code}print('runs')\ntime.sleep(100)")
    assert reason is Reason.CANCELED
    assert seconds >= 0.2
    assert runs.said() == ["runs", "told"]


async def test_a_task_that_ignores_sigterm_is_killed(runs: Running) -> None:
    reason, seconds = await canceled(runs, f"{DEAF}import time; print('runs')\nwhile True: time.sleep(1)")
    assert reason is Reason.CANCELED
    assert seconds >= 0.4


@pytest.mark.parametrize("first", ["", DEAF])
async def test_a_task_that_never_lets_go_of_the_interpreter_is_stopped(runs: Running, first: str) -> None:
    reason, seconds = await canceled(runs, first + HOLDING)
    assert reason is Reason.CANCELED
    assert seconds < 5


@pytest.mark.parametrize("first", ["", DEAF])
async def test_whatever_a_task_has_started_is_stopped_along_with_it(runs: Running, first: str) -> None:
    reason, _ = await canceled(runs, first + SLEEPING, 3)
    assert reason is Reason.CANCELED
    await until_gone(*map(int, runs.said()))
    await eventually(lambda: not children_of(runs.runner.launcher_pid or 0))


async def test_a_run_that_takes_too_long_is_told_and_has_timed_out() -> None:
    async with running(grace_seconds=60) as runs:
        end = await runs.run(CHECKING, timeout_seconds=0.1)
        assert end.reason is Reason.TIMEOUT
        assert end.error == "TimeoutError: the task took longer than 0.1 s and was stopped"


async def test_a_run_that_is_told_but_returns_has_timed_out_all_the_same() -> None:
    async with running(grace_seconds=60) as runs:
        end = await runs.run("while not job.is_canceled: pass\nresult = 1", timeout_seconds=0.1)
        assert (end.reason, end.result) == (Reason.TIMEOUT, None)


async def test_a_run_that_takes_too_long_and_does_not_listen_is_killed(runs: Running) -> None:
    assert (await runs.run(f"{DEAF}import time\nwhile True: time.sleep(1)", timeout_seconds=0.1)).reason == "timeout"
    assert (await runs.run(HOLDING, timeout_seconds=0.1)).reason == "timeout"


async def test_a_run_that_ends_in_time_is_not_disturbed(runs: Running) -> None:
    assert await runs.result("result = 1", timeout_seconds=60) == 1


async def test_the_first_reason_to_stop_counts() -> None:
    async with running(grace_seconds=60) as runs:
        code = "print('runs')\nwhile not job.is_canceled: pass\nprint('told')\nimport time\nwhile True: time.sleep(.01)"
        run = asyncio.create_task(runs.run(code, timeout_seconds=0.1))
        assert await runs.until_said(2)
        runs.runner.cancel("job")
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    async with running(grace_seconds=0.1) as runs:
        run = asyncio.create_task(runs.run(code, timeout_seconds=0.1))
        assert await runs.until_said(2)
        runs.runner.cancel("job")
        assert (await run).reason is Reason.TIMEOUT


async def test_a_result_that_was_there_before_the_cancellation_is_kept(runs: Running) -> None:
    """The task has returned, but its process waits to tell of it: the worker cannot have heard."""
    code = """
import sys, time
class Slow:
    def write(self, text): sys.__stdout__.write(text)
    def flush(self): print("returned", file=sys.__stdout__); time.sleep(0.3)
sys.stdout = Slow()
result = 1
"""
    async with running(grace_seconds=60) as runs:
        run = asyncio.create_task(runs.run(code))
        await runs.until_said()
        runs.runner.cancel("job")
        end = await run
        assert (end.reason, end.result) == (Reason.COMPLETED, b"1")


async def test_a_result_that_came_after_the_cancellation_is_not_kept() -> None:
    code = "print('runs')\nwhile not job.is_canceled: pass\nresult = 1"
    async with running(grace_seconds=60) as runs:
        assert (await canceled(runs, code))[0] is Reason.CANCELED
        assert (await canceled(runs, f"{code}\nraise LookupError"))[0] is Reason.CANCELED


async def test_a_run_is_canceled_while_everything_is_still_imported() -> None:
    async with running() as runs:
        run = asyncio.create_task(runs.run())
        await asyncio.sleep(0)
        runs.runner.cancel("job")
        assert (await run).reason is Reason.CANCELED
        run = asyncio.create_task(runs.run())
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await runs.result("result = 1") == 1


async def test_only_the_run_that_is_meant_is_canceled() -> None:
    async with running(grace_seconds=60) as runs:
        first = asyncio.create_task(runs.run(CHECKING, job_id="first"))
        second = asyncio.create_task(runs.run(CHECKING, job_id="second"))
        await runs.until_said(2)
        runs.runner.cancel("nobody")
        runs.runner.cancel("first")
        assert (await first).reason is Reason.CANCELED
        assert not second.done()
        runs.runner.cancel("second")
        assert (await second).reason is Reason.CANCELED


async def test_a_caller_who_is_canceled_kills_the_run_at_once() -> None:
    async with running(grace_seconds=60) as runs:
        run = asyncio.create_task(runs.run(f"{DEAF}{SLEEPING}"))
        pids = [int(line) for line in await runs.until_said(3)]
        (child,) = children_of(runs.runner.launcher_pid or 0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(run, 5)
        assert not is_alive(child)
        await until_gone(*pids)
        reported = len(runs.reports)
        assert await runs.result("result = 1") == 1
        assert len(runs.reports) == reported
        await eventually(lambda: children_of(runs.runner.launcher_pid or 0) == [])


async def test_a_caller_who_is_canceled_as_the_process_starts_leaves_nothing_behind(runs: Running) -> None:
    await runs.runner.start()
    for turns in range(12):
        run = asyncio.create_task(runs.run("import time; time.sleep(100)"))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    await eventually(lambda: children_of(runs.runner.launcher_pid or 0) == [])


async def test_a_runner_that_is_stopped_kills_what_runs_and_runs_nothing_more() -> None:
    async with running(grace_seconds=60) as runs:
        run = asyncio.create_task(runs.run(f"{DEAF}{SLEEPING}"))
        pids = [int(line) for line in await runs.until_said(3)]
        await runs.runner.stop()
        await until_gone(*pids, within=2)
        end = await run
        assert (end.reason, end.error) == (Reason.DIED, "the runner of processes was stopped")
        assert (await runs.run()).error == "the runner of processes was stopped"
        await runs.runner.start()
        await runs.runner.stop()
        assert runs.runner.launcher_pid is None


async def test_a_runner_that_is_stopped_while_it_imports_ends_at_once() -> None:
    async with running() as runs:
        run = asyncio.create_task(runs.run())
        await asyncio.sleep(0)
        await runs.runner.stop()
        assert re.search("was stopped", (await run).error or "")
    async with running() as runs:
        run = asyncio.create_task(runs.run())
        await eventually(lambda: runs.runner.launcher_pid)
        await runs.runner.stop()
        assert re.search("was stopped", (await run).error or "")
