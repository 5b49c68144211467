"""Frames from and to Python's own collections and their JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from domain.errors import cut
from domain.frames.rows import column_cells, iterate
from domain.frames.structure import Frame, InvalidFrame, check_names, jsonable, plain, plain_cells


def of_columns(columns: Mapping[str, Iterable[Any]]) -> Frame:
    """A frame of columns of one length; `InvalidFrame` names them when they differ."""
    check_names(list(columns))
    cells = {name: plain_cells(values) for name, values in columns.items()}
    if len({len(values) for values in cells.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(values)}" for name, values in cells.items())
        raise InvalidFrame(f"columns differ in length: {cut(lengths)}")
    return Frame(list(columns), list(map(list, zip(*cells.values(), strict=True))))


def of_records(records: Iterable[Mapping[str, Any]]) -> Frame:
    """A frame of dictionaries. The first says which columns there are: a later one that lacks any is a `KeyError`,
    what it has beside them is left out."""
    rows = list(records)
    columns = list(rows[0]) if rows else []
    check_names(columns)
    data = []
    for index, record in enumerate(rows):
        try:
            data.append([plain(cell) for cell in [record[name] for name in columns]])
        except KeyError as error:
            raise KeyError(f"record {index} has no {cut(error.args[0])!r}") from None
    return Frame(columns, data)


def of_json(text: str | bytes) -> Frame:
    """A frame of a JSON array of objects, by the rules of `of_records`."""
    try:
        records = msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFrame(f"not an array of objects: {error}") from None
    return of_records(records)


def to_dict(frame: Frame, orient: str = "dict") -> Any:
    """`{column: {row: cell}}` as "dict", `{column: [cell]}` as "list", `[{column: cell}]` as "records"."""
    if orient == "records":
        return list(iterate(frame))
    if orient == "list":
        return column_cells(frame)
    if orient == "dict":
        return {name: dict(enumerate(cells)) for name, cells in column_cells(frame).items()}
    raise ValueError(f"orient must be 'dict', 'list' or 'records', not {orient!r}")


def to_json(frame: Frame, orient: str = "records") -> str:
    """`[{column: cell}]` as "records", `{column: [cell]}` as "columns"; what is no finite number becomes null."""
    if orient not in ("records", "columns"):
        raise ValueError(f"orient must be 'records' or 'columns', not {orient!r}")
    value = list(iterate(frame)) if orient == "records" else column_cells(frame)
    return msgspec.json.encode(value, enc_hook=jsonable).decode()
