"""What a request costs before and after its statement, in this process: calibrated rounds, in processor time.

Each is a multiple of the least that does the same. `pytest bench/test_hot_paths.py --benchmark-autosave` keeps the
figures, and `--benchmark-compare` shows what has changed.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import budgets, results
from bench.accounts import USERS, User
from bench.results import Figure
from domain.bodies import Bodies
from domain.query import parse_parameters

QUERY = "filter=%7B%22is_active%22%3Atrue%2C%22age%22%3A%7B%22gte%22%3A30%7D%7D&sort=-age&fields=id,name,age"
BODY = b'{"name":"New","email":"new@example.com","role":"editor","tags":["new"],"age":40}'
REFERENCE_ROUNDS, REFERENCE_TIMES = 15, 2_000

pytestmark = pytest.mark.benchmark(timer=time.process_time, warmup=True, max_time=1.0)


def _bare_query() -> Any:
    given = dict(parse_qsl(QUERY))
    return msgspec.json.decode(given["filter"]), given["sort"].split(","), given["fields"].split(",")


def _query() -> Any:
    return parse_parameters(USERS, parse_qsl(QUERY), key=b"key")


_decode = msgspec.json.Decoder(User).decode
_bodies = Bodies(USERS)


def _bare_body() -> Any:
    return _decode(BODY)


def _body() -> Any:
    return _bodies.construct(_bodies.decode_create(BODY))


@pytest.mark.parametrize(
    "promise, ours, bare",
    [(budgets.QUERY_READ, _query, _bare_query), (budgets.BODY_READ, _body, _bare_body)],
    ids=["query", "body"],
)
def test_what_a_request_says_is_read_nearly_as_quickly_as_its_text(
    benchmark: BenchmarkFixture, promise: budgets.Promise, ours: Callable[[], Any], bare: Callable[[], Any]
) -> None:
    before = _seconds(bare)
    benchmark(ours)
    stats: Any = benchmark.stats
    if stats is None:
        return  # With --benchmark-disable there is nothing to compare.
    least = min(before, _seconds(bare))
    taken = stats.stats.min
    figure = Figure(promise, taken / least, f"{taken * 1e6:.1f} µs, at least {least * 1e6:.1f} µs")
    results.FIGURES.append(figure)
    benchmark.extra_info["to the least"] = figure.value
    assert not figure.faults, figure.faults


def _seconds(work: Callable[[], Any]) -> float:
    """The processor time of one call, in the best of some rounds: whatever else happens only adds to it."""
    best = float("inf")
    for _ in range(REFERENCE_ROUNDS):
        began = time.process_time()
        for _ in range(REFERENCE_TIMES):
            work()
        best = min(best, (time.process_time() - began) / REFERENCE_TIMES)
    return best
