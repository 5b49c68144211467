"""The service against its limit, request by request."""

from itertools import islice

import pytest

from bench import results
from bench.budgets import BUDGETS, CONNECTIONS, LATENCY_SECONDS, ROUND_SECONDS, ROUNDS, WARM_UP_SECONDS, Budget
from bench.conftest import Sides
from bench.load import Load, load, reply
from bench.operations import OPERATIONS

NAMES = [f"{budget.database}-{budget.operation}" for budget in BUDGETS]


@pytest.mark.parametrize("budget", BUDGETS, ids=NAMES)
def test_the_budget_holds(budget: Budget, request: pytest.FixtureRequest) -> None:
    sides: Sides = request.getfixturevalue(f"{budget.database}_sides")
    _check_that_replies_are_the_same(budget, sides)
    result = _measure(budget, sides)
    results.RESULTS.append(result)
    if not result.faults:
        return
    # A disturbance of the machine must not block good work; two in a row are hardly chance.
    again = _measure(budget, sides)
    results.RESULTS.append(again)
    assert not again.faults, f"{again.faults} (measured before: {result.faults})"


def _check_that_replies_are_the_same(budget: Budget, sides: Sides) -> None:
    [request] = islice(OPERATIONS[budget.operation](sides.ids), 1)
    ours, limit = reply(sides.service, request), reply(sides.limit, request)
    if budget.operation == "post":
        ours, limit = ([*made, made["name"], made["tags"]] for made in (ours, limit))
    assert ours == limit


def _measure(budget: Budget, sides: Sides) -> results.Result:
    ports = sides.service, sides.limit
    requests = OPERATIONS[budget.operation](sides.ids)
    for port in ports:
        load(port, requests, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
    rounds: dict[int, list[Load]] = {port: [] for port in ports}
    times: dict[int, list[float]] = {port: [] for port in ports}
    for number in range(ROUNDS):
        # Whoever comes second finds a warmer machine, so they take turns.
        for port in ports if number % 2 == 0 else ports[::-1]:
            rounds[port].append(load(port, requests, connections=CONNECTIONS, seconds=ROUND_SECONDS))
            times[port] += load(port, requests, connections=1, seconds=LATENCY_SECONDS).times
    ours, limit = ports
    return results.Result(budget, rounds[ours], rounds[limit], times[ours], times[limit])
