"""A run ends once, and properly, in whatever order its worker hears of what happened."""

import asyncio
import os
import signal
import socket
import time

import pytest

from domain.runs import Message, Reason, Run, RunEnd
from infra.runners.execution import Execution
from infra.runners.messages import Assignment, Ended, framed
from infra.runners.modules import Module, Place
from tests.infra.runners.running import descriptors, eventually

RETURNED = RunEnd(reason=Reason.COMPLETED, result=b"1")


class Begun:
    """A run whose process is this test: it has the other ends of everything, and the signals that were sent."""

    def __init__(self, **options: float) -> None:
        self.reports: list[Message] = []
        self.signals: list[int] = []
        self.fds: list[int] = []
        place = Place(Module("nowhere"), "nothing")
        run = Run(job_id="job", kind="nothing", args=b"{}", **options)
        self.execution = Execution(Assignment(place, [], run), self.reports.append, grace_seconds=0.05)
        self.execution.begin(self.fds.extend, self.signals.append)
        self.execution.on_started(0)

    def returns(self, at: float | None = None) -> None:
        """Tell of a result."""
        with socket.socket(fileno=os.dup(self.fds[0])) as connection:
            connection.sendall(framed(Ended(RETURNED, time.monotonic() if at is None else at)))

    def close(self) -> None:
        """Let go of everything."""
        for fd in self.fds:
            os.close(fd)


async def test_the_death_of_a_process_may_be_heard_of_before_its_result() -> None:
    before = descriptors()
    begun = Begun()
    begun.execution.on_exited(0)
    begun.returns()
    os.close(begun.fds.pop(0))
    # Somebody else holds the output.
    assert await asyncio.wait_for(begun.execution.end, 5) == RETURNED
    begun.close()
    assert descriptors() == before


async def test_nothing_is_missed_of_what_was_said_at_last() -> None:
    begun = Begun()
    begun.execution.on_exited(0)
    os.write(begun.fds[1], b"one\ntwo")
    os.write(begun.fds[2], b"three")
    begun.returns()
    begun.close()
    assert await asyncio.wait_for(begun.execution.end, 5) == RETURNED
    assert begun.reports == [{"stdout": "one"}, {"stdout": "two"}, {"stderr": "three"}]


async def test_a_process_that_has_returned_but_stays_is_killed() -> None:
    begun = Begun(timeout_seconds=60)
    begun.returns()
    await eventually(lambda: begun.signals == [signal.SIGKILL])
    begun.execution.stop(Reason.CANCELED)
    begun.execution.on_exited(-9)
    begun.close()
    assert await asyncio.wait_for(begun.execution.end, 5) == RETURNED


@pytest.mark.parametrize("at, reason", [(0.0, Reason.COMPLETED), (None, Reason.CANCELED)])
async def test_what_came_first_counts_and_not_what_was_heard_first(at: float | None, reason: Reason) -> None:
    begun = Begun()
    begun.execution.stop(Reason.CANCELED)
    begun.returns(at)
    begun.execution.on_exited(0)
    begun.close()
    assert (await asyncio.wait_for(begun.execution.end, 5)).reason is reason


async def test_only_the_first_result_counts() -> None:
    begun = Begun()
    begun.returns()
    with socket.socket(fileno=os.dup(begun.fds[0])) as connection:
        connection.sendall(framed(Ended(RunEnd(reason=Reason.FAILED, error="another"), 0.0)))
    begun.execution.on_exited(0)
    begun.close()
    assert await asyncio.wait_for(begun.execution.end, 5) == RETURNED
