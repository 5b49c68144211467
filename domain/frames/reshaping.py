"""Operations that turn rows into columns and back."""

from collections.abc import Iterable
from typing import Any

from domain.errors import cut
from domain.frames.schema import FieldSchema
from domain.frames.structure import Frame, FrameT, InvalidFrame, position, positions, rebuilt


def _known(frame: Frame, names: Iterable[str]) -> dict[str, FieldSchema]:
    fields = frame.schema.fields if frame.schema is not None else []
    wanted = set(names)
    return {field.name: field for field in fields if field.name in wanted}


def melt(
    frame: FrameT,
    id_vars: str | Iterable[str] | None = None,
    value_vars: str | Iterable[str] | None = None,
    var_name: str = "variable",
    value_name: str = "value",
) -> FrameT:
    """One row per cell of the value columns (by default all but the id columns), row by row.

    Unlike in existing services a frame without rows keeps its id columns."""
    kept = positions(frame, id_vars or [])
    others = [index for index in range(len(frame.columns)) if index not in kept]
    values = others if value_vars is None else positions(frame, value_vars)
    names = [frame.columns[index] for index in kept]
    data = [
        [*(row[index] for index in kept), frame.columns[index_of_value], row[index_of_value]]
        for row in frame.data
        for index_of_value in values
    ]
    return rebuilt(frame, [*names, var_name, value_name], data, _known(frame, names))


def pivot(frame: FrameT, index: str, columns: str, values: str) -> FrameT:
    """One row per cell of `index` and one column per cell of `columns`, both sorted, null last; gaps are null.

    The cells of `columns` must be text, and no pair of the two may appear twice."""
    rows, names, cells = (position(frame, name) for name in (index, columns, values))
    found: dict[Any, dict[str, Any]] = {}
    headers: dict[str, None] = {}
    for number, row in enumerate(frame.data):
        header = row[names]
        if not isinstance(header, str):
            raise InvalidFrame(f"row {number}: {cut(header)!r} in {columns!r} cannot name a column, only text can")
        line = found.setdefault(row[rows], {})
        if header in line:
            raise InvalidFrame(f"row {number}: {cut(row[rows])!r} and {cut(header)!r} appear twice")
        line[header] = row[cells]
        headers[header] = None
    ordered = sorted(headers)
    keys = sorted(key for key in found if key is not None) + [key for key in found if key is None]
    data = [[key, *(found[key].get(header) for header in ordered)] for key in keys]
    return rebuilt(frame, [index, *ordered], data, _known(frame, [index]))


def transpose(frame: FrameT) -> FrameT:
    """Rows become columns: the first column names them, and the new first one, `index`, holds the names of the others.

    Unlike in existing services a frame with one column has a result, too: columns without rows."""
    if not frame.columns:
        return rebuilt(frame, [], [])
    names = [row[0] if isinstance(row[0], str) else str(row[0]) for row in frame.data]
    lines = zip(*(row[1:] for row in frame.data), strict=True) if frame.data else iter([()] * (len(frame.columns) - 1))
    data = [[name, *line] for name, line in zip(frame.columns[1:], lines, strict=False)]
    return rebuilt(frame, ["index", *names], data, {})
