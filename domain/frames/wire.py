"""Frames as the JSON that services and their clients exchange."""

from typing import TypeVar

import msgspec

from domain.errors import cut
from domain.frames.structure import Frame, InvalidFrame, check_structure, jsonable
from domain.validation import problem

KindT = TypeVar("KindT", bound=Frame)

_encoder = msgspec.json.Encoder(enc_hook=jsonable)


def decoded(kind: type[KindT], content: bytes | str) -> KindT:
    """The frame of a kind that JSON holds, checked. Raises `InvalidFrame`."""
    try:
        frame = msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        message = f"not a frame: {error}"
        raise InvalidFrame(message, errors=[problem("json_invalid", message, (), None)]) from None
    check_structure(frame)
    return frame


def encode_frame(frame: Frame) -> bytes:
    """A frame as JSON. What is no finite number becomes null, scalars of numpy become numbers, times become text.

    Raises `InvalidFrame` naming the first cell that JSON does not know."""
    try:
        return _encoder.encode(frame)
    except (TypeError, OverflowError, RecursionError, ValueError) as error:
        raise _unknown_cell(frame) or InvalidFrame(f"not JSON: {error}") from None


def _unknown_cell(frame: Frame) -> InvalidFrame | None:
    for number, row in enumerate(frame.data):
        for index, cell in enumerate(row):
            if not _is_json(cell):
                name = frame.columns[index] if index < len(frame.columns) else index
                what = f"{type(cell).__name__} {cut(repr(cell))}"
                return InvalidFrame(f"row {number}, column {cut(name)!r}: {what} is not JSON")
    return None


def _is_json(cell: object) -> bool:
    try:
        _encoder.encode(cell)
    except (TypeError, OverflowError, RecursionError, ValueError):
        return False
    return True
