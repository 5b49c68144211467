"""What a transformation has made, as JSON that is what its annotation says."""

from datetime import datetime
from typing import Any

import msgspec

from domain.errors import InvalidBody
from domain.frames.structure import Frame, check_structure, jsonable
from domain.frames.wire import encode_frame
from domain.transformations.definition import Transformation
from domain.wire import encode_whole


class WrongOutput(Exception):
    """A transformation has returned what it does not promise: a bug of its own, whatever was asked of it."""


def encode_output(transformation: Transformation, value: Any) -> bytes:
    """A result as JSON. Raises `WrongOutput`."""
    try:
        if isinstance(value, Frame) and isinstance(transformation.output, type):
            return _encoded_frame(transformation.output, value)
        # What numbers and times of other libraries are is known here, and what is no finite number becomes null.
        plain = msgspec.to_builtins(value, str_keys=True, builtin_types=(datetime,), enc_hook=jsonable)
        encoded = encode_whole(plain)
        msgspec.json.decode(encoded, type=transformation.output)
        return encoded
    except (InvalidBody, TypeError, ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise WrongOutput(f"{transformation.label} has returned what it does not promise: {error}") from error


def _encoded_frame(promised: type, frame: Frame) -> bytes:
    if not issubclass(type(frame), promised):
        raise TypeError(f"a {type(frame).__name__} instead of a {promised.__name__}")
    check_structure(frame)
    return encode_frame(frame)
