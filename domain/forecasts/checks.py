"""What must hold of the cells of a forecast, by its kind; every error names the row and the column."""

import math
from collections.abc import Sequence
from typing import Any

from domain.errors import Incompatible, Invalid, cut
from domain.frames.conversions import needed

_ROUNDING = 1e-9
_SUM_ROUNDING = 1e-6

Key = tuple[str, str]


def check_one_kind(others: Sequence[str], chosen: Sequence[str], name: str) -> None:
    """Raise `Incompatible` when a forecast has columns besides those of its kind."""
    if more := [column for column in others if column not in set(chosen)]:
        raise Incompatible(f'{name} has columns of several kinds: "{cut(chosen[0])}" and "{cut(more[0])}"')


def check_labels(columns: Sequence[str], labels: Sequence[Any], name: str) -> None:
    """Raise `Invalid` for two columns that say the same."""
    seen: dict[Any, str] = {}
    for column, label in zip(columns, labels, strict=True):
        if label in seen:
            raise Invalid(f'{name}: "{cut(seen[label])}" and "{cut(column)}" are the same level')
        seen[label] = column


def is_number(cell: Any) -> bool:
    """Whether a cell is a finite number, which truths and texts of numbers are not."""
    try:
        return isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell)
    except OverflowError:
        return False


def check_rising(values: Any, columns: Sequence[str], keys: Sequence[Key], name: str) -> None:
    """Raise `Invalid` for quantiles that cross; those that do by a last digit only are put in order, in place."""
    numpy = needed("numpy", "millrace[forecasts]")
    falls = values[:, :-1] - values[:, 1:] > _ROUNDING * numpy.maximum(1, numpy.abs(values[:, 1:]))
    if falls.any():
        row, at = numpy.argwhere(falls)[0]
        raise Invalid(
            f'{name}: "{columns[at]}" of {_place(keys[row])} is {values[row, at]:g}, above "{columns[at + 1]}", which '
            f"is {values[row, at + 1]:g}; quantiles must rise with their levels"
        )
    values.sort(axis=1)


def check_probabilities(values: Any, columns: Sequence[str], keys: Sequence[Key], name: str) -> None:
    """Raise `Invalid` for what is no probability or does not sum to 1; sums are made exact, in place."""
    numpy = needed("numpy", "millrace[forecasts]")
    wrong = (values < -_ROUNDING) | (values > 1 + _ROUNDING)
    if wrong.any():
        row, at = numpy.argwhere(wrong)[0]
        what = f'"{cut(columns[at])}" of {_place(keys[row])} is {values[row, at]:g}'
        raise Invalid(f"{name}: {what}; a probability is between 0 and 1")
    sums = values.sum(axis=1)
    if (off := numpy.abs(sums - 1) > _SUM_ROUNDING).any():
        row = int(numpy.argmax(off))
        raise Invalid(f"{name}: the probabilities of {_place(keys[row])} sum to {sums[row]:g} instead of 1")
    numpy.clip(values, 0, 1, out=values)
    values /= values.sum(axis=1, keepdims=True)


def classes(cells: Sequence[Any], keys: Sequence[Key], name: str) -> list[list[str]]:
    """The classes as text, one column. Raises `Invalid` for what names none."""
    for cell, key in zip(cells, keys, strict=True):
        if not isinstance(cell, str | int) or isinstance(cell, bool) or cell == "":
            raise Invalid(f'{name}: "class" of {_place(key)} is {cut(cell)!r}, which names no class')
    return [[str(cell)] for cell in cells]


def _place(key: Key) -> str:
    return f"{cut(key[1])} in {cut(key[0])}"
