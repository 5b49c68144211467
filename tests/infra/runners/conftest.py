"""What the tests of the runners may ask for."""

from collections.abc import AsyncIterator

import pytest

from infra.runners.process import ProcessRunner
from tests.infra.runners.running import Running, children_of, eventually, running


@pytest.fixture(scope="module")
async def shared_runner() -> AsyncIterator[ProcessRunner]:
    """A runner for all tests of a module that leave it as it is."""
    async with running() as runs:
        yield runs.runner


@pytest.fixture
async def runs(shared_runner: ProcessRunner) -> AsyncIterator[Running]:
    """A runner of the sample tasks, and what this test has it report."""
    yield Running(shared_runner)
    launcher = shared_runner.launcher_pid
    await eventually(lambda: launcher is None or not children_of(launcher))
