"""Operations that choose, order and join rows of a frame.

Frames that come out share their rows with those that went in; `deepcopy` parts them.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import msgspec

from domain.frames.schema import FrameSchema, refitted
from domain.frames.structure import Frame, FrameT, InvalidFrame, cells_at, positions


def _with_rows(frame: FrameT, data: list[list[Any]]) -> FrameT:
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=data)


def iterate(frame: Frame) -> Iterator[dict[str, Any]]:
    """The rows as dictionaries."""
    for row in frame.data:
        yield dict(zip(frame.columns, row, strict=True))


def head(frame: FrameT, n: int = 5) -> FrameT:
    """The first rows; with a negative number all but so many last ones."""
    return _with_rows(frame, frame.data[:n])


def tail(frame: FrameT, n: int = 5) -> FrameT:
    """The last rows; with a negative number all but so many first ones."""
    return _with_rows(frame, frame.data[-n:] if n else [])


def sample(
    frame: FrameT, n: int | None = None, frac: float | None = None, *, random_state: int | None = None
) -> FrameT:
    """Some rows in random order, by number or by share; all of them when more are asked for than there are.

    The same `random_state` chooses the same rows; the generator that everybody shares is never touched."""
    if (n is None) == (frac is None):
        raise ValueError("give exactly one of n and frac")
    if frac is not None and not 0 <= frac <= 1:
        raise ValueError(f"frac must be from 0 to 1, not {frac}")
    if n is not None and n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    wanted = n if n is not None else round(len(frame.data) * (frac or 0))
    chosen = Random(random_state).sample(frame.data, min(wanted, len(frame.data)))  # noqa: S311 - no secret
    return _with_rows(frame, chosen)


def sort(frame: FrameT, by: str | Iterable[str], ascending: bool = True) -> FrameT:
    """Ordered by one column or several; rows that are equal keep their order.

    Null and not-a-number come last both ways. Raises `TypeError` when cells cannot be compared."""
    rows = list(frame.data)
    for index in reversed(positions(frame, by)):
        # Only itself is not what it equals.
        present = [row for row in rows if row[index] is not None and row[index] == row[index]]
        absent = [row for row in rows if row[index] is None or row[index] != row[index]]
        present.sort(key=lambda row: row[index], reverse=not ascending)
        rows = present + absent
    return _with_rows(frame, rows)


def filter(frame: FrameT, predicate: Callable[[dict[str, Any]], Any]) -> FrameT:
    """The rows for which a function of the row as a dictionary says yes."""
    columns = frame.columns
    return _with_rows(frame, [row for row in frame.data if predicate(dict(zip(columns, row, strict=True)))])


def drop_rows(frame: FrameT, indices: Iterable[int]) -> FrameT:
    """Without the rows at some positions; those that are none are ignored, negative ones too."""
    dropped = set(indices)
    return _with_rows(frame, [row for index, row in enumerate(frame.data) if index not in dropped])


def drop_duplicates(frame: FrameT, subset: str | Iterable[str] | None = None) -> FrameT:
    """The first of all rows that are equal in some columns, by default in all. Raises `TypeError` for arrays."""
    indexes = positions(frame, frame.columns if subset is None else subset)
    firsts: dict[tuple[Any, ...], list[Any]] = {}
    for row in frame.data:
        firsts.setdefault(tuple([row[index] for index in indexes]), row)
    return _with_rows(frame, list(firsts.values()))


def concat(frame: FrameT, other: Frame) -> FrameT:
    """The rows of both; their columns must have the same names in the same order."""
    if frame.columns != other.columns:
        raise InvalidFrame(f"columns differ: {frame.columns} and {other.columns}")
    schema = frame.schema
    if schema is not None:
        place = {name: index for index, name in enumerate(frame.columns)}
        joined = frame.data + other.data
        fields = [
            refitted(field, [row[place[field.name]] for row in joined]) if field.name in place else field
            for field in schema.fields
        ]
        schema = FrameSchema(fields)
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=frame.data + other.data, schema=schema)


def equals(frame: Frame, other: object) -> bool:
    """Whether columns and cells are the same; what is said about them does not count."""
    return isinstance(other, Frame) and frame.columns == other.columns and frame.data == other.data


def deepcopy(frame: FrameT) -> FrameT:
    """A copy that shares nothing with this frame."""
    data = [[copy.deepcopy(cell) if isinstance(cell, list | dict) else cell for cell in row] for row in frame.data]
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=data, schema=copy.deepcopy(frame.schema))


def column_cells(frame: Frame) -> dict[str, list[Any]]:
    """The cells of every column."""
    return {name: cells_at(frame, index) for index, name in enumerate(frame.columns)}
