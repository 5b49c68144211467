"""A task gets as much memory as it may have, and an error when it wants more."""

import resource
import sys

import pytest

from domain.runs import Reason
from infra.runners.system import MIB, OverLimit, data_bytes, limited
from tests.infra.runners.running import Running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process may write to")


async def test_a_task_that_wants_too_much_memory_fails_for_good(runs: Running) -> None:
    end = await runs.run("x = bytearray(200 * 1024 * 1024)", memory_mib=128)
    assert (end.reason, end.error, end.is_permanent) == (
        Reason.FAILED,
        "MemoryError: over the limit of 128 MiB",
        True,
    )
    assert "in execute" in (end.traceback or "")


async def test_many_small_pieces_count_too(runs: Running) -> None:
    end = await runs.run("x = []\nwhile True: x.append(bytes(1000))", memory_mib=96)
    assert end.error == "MemoryError: over the limit of 96 MiB"


async def test_a_task_that_keeps_to_its_limit_is_not_disturbed(runs: Running) -> None:
    assert await runs.result("result = len(bytearray(64 * 1024 * 1024))", memory_mib=256) == 64 * MIB
    assert await runs.result("result = len(bytearray(200 * 1024 * 1024))") == 200 * MIB


async def test_a_task_whose_modules_alone_are_over_its_limit_does_not_begin(runs: Running) -> None:
    end = await runs.run("print('begun')", memory_mib=4)
    assert end.is_permanent
    assert "MemoryError: over the limit of 4 MiB before the task began: its modules alone take" in (end.error or "")
    assert runs.said() == []


async def test_a_process_that_dies_of_its_limit_says_what_it_was(runs: Running) -> None:
    end = await runs.run("import os; os.abort()", memory_mib=256)
    assert end.error == "the process ended by signal 6 (SIGABRT); its memory is limited to 256 MiB"


def test_a_limit_ends_with_its_block() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limited(None):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
    mib = data_bytes() // MIB + 50
    with limited(mib):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == mib * MIB
        with pytest.raises(MemoryError):
            bytearray(100 * MIB)
        with limited(mib + 1):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == mib * MIB
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with pytest.raises(OverLimit, match="over the limit of 1 MiB"), limited(1):
        raise AssertionError
