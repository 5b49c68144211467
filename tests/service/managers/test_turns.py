"""Which work waits for its turn among processes."""

from service.managers.turns import MOST_REMEMBERED, TIMES, Worth


def test_what_was_never_done_is_worth_a_turn() -> None:
    assert Worth(0.01).is_given("items", "a")


def test_work_is_judged_by_the_last_time() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.02)
    worth.took("items", "b", 0.002)
    assert worth.is_given("items", "a")
    assert not worth.is_given("items", "b")
    worth.took("items", "a", 0.002)
    assert not worth.is_given("items", "a")


def test_work_that_is_new_is_judged_by_the_shortest_of_its_kind_lately() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.5)
    assert worth.is_given("items", "new")
    worth.took("items", "b", 0.002)
    assert not worth.is_given("items", "new")
    assert worth.is_given("users", "new")
    for _ in range(TIMES):
        worth.took("items", "a", 0.5)
    assert worth.is_given("items", "new")


def test_work_of_which_nothing_came_is_not_waited_for() -> None:
    worth = Worth(0.01)
    worth.took("items", "a", 0.5)
    worth.failed("a")
    assert not worth.is_given("items", "a")
    assert worth.is_given("items", "new")


def test_without_a_least_time_all_work_is_worth_a_turn() -> None:
    worth = Worth(0.0)
    worth.took("items", "a", 0.0)
    worth.failed("a")
    assert worth.is_given("items", "a")


def test_what_is_remembered_has_a_limit() -> None:
    worth = Worth(0.01)
    for number in range(MOST_REMEMBERED * 2):
        worth.took("items", str(number), 0.002)
    assert len(worth._work) == MOST_REMEMBERED
