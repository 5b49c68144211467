"""Two servers under the same load, by turns."""

import time

from bench import results
from bench.budgets import (
    CALM,
    CONNECTIONS,
    LATENCY_SECONDS,
    MEASURED_SECONDS,
    MOST_MEASUREMENTS,
    ROUND_SECONDS,
    ROUNDS,
    WARM_UP_SECONDS,
    Budget,
)
from bench.load import Load, load
from bench.operations import Requests


def check(budget: Budget, ports: tuple[int, int], requests: Requests) -> None:
    """Measure the first port against the second, and fail when a gate is broken again and again."""
    measured: list[results.Result] = []
    while True:
        measured.append(_measure(budget, ports, requests))
        results.RESULTS.append(measured[-1])
        if not measured[-1].faults and (len(measured) == 1 or measured[-1].spread <= CALM):
            return
        # A disturbance of the machine must not block good work; two in a row are hardly chance, unless others use the
        # machine all the time: then even the limit is not as fast as itself, and what counts is all rounds together.
        pooled = results.pooled(measured)
        if len(measured) > 1 and not pooled.faults:
            results.RESULTS.append(pooled)
            return
        if len(measured) >= (MOST_MEASUREMENTS if measured[-1].spread > CALM else 2):
            raise AssertionError(f"{pooled.faults} (measured: {[one.faults for one in measured]})")


def _measure(budget: Budget, ports: tuple[int, int], requests: Requests) -> results.Result:
    for port in ports:
        load(port, requests, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
    rounds: dict[int, list[Load]] = {port: [] for port in ports}
    times: dict[int, list[float]] = {port: [] for port in ports}
    began, turn = time.perf_counter(), ports
    # Short rounds right behind each other meet the same machine, also when others use it.
    while len(rounds[ports[0]]) < ROUNDS or time.perf_counter() - began < MEASURED_SECONDS:
        # Whoever comes second finds a warmer machine, so they take turns.
        turn = turn[::-1]
        for port in turn:
            rounds[port].append(load(port, requests, connections=CONNECTIONS, seconds=ROUND_SECONDS))
    for _ in range(ROUNDS):
        for port in ports:
            times[port] += load(port, requests, connections=1, seconds=LATENCY_SECONDS).times
    ours, limit = ports
    return results.Result(budget, rounds[ours], rounds[limit], times[ours], times[limit])
