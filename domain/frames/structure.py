"""The interchange format for tables: columns, rows and what must hold between them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec

from domain.errors import MOST_ERRORS, FieldError, InvalidBody, cut
from domain.frames.schema import FieldSchema, FrameSchema, inferred_type
from domain.validation import problem


class InvalidFrame(InvalidBody, ValueError):
    """A frame is not one, or an operation would make it none: to a client a bad body, to a model a `ValueError`."""


class UnknownColumn(KeyError):
    """A frame has no column of a name; the message says which there are."""


class Frame(msgspec.Struct, omit_defaults=True):
    """The wire shape `{columns, data, schema?}`: `data` is a list of rows, a cell any JSON value.

    Unknown members are ignored, and a schema that is not set is left out. Decoding checks the types only;
    `check_structure` does the rest.
    """

    columns: list[str]
    data: list[list[Any]]
    schema: FrameSchema | None = None


FrameT = TypeVar("FrameT", bound=Frame)


def structure_errors(frame: Frame, *path: str | int) -> list[FieldError]:
    """Every reason why a frame is none, at most 100: a column without a name or named twice, a row that is too short
    or too long. `path` says where in a body the frame is."""
    return list(islice(_errors(frame, path), MOST_ERRORS))


def check_structure(frame: Frame, *path: str | int) -> None:
    """Raise `InvalidFrame` with every reason why a frame is none. `path` says where in a body the frame is."""
    if errors := structure_errors(frame, *path):
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InvalidFrame(f"{errors[0].msg}{more}", errors=errors)


def validate_structure(frame: Frame) -> None:
    """Raise `InvalidFrame`, which is a `ValueError`, for a nameless or duplicate column or a row of another length."""
    check_structure(frame)


def _errors(frame: Frame, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    seen: set[str] = set()
    # In Python nobody checks that names are text.
    for index, name in enumerate(list[Any](frame.columns)):
        place = (*path, "columns", index)
        if not isinstance(name, str):
            yield problem("type", f"column {index} is named by {cut(name)!r}, which is no text", place, name)
            continue
        if not name:
            yield problem("value_error", f"column {index} has an empty name", place, name)
        elif name in seen:
            yield problem("duplicate", f'column "{cut(name)}" stands more than once', place, name)
        seen.add(name)
    width = len(frame.columns)
    # One pass without Python code per row clears nearly every frame.
    if set(map(len, frame.data)) <= {width}:
        return
    for index, row in enumerate(frame.data):
        if len(row) != width:
            yield problem("ragged", f"row {index} has {len(row)} cells instead of {width}", (*path, "data", index), row)


def position(frame: Frame, name: str) -> int:
    """Where a column stands. Raises `UnknownColumn`, a `KeyError` naming those there are."""
    try:
        return frame.columns.index(name)
    except ValueError:
        raise UnknownColumn(f"no column {cut(name)!r} among {cut(', '.join(map(str, frame.columns)))}") from None


def positions(frame: Frame, names: str | Iterable[str]) -> list[int]:
    """Where columns stand, in the order asked for. Raises `KeyError`."""
    return [position(frame, name) for name in ([names] if isinstance(names, str) else names)]


def cells_at(frame: Frame, index: int) -> list[Any]:
    """The cells of the column at a position."""
    return [row[index] for row in frame.data]


def rebuilt(
    frame: FrameT,
    columns: Sequence[str],
    data: list[list[Any]],
    known: Mapping[str, FieldSchema] | None = None,
) -> FrameT:
    """A frame like another one with other columns, whose names are checked.

    When `frame` has a schema the new one has, too: `known` says what stays known of which column, by default
    everything; types of other columns are inferred.
    """
    check_names(columns)
    schema = None
    if frame.schema is not None:
        known = {field.name: field for field in frame.schema.fields} if known is None else known
        fields = []
        for index, name in enumerate(columns):
            field = known.get(name)
            fields.append(field or FieldSchema(name, inferred_type(row[index] for row in data)))
        schema = FrameSchema(fields)
    return msgspec.structs.replace(frame, columns=list(columns), data=data, schema=schema)


def check_names(columns: Sequence[str]) -> None:
    """Raise `InvalidFrame` for names that cannot be those of columns."""
    check_structure(Frame(list(columns), []))


def plain(cell: Any) -> Any:
    """A cell as JSON knows it: scalars and arrays of numpy become Python's, times and dates become text."""
    for method in ("tolist", "item", "isoformat"):
        convert: Callable[[], Any] | None = getattr(cell, method, None)
        if convert is not None:
            return convert()
    return cell


def jsonable(cell: Any) -> Any:
    """What JSON writes for a cell that it does not know itself. Raises `TypeError` when there is nothing."""
    known = plain(cell)
    if known is cell:
        raise TypeError(f"a {type(cell).__name__} is not JSON")
    return known


_PLAIN = {type(None), bool, int, float, str, list, dict}


def plain_cells(cells: Iterable[Any]) -> list[Any]:
    """A column of cells as JSON knows them."""
    # Arrays and series of numpy, pandas and others convert much faster as a whole.
    listed: Callable[[], list[Any]] | None = getattr(cells, "tolist", None)
    found = listed() if listed is not None else list(cells)
    return found if set(map(type, found)) <= _PLAIN else [plain(cell) for cell in found]
