"""When a failed job runs again: which errors are worth it, and how long it waits."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized

MOST_RETRIES = 1_000
LONGEST_DELAY_SECONDS = 31_536_000.0


class RetryLater(Exception):
    """Raised by a task: not now. Counts as a failed attempt; `after_seconds`, a year at most, replaces the policy's
    delay.
    """

    # For those who derive from it and do not call its constructor.
    after_seconds: float | None = None

    def __init__(self, message: str = "try again later", *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = None if after_seconds is None else _bounded(after_seconds)


class PermanentFailure(Exception):
    """Raised by a task: no further attempt can help."""


PERMANENT: tuple[type[BaseException], ...] = (
    PermanentFailure,
    Invalid,
    NotFound,
    Conflict,
    Unauthorized,
    Forbidden,
    NotImplementedError,
)
"""What never becomes right by itself, whatever a task declares."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a failed job is tried again, and the longest it waits before: `first_delay_seconds`, times `factor`
    for each further failure, at most `max_delay_seconds`. The wait itself is anywhere between 0 and that (full
    jitter), so that jobs which failed together do not come back together.
    """

    retries: Annotated[int, Meta(ge=0, le=MOST_RETRIES)] = 0
    first_delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_delay_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 300.0

    @property
    def max_attempts(self) -> int:
        """How often a job runs at most, the first time included."""
        return self.retries + 1

    def delay_seconds(self, failures: int, *, spread: float, asked_seconds: float | None = None) -> float:
        """How long to wait after the `failures`th failure; `spread` is random, from 0 to 1.

        A delay that the task has asked for is kept to the letter, up to a year.
        """
        if asked_seconds is not None:
            return _bounded(asked_seconds)
        return spread * self.ceiling_seconds(failures)

    def ceiling_seconds(self, failures: int) -> float:
        """The longest wait after the `failures`th failure."""
        try:
            grown = self.first_delay_seconds * self.factor ** max(failures - 1, 0)
        except OverflowError:
            return self.max_delay_seconds
        return min(grown, self.max_delay_seconds)


def _bounded(seconds: float) -> float:
    # So, because a NaN is neither more nor less than anything.
    return float(min(seconds, LONGEST_DELAY_SECONDS)) if seconds > 0 else 0.0
