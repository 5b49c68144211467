"""What a task prints arrives line by line, whoever prints it."""

import asyncio

import msgspec
import pytest

from domain.runs import Message, Reason, Run
from infra.runners.lines import MOST_LINE_BYTES
from tests.infra.runners.running import Running, eventually, is_alive, kill, running
from tests.infra.runners.samples import execute


async def test_what_is_printed_arrives_in_order_and_while_the_task_runs(runs: Running) -> None:
    run = asyncio.create_task(runs.run("print('first')\nwhile True: job.check()"))
    assert await runs.until_said() == ["first"]
    runs.runner.cancel("job")
    await run
    runs.reports.clear()
    await runs.run("import sys\nfor n in range(20_000): print(n)\nprint('over', file=sys.stderr)")
    assert runs.said() == [str(number) for number in range(20_000)]
    assert runs.said("stderr") == ["over"]


async def test_what_other_programs_print_arrives_too(runs: Running) -> None:
    await runs.run("import subprocess; subprocess.run('echo out; echo err >&2; printf end', shell=True)")
    assert runs.said() == ["out", "end"]
    assert runs.said("stderr") == ["err"]


async def test_nothing_of_what_was_said_is_lost_with_a_process_that_is_killed(runs: Running) -> None:
    code = "import os, sys; print('a'); sys.stdout.buffer.write(b'b\\n'); print('c', end='', flush=True)"
    end = await runs.run(f"{code}; os.kill(os.getpid(), 9)")
    assert end.reason is Reason.DIED
    assert runs.said() == ["a", "b", "c"]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_lines_of_several_processes_stay_whole(start_method: str) -> None:
    code = """
import subprocess
other = subprocess.Popen("for n in $(seq 1000); do echo bbbbbbbbbb; done", shell=True)
while other.poll() is None:
    print("a" * 10)
"""
    async with running(start_method=start_method) as runs:
        await runs.run(code)
        assert set(runs.said()) <= {"a" * 10, "b" * 10}
        assert runs.said().count("b" * 10) == 1000


async def test_unicode_arrives_and_what_is_none_is_replaced() -> None:
    code = r"""
import os, sys
print("naïve 🦀 \ud800")
print("ошибка", file=sys.stderr)
sys.stdout.buffer.write(b"caf\xe9\n")
os.write(1, "written ✓\n".encode())
"""
    for start_method in ("fork", "spawn"):
        async with running(start_method=start_method) as runs:
            await runs.run(code)
            assert runs.said() == [r"naïve 🦀 \ud800", "caf\ufffd", "written ✓"]
            assert runs.said("stderr") == ["ошибка"]


async def test_a_long_line_comes_in_pieces(runs: Running) -> None:
    await runs.run("print('ä' * 100_000)")
    assert "".join(runs.said()) == "ä" * 100_000
    assert {len(line.encode()) for line in runs.said()[:-1]} == {MOST_LINE_BYTES}


async def test_a_traceback_of_a_thread_arrives(runs: Running) -> None:
    await runs.run("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()")
    assert runs.said("stderr")[-1] == "ZeroDivisionError: division by zero"


async def test_a_task_may_do_what_it_likes_to_its_streams(runs: Running) -> None:
    for code in (
        "import sys; sys.stdout = None",
        "import sys; sys.stdout.close()",
        "import os; os.close(1); os.close(2)",
        "import io, sys; sys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False)); print('kept back')",
    ):
        assert (await runs.run(code + "\nresult = 1")).result == b"1"
    assert runs.said() == ["kept back"]


async def test_who_keeps_the_output_open_does_not_keep_the_run(runs: Running) -> None:
    """It has left the group of the run, so that it is not ended along with it."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid)"
    end = await asyncio.wait_for(runs.run(code), 10)
    assert end.reason is Reason.COMPLETED
    (pid,) = map(int, runs.said())
    assert is_alive(pid)
    kill(pid)
    await eventually(lambda: not is_alive(pid))


async def test_a_run_ends_even_if_nobody_can_take_its_reports(runs: Running) -> None:
    loop = asyncio.get_running_loop()
    former = loop.get_exception_handler()
    errors: list[object] = []
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    code = "job.log('a'); print('b'); print('c', end='')"

    def refuse(message: Message) -> None:
        runs.reports.append(message)
        raise LookupError

    run = Run(job_id="job", kind="execute", args=msgspec.json.encode({"code": code}))
    try:
        end = await runs.runner.run(execute, run, refuse)
    finally:
        loop.set_exception_handler(former)
    assert end.reason is Reason.COMPLETED
    assert runs.said("log") + runs.said() == ["a", "b", "c"]
    assert [type(error) for error in errors] == [LookupError] * 3
