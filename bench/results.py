"""What was measured in this run, and how it is shown."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.budgets import Budget
from bench.load import Load


class Result(NamedTuple):
    """One comparison: rounds with many connections, and the times of requests on one connection."""

    budget: Budget
    service: Sequence[Load]
    limit: Sequence[Load]
    service_times: Sequence[float]
    limit_times: Sequence[float]

    @property
    def rates(self) -> tuple[float, float]:
        """Requests per second of the service and of its limit."""
        return median(load.rate for load in self.service), median(load.rate for load in self.limit)

    @property
    def share(self) -> float:
        """The service's requests per second as a share of the limit's, of rounds that followed each other."""
        return median(ours.rate / limit.rate for ours, limit in zip(self.service, self.limit, strict=True))

    @property
    def thrift(self) -> float:
        """The limit's processor time per request as a share of the service's."""
        return median(limit.cost / ours.cost for ours, limit in zip(self.service, self.limit, strict=True))

    @property
    def faults(self) -> list[str]:
        """The gates that are broken, each as a sentence."""
        budget, faults = self.budget, []
        if self.share < budget.gate:
            faults.append(f"{self.share:.0%} of the limit's requests per second, and {budget.gate:.0%} must hold")
        if budget.p99 is not None and (p99 := milliseconds(self.service_times, 99)) >= budget.p99:
            faults.append(f"p99 is {p99:.1f} ms, and must be below {budget.p99:g} ms")
        return faults


def milliseconds(times: Sequence[float], percent: int) -> float:
    """A percentile of times in seconds."""
    ordered = sorted(times)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1000


RESULTS: list[Result] = []

_COLUMNS = (
    ("operation", 16),
    ("database", 10),
    ("req/s", 8),
    ("limit", 8),
    ("ratio", 7),
    ("gate", 6),
    ("aim", 6),
    ("cpu", 6),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("limit p50", 10),
    ("", 0),
)


def table() -> Iterator[str]:
    """The results as lines of text, none when nothing was measured."""
    if not RESULTS:
        return
    yield ""
    yield _line([title for title, _ in _COLUMNS])
    for result in RESULTS:
        budget, (ours, limit) = result.budget, result.rates
        yield _line(
            [
                budget.operation,
                budget.database,
                f"{ours:,.0f}",
                f"{limit:,.0f}",
                f"{result.share:.0%}",
                f"{budget.gate:.0%}",
                f"{budget.aim:.0%}",
                f"{result.thrift:.0%}",
                f"{milliseconds(result.service_times, 50):.2f}",
                f"{milliseconds(result.service_times, 99):.2f}",
                f"{milliseconds(result.limit_times, 50):.2f}",
                _remark(result),
            ]
        )
    yield "ratio: share of the limit's requests per second; cpu: the limit's processor time as a share of the service's"


def _remark(result: Result) -> str:
    if result.faults:
        return "  BROKEN"
    p50 = result.budget.p50
    is_reached = result.share >= result.budget.aim and (p50 is None or milliseconds(result.service_times, 50) < p50)
    return "" if is_reached else "  aim missed"


def _line(cells: Sequence[str]) -> str:
    padded = [
        cell.ljust(width) if number < 2 else cell.rjust(width)
        for number, (cell, (_, width)) in enumerate(zip(cells, _COLUMNS, strict=True))
    ]
    return "".join(padded).rstrip()
