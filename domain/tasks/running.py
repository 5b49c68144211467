"""What a task knows of the run it is in, and what it may say and return."""

import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from domain.jobs import Progress, storable

MOST_RESULT_BYTES = 1024 * 1024


class Artifact(msgspec.Struct, frozen=True):
    """Returned by a task whose result is an artifact that it has stored."""

    artifact_id: str


class Canceled(Exception):
    """Raised by `RunningJob.check()` once the job has been told to stop."""

    # What users import, and what the records of their jobs have always named.
    __module__ = "domain.tasks"


Send = Callable[[Mapping[str, Any]], None]


class RunningJob:
    """What a task knows of the run it is in, and says about it. The same in the worker's loop and in a process.

    `attempt` is counted from 1; `fire_at` is the tick of the schedule that the job is for, None without one. Nothing
    here waits: reports are passed on in the background.
    """

    def __init__(
        self,
        *,
        id: str,
        kind: str,
        attempt: int,
        max_attempts: int,
        send: Send,
        graph_id: str | None = None,
        trace_id: str | None = None,
        timeout_seconds: float | None = None,
        fire_at: datetime | None = None,
    ) -> None:
        self.id = id
        self.kind = kind
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.graph_id = graph_id
        self.trace_id = trace_id
        self.timeout_seconds = timeout_seconds
        self.fire_at = fire_at
        self._send = send
        self._canceled = threading.Event()

    def progress(self, percent: float | None = None, *, step: str | None = None, message: str | None = None) -> None:
        """Say how far the work has come; `percent` goes from 0 to 100. Only the latest report is kept."""
        told = Progress(
            percent=None if percent is None else _within_percent(float(percent)),
            step=None if step is None else storable(str(step), 200),
            message=None if message is None else storable(str(message), 1_000),
        )
        self._send({"progress": msgspec.to_builtins(told)})

    def log(self, text: str) -> None:
        """Write a line to the job's log."""
        self._send({"log": str(text)})

    @property
    def is_canceled(self) -> bool:
        """Whether the job has been told to stop. Who does not look is stopped by force a little later."""
        return self._canceled.is_set()

    def check(self) -> None:
        """Raise `Canceled` when the job has been told to stop: for the head of a loop."""
        if self.is_canceled:
            raise Canceled

    def cancel(self) -> None:
        """Tell the run to stop; called by whoever runs it."""
        self._canceled.set()


def _within_percent(percent: float) -> float | None:
    """The nearest percentage; None for a NaN, which is near to nothing."""
    return None if math.isnan(percent) else min(max(percent, 0.0), 100.0)
