"""What an `Idempotency-Key` costs, against the same requests without one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from bench import budgets
from bench.conftest import serving
from bench.load import load, reply
from bench.operations import OPERATIONS, Requests, keyed, repeated
from bench.results import Figure
from bench.test_jobs import compared, hold


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_a_key_costs_little(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # One of its own: others count their rows.
    url = f"sqlite:///{tmp_path}/service.sqlite3"
    if database == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database(f"bench_{uuid4().hex}")
    with serving("service", url) as port:
        _measure(database, port)


def _measure(database: str, port: int) -> None:
    again = repeated()
    first = reply(port, next(again))
    assert reply(port, next(again)) == first

    async def rate(requests: Requests) -> float:
        connections, seconds = budgets.CONNECTIONS, budgets.ROUND_SECONDS
        return (await asyncio.to_thread(load, port, requests, connections=connections, seconds=seconds)).rate

    async def measure() -> Sequence[Figure]:
        plain = OPERATIONS["post"](())
        for requests in (plain, keyed(), again):
            await rate(requests)
        rounds = [(await rate(keyed()), await rate(plain), await rate(again)) for _ in range(budgets.ROUNDS)]
        return [
            compared(budgets.KEYED[database], [(new, without) for new, without, _ in rounds], "keyed", "POST"),
            compared(budgets.REPEATED[database], [(old, without) for _, without, old in rounds], "repeated", "POST"),
        ]

    asyncio.run(hold(measure))
