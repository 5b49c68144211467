"""The service against its limit, request by request."""

from itertools import islice

import pytest

from bench.budgets import BUDGETS, Budget
from bench.conftest import Sides
from bench.load import reply
from bench.operations import OPERATIONS
from bench.rounds import check

NAMES = [f"{budget.database}-{budget.operation}" for budget in BUDGETS]


@pytest.mark.parametrize("budget", BUDGETS, ids=NAMES)
def test_the_budget_holds(budget: Budget, request: pytest.FixtureRequest) -> None:
    sides: Sides = request.getfixturevalue(f"{budget.database}_sides")
    _check_that_replies_are_the_same(budget, sides)
    check(budget, (sides.service, sides.limit), OPERATIONS[budget.operation](sides.ids))


def _check_that_replies_are_the_same(budget: Budget, sides: Sides) -> None:
    [request] = islice(OPERATIONS[budget.operation](sides.ids), 1)
    ours, limit = reply(sides.service, request), reply(sides.limit, request)
    if budget.operation == "post":
        ours, limit = ([*made, made["name"], made["tags"]] for made in (ours, limit))
    assert ours == limit
