"""When something that keeps failing is left alone, and how it comes back."""

from domain.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(3, 10, clock)
    for is_last in (False, False, True):
        assert breaker.allows()
        assert breaker.failed() is is_last
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = broken(Clock())
    assert (breaker.state, breaker.allows()) == ("open", False)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(2, 10, Clock())
    for _ in range(5):
        assert not breaker.failed()
        assert not breaker.succeeded()
    assert breaker.state == "closed"


def test_after_a_pause_one_attempt_closes_it() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 10
    assert breaker.state == "half-open"
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    assert breaker.succeeded()
    assert (breaker.state, breaker.allows()) == ("closed", True)


def test_after_a_pause_one_failure_opens_it_again() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 10
    assert breaker.allows()
    assert not breaker.failed()
    assert not breaker.allows()
    clock.now = 19.9
    assert not breaker.allows()


def test_an_attempt_that_is_never_heard_of_is_followed_by_another() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 10
    assert breaker.allows()
    clock.now = 20
    assert breaker.allows()
