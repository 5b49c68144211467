"""Time that passes when a test says so."""


class Clock:
    """Call it for the time; add to `now` to have time pass."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
