"""What the cache in front of a service answers, against an app that does nothing but send the same bytes."""

import itertools
import time

import httpx
import pytest

from bench.budgets import CACHED, Budget
from bench.conftest import Sides
from bench.operations import PAGE, USERS, get
from bench.rounds import check


@pytest.mark.parametrize("budget", CACHED, ids=[f"{budget.database}-{budget.operation}" for budget in CACHED])
def test_what_is_cached_costs_little_more_than_sending_it(budget: Budget, request: pytest.FixtureRequest) -> None:
    sides: Sides = request.getfixturevalue(f"cached_{budget.database}_sides")
    with httpx.Client(base_url=f"http://127.0.0.1:{sides.service}", headers={"Accept-Encoding": "identity"}) as client:
        ours = _certain(client)
        limit = httpx.get(f"http://127.0.0.1:{sides.limit}{PAGE}", headers={"Accept-Encoding": "identity"})
        assert ours.content == limit.content
        headers = {"hit": {}, "304": {"if-none-match": ours.headers["etag"]}}[budget.operation]
    check(budget, (sides.service, sides.limit), itertools.repeat(get(PAGE, headers)))


def _certain(client: httpx.Client) -> httpx.Response:
    """A hit, from when on the service need not ask its database any more: some seconds after its start."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        reply = client.get(PAGE)
        time.sleep(0.1)
    assert "hit" in reply.headers["cache-status"]
    assert PAGE.startswith(USERS)
    return reply
