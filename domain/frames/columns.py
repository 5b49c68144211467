"""Operations that work on whole columns of a frame."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from domain.errors import cut
from domain.frames.schema import FieldSchema, FrameSchema, described, kinds_of, refitted
from domain.frames.structure import (
    Frame,
    FrameT,
    InvalidFrame,
    cells_at,
    check_names,
    plain_cells,
    position,
    positions,
    rebuilt,
)

_NAMES: Mapping[frozenset[type], str] = {
    frozenset(): "null",
    frozenset({bool}): "bool",
    frozenset({int}): "int",
    frozenset({float}): "float",
    frozenset({int, float}): "float",
    frozenset({str}): "str",
}


def with_schema(
    frame: FrameT, *, required_covariates: Iterable[str] = (), config_schema: Mapping[str, Any] | None = None
) -> FrameT:
    """A copy that describes itself; types come from the known columns, the covariates (numbers), the JSON Schema of a
    configuration and the cells, in this order."""
    cells = {name: cells_at(frame, index) for index, name in enumerate(frame.columns)}
    schema = described(frame.columns, cells, required_covariates, config_schema)
    units = {field.name: field.unit for field in frame.schema.fields} if frame.schema is not None else {}
    schema.fields = [msgspec.structs.replace(field, unit=units.get(field.name, UNSET)) for field in schema.fields]
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=list(frame.data), schema=schema)


def get_column(frame: Frame, column: str) -> list[Any]:
    """The cells of a column."""
    return cells_at(frame, position(frame, column))


def select(frame: FrameT, columns: Iterable[str]) -> FrameT:
    """Only these columns, in this order."""
    indexes = positions(frame, columns)
    names = [frame.columns[index] for index in indexes]
    return rebuilt(frame, names, [[row[index] for index in indexes] for row in frame.data])


def drop(frame: FrameT, columns: str | Iterable[str]) -> FrameT:
    """All columns but these."""
    dropped = set(positions(frame, columns))
    return select(frame, [name for index, name in enumerate(frame.columns) if index not in dropped])


def rename(frame: FrameT, names: Mapping[str, str]) -> FrameT:
    """With other names for some columns, which may swap them. A name that is taken is an `InvalidFrame`."""
    positions(frame, names)
    columns = [names.get(name, name) for name in frame.columns]
    check_names(columns)
    schema = frame.schema
    if schema is not None:
        fields = [msgspec.structs.replace(field, name=names.get(field.name, field.name)) for field in schema.fields]
        schema = FrameSchema(fields)
    return msgspec.structs.replace(frame, columns=columns, data=list(frame.data), schema=schema)


def add_column(frame: FrameT, name: str, values: Iterable[Any]) -> FrameT:
    """With one more column at the end. As many values as rows are needed, unless the frame has no columns yet."""
    cells = plain_cells(values)
    rows = frame.data if frame.columns or frame.data else [[] for _ in cells]
    if len(cells) != len(rows):
        raise InvalidFrame(f"column {cut(name)!r} has {len(cells)} values for {len(rows)} rows")
    return rebuilt(frame, [*frame.columns, name], [[*row, cell] for row, cell in zip(rows, cells, strict=True)])


def apply(frame: FrameT, function: Callable[[Any], Any], column: str) -> FrameT:
    """With what a function makes of each cell of a column."""
    index = position(frame, column)
    cells = plain_cells([function(row[index]) for row in frame.data])
    return with_cells(frame, {index: cells})


def with_cells(frame: FrameT, changed: Mapping[int, list[Any]]) -> FrameT:
    """With other cells in the columns at some positions; their types stay as long as the cells have them."""
    data = [list(row) for row in frame.data]
    for index, cells in changed.items():
        for row, cell in zip(data, cells, strict=True):
            row[index] = cell
    schema = frame.schema
    if schema is not None:
        cells_of = {frame.columns[index]: cells for index, cells in changed.items()}
        schema = FrameSchema([_refitted(field, cells_of) for field in schema.fields])
    return msgspec.structs.replace(frame, columns=list(frame.columns), data=data, schema=schema)


def _refitted(field: FieldSchema, cells_of: Mapping[str, list[Any]]) -> FieldSchema:
    return refitted(field, cells_of[field.name]) if field.name in cells_of else field


def infer_types(frame: Frame) -> dict[str, str]:
    """What each column holds: int, float (also of both), str, bool, null or mixed."""
    kinds = {name: frozenset(kinds_of(cells_at(frame, index))) for index, name in enumerate(frame.columns)}
    return {name: _NAMES.get(kind, "mixed") for name, kind in kinds.items()}


def has_nulls(frame: Frame) -> dict[str, bool]:
    """Which columns have a null; not-a-number is none."""
    return {name: any(row[index] is None for row in frame.data) for index, name in enumerate(frame.columns)}


def unique(frame: Frame, column: str) -> list[Any]:
    """The distinct cells of a column as they first appear, null included; 1, 1.0 and True are one.

    Raises `TypeError` for arrays and objects."""
    return list(value_counts(frame, column))


def nunique(frame: Frame, column: str) -> int:
    """How many distinct cells a column has."""
    return len(value_counts(frame, column))


def value_counts(frame: Frame, column: str) -> dict[Any, int]:
    """How often each cell appears in a column, as they first appear."""
    index = position(frame, column)
    counts: dict[Any, int] = {}
    for row in frame.data:
        counts[row[index]] = counts.get(row[index], 0) + 1
    return counts
