"""The modules of tasks are imported once, wherever they are and whatever they do meanwhile."""

import asyncio
import importlib.util
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from domain.errors import Misconfigured
from domain.runs import Reason
from tests.infra.runners.running import children_of, eventually, kill, running, state_of
from tests.infra.runners.samples import add, execute

SHOP = """
import os
from domain.tasks import task

imported_by = os.getpid()

@task()
def told() -> dict:
    return {"by": imported_by, "parent": os.getppid(), "name": __name__, "pid": os.getpid()}
"""
# A fork would leave the other threads behind, along with whatever they hold.
THREADED = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Writes a module that no import by name leads to, and imports it as `millrace` does with a user's file."""

    def write(code: str, name: str = "shop_of_a_test") -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(code))
        specification = importlib.util.spec_from_file_location(name, file)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, name, module)
        specification.loader.exec_module(module)
        return module

    return write


def rewrite(module: ModuleType, code: str) -> None:
    """Change the file of a module; what the test has imported stays as it is."""
    Path(module.__file__ or "").write_text(code)


async def test_a_module_that_is_only_a_file_is_imported_once_for_all_runs(written: Callable[..., ModuleType]) -> None:
    shop = written(SHOP)
    async with running([shop.told, add]) as runs:
        first = await runs.result(task=shop.told, args={})
        second = await runs.result(task=shop.told, args={})
        assert first["by"] == second["by"] == first["parent"] == runs.runner.launcher_pid
        assert first["name"] == "shop_of_a_test"
        assert first["pid"] != second["pid"]
        assert await runs.result(task=add, args={"first": 1}) == 2


async def test_a_module_that_starts_threads_is_imported_by_every_run_itself(written: Callable[..., ModuleType]) -> None:
    shop = written(f"{SHOP}\n{THREADED}")
    async with running([shop.told]) as runs:
        first = await runs.result(task=shop.told, args={})
        assert first["by"] == first["pid"]
        assert first["parent"] == runs.runner.launcher_pid
        assert first["name"] == "shop_of_a_test"


async def test_how_processes_are_started_can_be_chosen(written: Callable[..., ModuleType]) -> None:
    shop = written(SHOP)
    async with running([shop.told], start_method="spawn") as runs:
        told = await runs.result(task=shop.told, args={})
        assert told["by"] == told["pid"]
    shop = written(f"{SHOP}\n{THREADED}")
    async with running([shop.told], start_method="fork") as runs:
        told = await runs.result(task=shop.told, args={})
        assert told["by"] == told["parent"]


async def test_a_module_may_print_and_handle_signals_when_it_is_imported(written: Callable[..., ModuleType]) -> None:
    code = """
    import signal
    signal.signal(signal.SIGTERM, lambda *_: print("handled"))
    print("imported")
    """
    former = signal.getsignal(signal.SIGTERM)
    shop = written(f"{SHOP}{textwrap.dedent(code)}")
    signal.signal(signal.SIGTERM, former)
    async with running([shop.told, execute]) as runs:
        end = await runs.run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
        assert end.error == "the process ended by signal 15 (SIGTERM)"
        assert runs.said() == []


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_a_module_that_cannot_be_imported_fails_its_runs_until_it_is_repaired(
    written: Callable[..., ModuleType], start_method: str
) -> None:
    shop = written(SHOP)
    async with running([shop.told], start_method=start_method) as runs:
        rewrite(shop, "import nowhere_at_all")
        end = await runs.run(task=shop.told, args={})
        assert (end.reason, end.is_permanent) == (Reason.FAILED, False)
        assert "shop_of_a_test could not be imported" in (end.error or "")
        assert "No module named 'nowhere_at_all'" in (end.error or "")
        assert "shop_of_a_test.py" in (end.traceback or "")
        if start_method == "fork":
            with pytest.raises(Misconfigured, match="nowhere_at_all"):
                await runs.runner.start()
        rewrite(shop, f"{SHOP}\n# repaired")
        assert (await runs.result(task=shop.told, args={}))["name"] == "shop_of_a_test"


async def test_a_task_that_is_gone_from_its_module_is_a_failure(written: Callable[..., ModuleType]) -> None:
    shop = written(SHOP)
    async with running([shop.told]) as runs:
        rewrite(shop, "told = 7")
        end = await runs.run(task=shop.told, args={})
        assert end.reason is Reason.FAILED
        assert 'told is not the task "told" there' in (end.error or "")


async def test_a_module_that_ends_its_process_fails_its_runs(written: Callable[..., ModuleType]) -> None:
    shop = written(SHOP)
    async with running([shop.told]) as runs:
        rewrite(shop, "import os; os._exit(7)")
        end = await runs.run(task=shop.told, args={})
        assert end.reason is Reason.DIED
        assert end.error == "the process that imports shop_of_a_test ended with code 7"


async def test_a_module_that_takes_too_long_to_import_fails_its_runs(written: Callable[..., ModuleType]) -> None:
    shop = written(SHOP)
    async with running([shop.told], load_seconds=0.5) as runs:
        rewrite(shop, "import time; time.sleep(100)")
        end = await runs.run(task=shop.told, args={})
        assert end.reason is Reason.FAILED
        assert end.error == "TimeoutError: importing shop_of_a_test took longer than 0.5 s"


async def test_a_launcher_that_dies_while_it_imports_fails_the_runs_that_wait(
    written: Callable[..., ModuleType],
) -> None:
    shop = written(SHOP)
    async with running([shop.told]) as runs:
        rewrite(shop, "import time; time.sleep(100)")
        run = asyncio.create_task(runs.run(task=shop.told, args={}))
        pid = await eventually(lambda: runs.runner.launcher_pid)
        kill(pid)
        end = await run
        assert end.error == "the process that imports shop_of_a_test ended by signal 9 (SIGKILL)"
        assert state_of(pid) is None


async def test_a_launcher_that_cannot_be_started_fails_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as runs:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        end = await runs.run()
        assert end.reason is Reason.DIED
        assert "the launcher of processes could not be started: " in (end.error or "")
        monkeypatch.undo()
        assert await runs.result("result = 1") == 1


async def test_a_process_that_cannot_be_started_fails_its_run_and_no_other(written: Callable[..., ModuleType]) -> None:
    shop = written(f"{SHOP}\n{THREADED}\nimport sys")
    async with running([shop.told]) as runs:
        rewrite(shop, f"{SHOP}\n{THREADED}\nimport sys; sys.executable = '/nowhere/python'")
        await runs.runner.start()
        launcher = runs.runner.launcher_pid
        for _ in range(2):
            end = await runs.run(task=shop.told, args={})
            assert end.reason is Reason.DIED
            assert "the process of the task could not be started: [Errno 2] No such file" in (end.error or "")
        assert runs.runner.launcher_pid == launcher


async def test_the_end_of_a_launcher_is_noticed_even_if_a_module_has_forked_it(
    written: Callable[..., ModuleType],
) -> None:
    shop = written(SHOP)
    async with running([shop.told, execute]) as runs:
        fork = "fork = os.fork()\nif fork == 0: os.setsid(); signal.pause()"
        rewrite(shop, f"{SHOP}\nimport signal\n{fork}")
        await runs.runner.start()
        launcher = runs.runner.launcher_pid
        assert launcher is not None
        (pid,) = children_of(launcher)
        run = asyncio.create_task(runs.run("print('runs')\nwhile True: pass"))
        await runs.until_said()
        kill(launcher)
        try:
            assert (await asyncio.wait_for(run, 10)).error == "the launcher of processes ended by signal 9 (SIGKILL)"
        finally:
            kill(pid)
        rewrite(shop, f"{SHOP}\n# repaired")
