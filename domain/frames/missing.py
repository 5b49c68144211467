"""Operations on nulls; not-a-number is a number that JSON does not know, and no null."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from domain.frames.columns import select, with_cells
from domain.frames.schema import FieldSchema, FrameSchema
from domain.frames.structure import FrameT, cells_at, positions


def fillna(frame: FrameT, value: Any) -> FrameT:
    """With a value for every null, or with one per column when `value` is a dictionary."""
    names: Iterable[str] = value if isinstance(value, Mapping) else frame.columns
    changed = {}
    for index in positions(frame, names):
        fill = value[frame.columns[index]] if isinstance(value, Mapping) else value
        cells = cells_at(frame, index)
        if None in cells:
            changed[index] = [fill if cell is None else cell for cell in cells]
    return with_cells(frame, changed)


def isna(frame: FrameT) -> FrameT:
    """Which cells are null."""
    return _booleans(frame, [[cell is None for cell in row] for row in frame.data])


def notna(frame: FrameT) -> FrameT:
    """Which cells are not null."""
    return _booleans(frame, [[cell is not None for cell in row] for row in frame.data])


def _booleans(frame: FrameT, data: list[list[Any]]) -> FrameT:
    schema = None if frame.schema is None else FrameSchema([FieldSchema(name, "boolean") for name in frame.columns])
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=data, schema=schema)


def dropna(frame: FrameT, axis: Literal[0, 1] = 0, how: Literal["any", "all"] = "any") -> FrameT:
    """Without the rows (axis 0) or columns (axis 1) in which any cell is null, or all are.

    A column without cells and a row without cells stay."""
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1, not {axis!r}")
    if how not in ("any", "all"):
        raise ValueError(f"how must be 'any' or 'all', not {how!r}")
    if axis == 0:
        kept = [row for row in frame.data if not _is_missing(row, how)]
        return msgspec.structs.replace(frame, columns=list(frame.columns), data=kept)
    lines = ((name, cells_at(frame, index)) for index, name in enumerate(frame.columns))
    return select(frame, [name for name, cells in lines if not _is_missing(cells, how)])


def _is_missing(cells: list[Any], how: str) -> bool:
    if how == "any":
        return any(cell is None for cell in cells)
    return bool(cells) and all(cell is None for cell in cells)
