"""Summaries of frames: by group, and of whole columns."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Generic

from domain.frames.schema import FieldSchema
from domain.frames.structure import FrameT, InvalidFrame, cells_at, position, rebuilt

STATISTICS = ("count", "mean", "std", "min", "25%", "50%", "75%", "max")


class GroupBy(Generic[FrameT]):
    """The rows of a frame by the cells of one column, in the order in which they first appear; null is a group."""

    def __init__(self, frame: FrameT, by: str) -> None:
        self.frame = frame
        self.by = by
        index = position(frame, by)
        self._groups: dict[Any, list[list[Any]]] = {}
        for row in frame.data:
            self._groups.setdefault(row[index], []).append(row)

    def count(self) -> FrameT:
        """How many rows each group has."""
        return self._result("count", {key: len(rows) for key, rows in self._groups.items()})

    def sum(self, column: str) -> FrameT:
        """The sum of the numbers in each group, null when there are none."""
        return self._numbers(column, "sum", sum)

    def mean(self, column: str) -> FrameT:
        """The mean of the numbers in each group, null when there are none."""
        return self._numbers(column, "mean", lambda numbers: sum(numbers) / len(numbers))

    def min(self, column: str) -> FrameT:
        """The least number in each group, null when there are none."""
        return self._numbers(column, "min", min)

    def max(self, column: str) -> FrameT:
        """The greatest number in each group, null when there are none."""
        return self._numbers(column, "max", max)

    def _numbers(self, column: str, operation: str, summary: Callable[[list[Any]], Any]) -> FrameT:
        index = position(self.frame, column)
        results = {}
        for key, rows in self._groups.items():
            # A boolean counts as 0 or 1; what is no number, which NaN says of itself, does not count.
            numbers = [cell for row in rows if isinstance(cell := row[index], int | float) and cell == cell]
            results[key] = summary(numbers) if numbers else None
        return self._result(f"{column}_{operation}", results)

    def _result(self, name: str, results: dict[Any, Any]) -> FrameT:
        known = self.frame.schema.find(self.by) if self.frame.schema is not None else None
        fields = {} if known is None else {self.by: known}
        return rebuilt(self.frame, [self.by, name], [[key, value] for key, value in results.items()], fields)


def groupby(frame: FrameT, by: str) -> GroupBy[FrameT]:
    """The rows by the cells of one column, to be counted or summed up."""
    return GroupBy(frame, by)


def describe(frame: FrameT) -> FrameT:
    """Count, mean, sample deviation, least, quartiles (exclusive method) and greatest of the numbers in each column;
    the last column, `stat`, says which.

    Booleans and what is not finite are no numbers here; columns without numbers have nulls."""
    if "stat" in frame.columns:
        raise InvalidFrame('a frame with a column "stat" cannot be described')
    columns = [_described(cells_at(frame, index)) for index in range(len(frame.columns))]
    data = [[*(column[number] for column in columns), name] for number, name in enumerate(STATISTICS)]
    return rebuilt(frame, [*frame.columns, "stat"], data, {"stat": FieldSchema("stat", "string")})


def _described(cells: Sequence[Any]) -> list[Any]:
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)]
    numbers = [number for number in numbers if math.isfinite(number)]
    if not numbers:
        return [None] * len(STATISTICS)
    if len(numbers) == 1:
        return [1, numbers[0], 0.0, *[numbers[0]] * 5]
    mean = math.fsum(numbers) / len(numbers)
    deviation = math.sqrt(math.fsum((number - mean) * (number - mean) for number in numbers) / (len(numbers) - 1))
    return [len(numbers), mean, deviation, min(numbers), *statistics.quantiles(numbers, n=4), max(numbers)]
