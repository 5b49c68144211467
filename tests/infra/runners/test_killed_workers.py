"""A worker that is killed takes everything along that it has started."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.infra.runners.running import children_of, is_alive
from tests.infra.runners.test_stopping import DEAF, HOLDING, SLEEPING
from tests.processes import PATIENCE_SECONDS, environment, eventually

PROGRAM = """
import asyncio, os, signal, time
import uvloop
from domain.runs import Run
from domain.tasks import task
from infra.runners.process import ProcessRunner

@task(process=True)
async def work() -> None:
    exec(os.environ["WORK"], {"__name__": "work"})

async def main():
    runner = ProcessRunner([work], start_method=os.environ["START"], grace_seconds=100)
    await runner.start()
    print(f"launcher {runner.launcher_pid}", flush=True)
    if os.environ.get("FORKS"):
        fork = os.fork()
        if fork == 0:
            # Who waits for the end of the worker's output is not to wait for this one.
            os.close(1)
            signal.pause()
        print(f"fork {fork}", flush=True)

    def report(message):
        if "stdout" in message:
            print("said", message["stdout"], flush=True)

    await asyncio.gather(
        *(runner.run(work, Run(job_id=str(n), kind="work", args=b"{}"), report) for n in range(2))
    )

if __name__ == "__main__":
    uvloop.run(main())
elif "SLOW" in os.environ:
    print(f"launcher {os.getpid()}", flush=True)
    time.sleep(100)
"""


@contextmanager
def worker(folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs two tasks, and is killed with SIGKILL in the end."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        env=environment(variables),
        cwd=folder,
        start_new_session=True,
    )
    watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
    watchdog.start()
    try:
        with process:
            yield process
            process.kill()
    finally:
        # A fork of it stays in its group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        watchdog.cancel()
        watchdog.join()


def numbers(process: subprocess.Popen[bytes], count: int) -> list[int]:
    """What a worker says next: so many lines with a number."""
    assert process.stdout is not None
    return [int(process.stdout.readline().split()[1]) for _ in range(count)]


def are_gone(pids: set[int]) -> bool:
    return not any(map(is_alive, pids))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("work, lines", [(SLEEPING, 6), (HOLDING, 2)], ids=["sleeping", "holding the interpreter"])
def test_nothing_outlives_a_worker_that_is_killed(tmp_path: Path, start_method: str, work: str, lines: int) -> None:
    with worker(tmp_path, START=start_method, WORK=DEAF + work) as process:
        (launcher,) = numbers(process, 1)
        pids = {launcher, *numbers(process, lines), *children_of(launcher)}
        assert len(pids) >= 3
        assert all(map(is_alive, pids))
    eventually(lambda: are_gone(pids), within=2)


def test_a_fork_that_survives_its_worker_does_not_keep_its_runs(tmp_path: Path) -> None:
    """It has a copy of the socket to the launcher, which therefore does not close."""
    with worker(tmp_path, START="fork", WORK=DEAF + SLEEPING, FORKS="1") as process:
        launcher, fork = numbers(process, 2)
        pids = {launcher, *numbers(process, 6), *children_of(launcher)}
        process.kill()
        eventually(lambda: are_gone(pids), within=2)
        assert is_alive(fork)


@pytest.mark.parametrize("forks", ["", "1"])
def test_a_worker_that_ends_without_a_word_is_kept_by_nothing(tmp_path: Path, forks: str) -> None:
    with worker(tmp_path, START="fork", WORK="import os; print(os.getpid())", FORKS=forks) as process:
        (launcher,) = numbers(process, 1)
        assert process.wait(PATIENCE_SECONDS) == 0
        eventually(lambda: are_gone({launcher}), within=2)


def test_a_worker_that_is_killed_while_its_launcher_imports_takes_it_along(tmp_path: Path) -> None:
    with worker(tmp_path, START="fork", SLOW="1") as process:
        # It says so in the middle of the program.
        (launcher,) = numbers(process, 1)
        assert children_of(process.pid) == [launcher]
    eventually(lambda: are_gone({launcher}), within=2)
