"""Runs need no particular event loop: that of Python itself will do."""

import asyncio
from typing import Any

import pytest

from domain.runs import Reason
from tests.infra.runners.running import Running, running, until_gone
from tests.infra.runners.test_stopping import CHECKING, DEAF, SLEEPING


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop of the standard library."""
    return "asyncio", {"use_uvloop": False}


async def test_a_task_is_run(runs: Running) -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")
    assert await runs.result("print('one'); result = 2") == 2
    assert runs.said() == ["one"]


async def test_a_run_is_canceled(runs: Running) -> None:
    run = asyncio.create_task(runs.run(CHECKING))
    await runs.until_said()
    runs.runner.cancel("job")
    assert (await run).reason is Reason.CANCELED


async def test_a_runner_that_is_stopped_kills_what_runs() -> None:
    async with running() as runs:
        run = asyncio.create_task(runs.run(DEAF + SLEEPING))
        pids = [int(line) for line in await runs.until_said(3)]
        await runs.runner.stop()
        assert (await run).reason is Reason.DIED
        await until_gone(*pids, within=2)
