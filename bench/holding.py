"""How a promise is held to: measured, and once more before it fails; what is compared is compared in the same round."""

from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from bench import results
from bench.budgets import Promise
from bench.results import Figure


async def hold(measure: Callable[[], Awaitable[Sequence[Figure]]]) -> None:
    """Measure promises; once more when one is broken, for a disturbance of the machine must not block good work."""
    faults: list[list[str]] = []
    while len(faults) < 2:
        figures = await measure()
        results.FIGURES.extend(figures)
        faults.append([fault for figure in figures for fault in figure.faults])
        if not faults[-1]:
            return
    raise AssertionError(f"{faults[1]} (measured before: {faults[0]})")


def compared(promise: Promise, rounds: Sequence[tuple[float, float]], ours: str, theirs: str) -> Figure:
    """The median of what one rate is to the other in the same round, beside the medians of the two."""
    left, right = (median(rates) for rates in zip(*rounds, strict=True))
    beside = f"{ours} {left:,.0f} /s, {theirs} {right:,.0f} /s"
    return Figure(promise, median(left / right for left, right in rounds), beside)
