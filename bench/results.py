"""What was measured in this run, and how it is shown."""

from collections.abc import Iterator, Sequence
from itertools import chain
from statistics import median
from typing import NamedTuple

from bench.budgets import Budget, Promise
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
    def spread(self) -> float:
        """How much faster a good round of the limit was than a bad one, of ten the second and the ninth."""
        rates = sorted(load.rate for load in self.limit)
        return rates[len(rates) * 9 // 10] / rates[len(rates) // 10]

    @property
    def faults(self) -> list[str]:
        """The gates that are broken, each as a sentence."""
        budget, faults = self.budget, []
        if self.share < budget.gate:
            faults.append(f"{self.share:.0%} of the limit's requests per second, and {budget.gate:.0%} must hold")
        if budget.p99 is not None and (p99 := milliseconds(self.service_times, 99)) >= budget.p99:
            faults.append(f"p99 is {p99:.1f} ms, and must be below {budget.p99:g} ms")
        return faults


def pooled(measured: Sequence[Result]) -> Result:
    """Several measurements as one."""
    _, *parts = zip(*measured, strict=True)
    return Result(measured[0].budget, *(list(chain.from_iterable(part)) for part in parts))


def milliseconds(times: Sequence[float], percent: int) -> float:
    """A percentile of times in seconds."""
    ordered = sorted(times)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1000


class Figure(NamedTuple):
    """What was measured of a promise; `beside` says what else was, in the same run."""

    promise: Promise
    value: float
    beside: str = ""

    @property
    def faults(self) -> list[str]:
        """The gate, as a sentence, when it is broken."""
        if self.promise.is_kept(self.value, self.promise.gate):
            return []
        return [f"{shown(self.value)} {self.promise.unit}, and {_bound(self.promise, self.promise.gate)} must hold"]


def shown(value: float) -> str:
    """A number with three digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


RESULTS: list[Result] = []
FIGURES: list[Figure] = []

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
    if RESULTS:
        yield from _requests()
    if FIGURES:
        yield from _background()


def _requests() -> Iterator[str]:
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


def _background() -> Iterator[str]:
    yield ""
    yield _figure_line("background work", "where", "measured", "gate", "aim", "beside")
    for figure in FIGURES:
        promise = figure.promise
        yield _figure_line(
            promise.figure,
            promise.where,
            f"{shown(figure.value)} {promise.unit}",
            _bound(promise, promise.gate),
            _bound(promise, promise.aim),
            f"{figure.beside}{_figure_remark(figure)}",
        )


def _bound(promise: Promise, bound: float) -> str:
    return f"{'≥' if promise.is_least else '<'} {bound:,g}"


def _figure_line(figure: str, where: str, measured: str, gate: str, aim: str, beside: str) -> str:
    return f"{figure:33}{where:21}{measured:>10}{gate:>8}{aim:>9}  {beside}".rstrip()


def _figure_remark(figure: Figure) -> str:
    if figure.faults:
        return "  BROKEN"
    return "" if figure.promise.is_kept(figure.value, figure.promise.aim) else "  aim missed"


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
