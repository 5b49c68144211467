"""When something that keeps failing is left alone for a while."""

from collections.abc import Callable


class Breaker:
    """Opens after `most_failures` in a row; after `pause_seconds` one attempt may show whether it works again.

    It starts closed: whoever asks `allows` before an attempt says afterwards whether it `succeeded` or `failed`.
    """

    def __init__(self, most_failures: int, pause_seconds: float, clock: Callable[[], float]) -> None:
        self._most_failures = most_failures
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self._next_attempt_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether everything is attempted."""
        return self._failures < self._most_failures

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half-open` when the next attempt shows whether it works again."""
        if self.is_closed:
            return "closed"
        return "open" if self._clock() < self._next_attempt_at else "half-open"

    def allows(self) -> bool:
        """Whether to attempt it now."""
        if self.is_closed:
            return True
        if self._clock() < self._next_attempt_at:
            return False
        # One at a time; should nothing be heard of it, there is another after the next pause.
        self._next_attempt_at = self._clock() + self._pause_seconds
        return True

    def succeeded(self) -> bool:
        """It works; says whether that is news."""
        was_open = not self.is_closed
        self._failures = 0
        return was_open

    def failed(self) -> bool:
        """It does not; says whether that has opened it."""
        was_closed = self.is_closed
        self._failures += 1
        if not self.is_closed:
            self._next_attempt_at = self._clock() + self._pause_seconds
        return was_closed and not self.is_closed
