"""Frames from and to Parquet, with everything that JSON can hold and with what is known of the columns."""

import io
from pathlib import Path
from typing import Any

import msgspec

from domain.frames.conversions import needed
from domain.frames.rows import column_cells
from domain.frames.schema import FrameSchema, kinds_of
from domain.frames.structure import Frame, InvalidFrame, check_structure, jsonable, plain_cells

_SCHEMA = b"millrace.schema"
_AS_JSON = b"millrace.json"
# Kinds of cells that a column of Arrow holds without changing any.
_UNIFORM = ({bool}, {int}, {float}, {str}, set[type]())


def _arrow() -> Any:
    return needed("pyarrow", "millrace[parquet]")


def to_arrow(frame: Frame) -> Any:
    """The frame as an Arrow table. A column that mixes types, and one of arrays and objects, is JSON text there; the
    metadata of the table say which ones, and hold the frame's schema."""
    arrow = _arrow()
    arrays, as_json = [], []
    for name, cells in column_cells(frame).items():
        try:
            if kinds_of(cells) not in _UNIFORM:
                raise OverflowError
            arrays.append(arrow.array(cells))
        except (OverflowError, arrow.ArrowException):
            as_json.append(name)
            texts = [None if cell is None else msgspec.json.encode(cell, enc_hook=jsonable).decode() for cell in cells]
            arrays.append(arrow.array(texts, arrow.string()))
    metadata = {_AS_JSON: msgspec.json.encode(as_json)}
    if frame.schema is not None:
        metadata[_SCHEMA] = msgspec.json.encode(frame.schema)
    return arrow.Table.from_arrays(arrays, names=frame.columns).replace_schema_metadata(metadata)


def of_arrow(table: Any) -> Frame:
    """A frame of an Arrow table, whoever made it. Times become text."""
    if not isinstance(table, _arrow().Table):
        raise TypeError(f"an Arrow table is needed, not {type(table).__name__}")
    metadata = table.schema.metadata or {}
    as_json = set(msgspec.json.decode(metadata.get(_AS_JSON, b"[]"), type=list[str]))
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = plain_cells(column.to_pylist())
        if name in as_json:
            cells = [None if cell is None else msgspec.json.decode(cell) for cell in cells]
        columns.append(cells)
    schema = msgspec.json.decode(metadata[_SCHEMA], type=FrameSchema) if _SCHEMA in metadata else None
    frame = Frame(list(table.column_names), [list(row) for row in zip(*columns, strict=True)], schema)
    check_structure(frame)
    return frame


def to_parquet(frame: Frame, path: str | Path | None = None) -> bytes | None:
    """The frame as Parquet: bytes, or None when it was written to a file."""
    content = io.BytesIO()
    needed("pyarrow.parquet", "millrace[parquet]").write_table(to_arrow(frame), content)
    if path is None:
        return content.getvalue()
    Path(path).write_bytes(content.getvalue())
    return None


def of_parquet(source: bytes | str | Path) -> Frame:
    """A frame of Parquet, in bytes or in a file. Raises `InvalidFrame` for anything else."""
    arrow = _arrow()
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        table = needed("pyarrow.parquet", "millrace[parquet]").read_table(io.BytesIO(content))
    except arrow.ArrowException as error:
        raise InvalidFrame(f"not Parquet: {error}") from None
    return of_arrow(table)
