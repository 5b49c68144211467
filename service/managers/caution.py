"""Keeps jobs apart that may be what ended their workers, so that one of them does not take the others along."""

from collections.abc import Callable

from domain.jobs import Job
from domain.workers import WorkerOptions


class Caution:
    """What a worker knows of the risk it runs.

    It begins with one risky job at a time, and with the next when that has ended, or has gone well for as long as a
    lease.
    """

    def __init__(self, options: WorkerOptions, clock: Callable[[], float]) -> None:
        self.risky_losses = options.risky_losses
        self._seconds = options.lease_seconds
        self._clock = clock
        self._latest: tuple[str, float] | None = None

    @property
    def is_risk_taken(self) -> bool:
        """Whether a risky job may begin now."""
        return self._latest is None or self._clock() - self._latest[1] >= self._seconds

    def begin(self, job: Job) -> None:
        """A job begins."""
        if self.risky_losses is not None and job.losses >= self.risky_losses:
            self._latest = job.id, self._clock()

    def end(self, job: Job) -> None:
        """A job has ended."""
        if self._latest is not None and self._latest[0] == job.id:
            self._latest = None
