"""What a chart shows, in words: for those who do not see it, and for programs that read it aloud."""

from collections.abc import Iterable, Sequence
from typing import Any

from domain.errors import cut
from domain.frames.structure import Frame, cells_at

_MOST_NAMED = 5


def number(value: float) -> str:
    """A number as people write it, with no more digits than matter."""
    rounded = float(f"{value:.4g}") if abs(value) < 10_000 else round(value)
    return f"{int(rounded) if rounded == int(rounded) else rounded:,}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """How many there are of something."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def sentence(*parts: str) -> str:
    """Sentences one after the other, without those that say nothing."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def heading(kind: str, title: str | None) -> str:
    """What kind of chart it is, and how it is called."""
    return f"{kind} “{title}”" if title else kind


def described(frame: Frame, kind: str, title: str | None, names: Sequence[str]) -> str:
    """The chart of the named columns: how many rows there are, and of each column its range or its values."""
    if not frame.data:
        return sentence(heading(kind, title), "There is no data")
    columns = (f"{name}: {extent(cells_at(frame, frame.columns.index(name)))}" for name in dict.fromkeys(names))
    return sentence(heading(kind, title), counted(len(frame.data), "row"), *columns)


def extent(cells: Iterable[Any]) -> str:
    """The range of numbers, or the values of anything else; what is missing is counted."""
    everything = list(cells)
    present = [cell for cell in everything if cell is not None]
    missing = len(everything) - len(present)
    suffix = f", {missing:,} missing" if missing else ""
    if not present:
        return "no values"
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in present):
        return f"from {number(min(present))} to {number(max(present))}{suffix}"
    return f"{named([str(cell) for cell in present])}{suffix}"


def named(values: Iterable[str]) -> str:
    """How many different values there are, and which, or the first and the last."""
    distinct = list(dict.fromkeys(values))
    shown = [str(cut(value)) for value in distinct[:_MOST_NAMED]]
    if len(distinct) > _MOST_NAMED:
        return f"{len(distinct):,} values, {cut(distinct[0])} to {cut(distinct[-1])}"
    return f"{counted(len(distinct), 'value')} ({', '.join(shown)})"
