"""Frames from and to CSV, by rules under which no code, period or name is mistaken for a number."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from domain.frames.schema import KNOWN_TYPES
from domain.frames.structure import Frame, InvalidFrame, cells_at, check_structure, jsonable, plain

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_TRUTH = {"true": True, "false": False}
_MISSING = frozenset({"NA", "NaN", "nan"})
_INFINITE = {sign + word: float(sign + "inf") for sign in ("", "-") for word in ("inf", "Inf", "Infinity")}
# What is longer is no quantity but an identifier, and no client could hold it.
_MOST_DIGITS = 18


def of_csv(text: str, delimiter: str = ",", has_header: bool = True, infer_types: bool = True) -> Frame:
    """A frame of CSV text. `InvalidFrame` names the line that is malformed, or shorter or longer than the first.

    It differs from what existing services read, on purpose:
    - Blank lines are skipped, and a byte order mark at the start is no part of a name.
    - A column without a name (R's and pandas' row names) is called `col_<i>`.
    - `time_period` and `location` are always text.
    - Only JSON's numbers are numbers: a column with `007`, `1_000`, `+5` or more than 18 digits is text.
    - Only `true` and `false` are booleans, in any case, and only when a column holds nothing else: `NO` is a country.
    - `NA`, `NaN` and `nan` are null among numbers or booleans, and text in every other column.
    """
    text = text.removeprefix("\ufeff")
    rows = [cells for _, cells in _lines(text, delimiter)]
    if not rows:
        return Frame([], [])
    width = len(rows[0])
    if set(map(len, rows)) != {width}:
        number, cells = next((number, cells) for number, cells in _lines(text, delimiter) if len(cells) != width)
        raise InvalidFrame(f"line {number} has {len(cells)} cells instead of {width}")
    names = _names(rows.pop(0)) if has_header else [f"col_{index}" for index in range(width)]
    check_structure(Frame(names, []))
    frame = Frame(names, rows)
    columns = [
        _typed(cells_at(frame, index), name) if infer_types else _blank_is_null(cells_at(frame, index))
        for index, name in enumerate(names)
    ]
    return Frame(names, list(map(list, zip(*columns, strict=True))))


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    is_narrow: bool | None = None
    try:
        for cells in reader:
            is_narrow = len(cells) == 1 if cells and is_narrow is None else is_narrow
            # In a single column a quoted nothing is a null.
            if cells and (is_narrow or len(cells) > 1 or cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InvalidFrame(f"line {reader.line_num} is not CSV: {error}") from None


def _names(header: Sequence[str]) -> list[str]:
    names = list(header)
    for index, name in enumerate(names):
        if not name:
            candidate = f"col_{index}"
            while candidate in names:
                candidate += "_"
            names[index] = candidate
    return names


def _blank_is_null(cells: list[str]) -> list[Any]:
    return [cell or None for cell in cells]


def _typed(cells: list[str], name: str) -> list[Any]:
    if KNOWN_TYPES.get(name) == "string":
        return _blank_is_null(cells)
    # Most columns repeat themselves, so what a text is worth is found out once.
    distinct = set(cells)
    present = set(map(str.strip, distinct)) - _MISSING - {""}
    values = _booleans(present) or _numbers(present)
    if values is None:
        return _blank_is_null(cells)
    if not distinct <= values.keys():
        values = {cell: values.get(cell.strip()) for cell in distinct}
    return list(map(values.__getitem__, cells))


def _booleans(present: set[str]) -> dict[str, Any] | None:
    if all(text.lower() in _TRUTH for text in present):
        return {text: _TRUTH[text.lower()] for text in present}
    return None


def _numbers(present: set[str]) -> dict[str, Any] | None:
    finite = present - _INFINITE.keys()
    if not finite or not all(map(_NUMBER.fullmatch, finite)):
        return None
    if any(_INTEGER.fullmatch(text) for text in finite if len(text) > _MOST_DIGITS):
        return None
    if finite == present and all(map(_INTEGER.fullmatch, present)):
        return dict(zip(present, map(int, present), strict=True))
    values = dict(zip(finite, map(float, finite), strict=True))
    # A number that does not fit is not infinite.
    return {**values, **_INFINITE} if all(map(math.isfinite, values.values())) else None


def to_csv(frame: Frame, delimiter: str = ",", include_header: bool = True) -> str:
    """A frame as CSV with CRLF line ends. Null is empty, a boolean `True` or `False`.

    Unlike in existing services what is no finite number is empty, too, and arrays and objects are JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    if include_header:
        writer.writerow(frame.columns)
    writer.writerows([_written(cell) for cell in row] for row in frame.data)
    return text.getvalue()


def _written(cell: Any) -> Any:
    kind = type(cell)
    if kind is str or kind is int or cell is None:
        return cell
    if isinstance(cell, float):
        return float(cell) if math.isfinite(cell) else None
    if isinstance(cell, list | dict):
        return msgspec.json.encode(cell, enc_hook=jsonable).decode()
    return plain(cell)


def read(path: str | Path, encoding: str) -> str:
    """The text of a file with its line ends as they are."""
    try:
        return Path(path).read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidFrame(f"{path} is not {encoding}: {error.reason} at byte {error.start}") from None


def write(path: str | Path, text: str, encoding: str) -> None:
    """Write text to a file with its line ends as they are."""
    Path(path).write_bytes(text.encode(encoding))
