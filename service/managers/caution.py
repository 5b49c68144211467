"""Keeps jobs apart that may be what ended their workers, so that one of them does not take the others along."""

from collections.abc import Callable

from domain.jobs import Job


class Caution:
    """What a worker knows of the risk it runs.

    A job is risky when it would die with the next worker it loses: who knows whether it was the one that ended the
    others. A worker begins with one such job at a time, and with the next when that has ended, or has gone well for
    `seconds`. With `max_losses` of 1 every job would be risky, so none is.
    """

    def __init__(self, max_losses: int, seconds: float, clock: Callable[[], float]) -> None:
        self.risky_losses = max_losses - 1 if max_losses > 1 else None
        self._seconds = seconds
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
