"""Tasks run in processes of their own, and their ends come back."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.entity import new_id
from domain.errors import Misconfigured
from domain.runs import Reason
from domain.tasks import RunningJob, task
from infra.runners.process import ProcessRunner
from tests.infra.runners.running import Running, children_of, eventually, is_alive, running, state_of
from tests.infra.runners.samples import Shelf, add, execute_async, nothing


async def test_a_task_gets_its_arguments_and_returns_its_result(runs: Running) -> None:
    assert await runs.result(task=add, args={"first": 2}) == 3
    assert await runs.result(task=add, args={"first": 2, "second": 40}) == 42
    assert await runs.result(task=nothing, args={}) is None
    assert await runs.result(task=Shelf.kept, args={}) == 3


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_a_run_has_a_process_of_its_own(start_method: str) -> None:
    code = """
import os, signal, sys, threading
result = {
    "pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0), "parent": os.getppid(),
    "stdin": os.readlink("/proc/self/fd/0"), "folder": os.getcwd(), "path": sys.path,
    "threads": [thread.name for thread in threading.enumerate()],
    "handled": [n for n in signal.valid_signals() if signal.getsignal(n) not in (signal.SIG_DFL, signal.SIG_IGN)],
    "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
}
"""
    async with running(start_method=start_method) as runs:
        first, second = await runs.result(code), await runs.result(code)
        assert first["pid"] == first["group"] == first["session"] != second["pid"]
        assert first["parent"] == second["parent"] == runs.runner.launcher_pid
        assert first["stdin"] == "/dev/null"
        assert first["folder"] == str(Path.cwd())
        assert first["path"] == sys.path
        assert first["threads"] == ["MainThread", "millrace-listener"]
        assert first["handled"] == [2]
        assert sorted(first["ignored"]) == [13, 25]
        assert first["blocked"] == []


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_a_run_has_nothing_open_but_what_is_its_own(start_method: str) -> None:
    """A copy of the launcher's socket, or of another run's pipe, would hide the end of its owner."""
    code = """
import os
result = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        result[fd] = os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
    except FileNotFoundError:
        pass
"""
    async with running(start_method=start_method) as runs:
        found = await asyncio.gather(*(runs.result(code) for _ in range(5)))
    for opened in found:
        assert sorted(opened.values()) == ["/dev/null", "pipe", "pipe", "socket"]


async def test_runs_do_not_share_what_is_random(runs: Running) -> None:
    code = "import random; result = random.random()"
    assert len({await runs.result(code) for _ in range(5)}) == 5


async def test_a_task_knows_its_run_and_who_is_behind_it(runs: Running) -> None:
    code = """
from domain.context import current_context
context = current_context()
result = [job.id, job.kind, job.attempt, job.max_attempts, job.graph_id, job.trace_id, job.timeout_seconds]
result += [job.fire_at, context.request_id, context.principal, context.tenant]
"""
    at = datetime(2025, 6, 1, tzinfo=UTC)
    known = {"job_id": "j1", "attempt": 2, "max_attempts": 3, "graph_id": "g1", "timeout_seconds": 60.5, "fire_at": at}
    told = await runs.result(code, **known, principal="ada", tenant="t7")
    assert told == ["j1", "execute", 2, 3, "g1", None, 60.5, "2025-06-01T00:00:00Z", "j1", "ada", "t7"]
    told = await runs.result(code, trace_id="t1")
    assert told == ["job", "execute", 1, 1, None, "t1", None, None, "t1", "anonymous", "default"]


async def test_what_a_task_reports_arrives_in_order(runs: Running) -> None:
    await runs.run(
        r"""
job.progress(5, step="load")
job.log("naïve \ud800 🦀")
job.progress(200, message="\udfff")
job.log("")
job.log("x" * 40_000)
"""
    )
    progress = [message["progress"] for message in runs.reports if "progress" in message]
    assert [told["percent"] for told in progress] == [5.0, 100.0]
    assert (progress[0]["step"], progress[1]["message"]) == ("load", r"\udfff")
    assert runs.said("log") == [r"naïve \ud800 🦀", "", "x" * 16_384, "x" * 16_384, "x" * (40_000 - 2 * 16_384)]


async def test_an_async_task_runs_in_a_loop_of_its_own(runs: Running) -> None:
    code = """
import asyncio
job.log("before")
await asyncio.sleep(0)
result = sum(await asyncio.gather(*(asyncio.sleep(0, n) for n in range(4))))
"""
    assert await runs.result(code, task=execute_async) == 6
    assert runs.said("log") == ["before"]


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise LookupError('gone')", "LookupError: gone"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
        ("raise MemoryError", "MemoryError"),
        ("from domain.tasks import Canceled; raise Canceled", "domain.tasks.Canceled"),
        ("import asyncio; raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        (r"raise ValueError('\ud800\0')", r"ValueError: \ud800\0"),
    ],
)
async def test_whatever_a_task_raises_is_a_failure(runs: Running, code: str, words: str) -> None:
    end = await runs.run(code)
    assert (end.reason, end.error, end.is_permanent) == (Reason.FAILED, words, False)
    assert "in execute" in (end.traceback or "")


async def test_a_failure_says_whether_and_when_to_try_again(runs: Running) -> None:
    end = await runs.run("raise RetryLater('busy', after_seconds=7.5)")
    assert (end.reason, end.retry_after_seconds) == (Reason.FAILED, 7.5)
    assert (await runs.run("raise NotImplementedError")).is_permanent
    end = await runs.run(task=add, args={"first": "one"})
    assert end.is_permanent
    assert 'do not fit task "add"' in (end.error or "")


async def test_a_result_that_is_no_json_is_a_failure(runs: Running) -> None:
    end = await runs.run("result = object()")
    assert (end.reason, end.is_permanent) == (Reason.FAILED, True)
    assert "returned a object that is no JSON" in (end.error or "")


async def test_a_huge_result_is_a_failure_and_a_large_one_is_not(runs: Running) -> None:
    end = await runs.run("result = 'x' * 2_000_000")
    assert end.error is not None
    assert end.error.startswith("ValueError: the result has 2000002 bytes of JSON")
    assert await runs.result("result = '\\n' * 500_000") == "\n" * 500_000


async def test_large_arguments_arrive(runs: Running) -> None:
    text = "x" * 5_000_000
    assert await runs.result(f"result = len('{text}')") == 5_000_000


async def test_an_artifact_is_returned_by_its_id(runs: Running) -> None:
    id = new_id()
    end = await runs.run(f"result = Artifact('{id}')")
    assert (end.reason, end.artifact_id, end.result) == (Reason.COMPLETED, id, None)


async def test_a_run_is_over_when_its_function_returns(runs: Running) -> None:
    """Neither a thread nor an exit handler holds it up, nor a process that it has started."""
    code = """
import atexit, subprocess, threading
atexit.register(threading.Event().wait)
threading.Thread(target=threading.Event().wait).start()
result = subprocess.Popen(["sleep", "100"]).pid
"""
    pid = await asyncio.wait_for(runs.result(code), 10)
    await eventually(lambda: not is_alive(pid))


async def test_many_runs_at_a_time_do_not_mix(runs: Running) -> None:
    async def one(number: int) -> None:
        own = Running(runs.runner)
        code = f"print('line {number}'); job.log('log {number}'); print('end {number}'); result = {number}"
        assert await own.result(code, job_id=f"job{number}") == number
        assert own.said() == [f"line {number}", f"end {number}"]
        assert own.said("log") == [f"log {number}"]

    await asyncio.gather(*(one(number) for number in range(60)))


async def test_nothing_is_started_before_it_is_needed() -> None:
    children = children_of(os.getpid())
    async with running() as runs:
        assert runs.runner.launcher_pid is None
        assert children_of(os.getpid()) == children
        await runs.runner.start()
        launcher = runs.runner.launcher_pid
        assert launcher is not None
        assert state_of(launcher) in {"S", "R"}
        await runs.runner.start()
        await runs.run()
        assert runs.runner.launcher_pid == launcher
    assert children_of(os.getpid()) == children


async def test_a_service_without_such_tasks_needs_no_launcher() -> None:
    @task()
    async def light(job: RunningJob) -> None:
        pass

    async with running([light]) as runs:
        await runs.runner.start()
        assert runs.runner.launcher_pid is None


async def test_a_launcher_that_waits_takes_no_time(runs: Running) -> None:
    def ticks() -> int:
        stat = Path(f"/proc/{runs.runner.launcher_pid}/stat").read_text().rpartition(")")[2].split()
        return int(stat[11]) + int(stat[12])

    def switches() -> int:
        status = Path(f"/proc/{runs.runner.launcher_pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    await runs.run()
    await eventually(lambda: state_of(runs.runner.launcher_pid or 0) == "S")
    before = ticks(), switches()
    await asyncio.sleep(0.5)
    assert (ticks(), switches()) == before


@pytest.mark.parametrize("name", ["threads", "forc", ""])
def test_a_start_method_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="use one of auto, fork, spawn"):
        ProcessRunner([], start_method=name)


def test_a_task_that_no_process_could_find_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured, match="must be a module-level function"):
        ProcessRunner([task("local")(lambda: None)])
