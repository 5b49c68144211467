"""A run hears that it must end, whenever it asks."""

from domain.tasks import RunningJob
from infra.runners.child import Stopping


def stopping() -> tuple[Stopping, RunningJob]:
    job = RunningJob(id="j", kind="k", attempt=1, max_attempts=1, send=lambda message: None)
    return Stopping(job), job


def test_who_has_asked_is_told_along_with_the_job() -> None:
    stop, job = stopping()
    told: list[bool] = []
    stop.call(lambda: told.append(job.is_canceled))
    assert told == []
    stop.tell()
    assert told == [True]


def test_who_asks_afterwards_is_told_at_once_and_once() -> None:
    stop, job = stopping()
    told: list[bool] = []
    stop.tell()
    stop.call(lambda: told.append(job.is_canceled))
    assert told == [True]
