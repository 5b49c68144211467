"""What models leave, as files: as JSON, a frame or bytes wherever possible, otherwise as a pickle."""

import pickle
from pathlib import Path
from typing import Any

import msgspec

from domain.frames import DataFrame
from domain.model_runs import FRAME_MEDIA_TYPE, ContentKind, ModelFile

PICKLE_MEDIA_TYPE = "application/x-pickle"
_encode = msgspec.json.Encoder().encode


def write_content(folder: Path, name: str, value: Any) -> ModelFile:
    """Write what a model is, or has predicted, to a file."""
    path = folder / name
    if isinstance(value, DataFrame):
        path.write_bytes(value.encode())
        return ModelFile(name=name, kind=ContentKind.FRAME, media_type=FRAME_MEDIA_TYPE)
    if isinstance(value, bytes):
        path.write_bytes(value)
        return ModelFile(name=name, kind=ContentKind.BYTES, media_type="application/octet-stream", size=len(value))
    if is_json(value):
        path.write_bytes(_encode(value))
        return ModelFile(name=name, kind=ContentKind.JSON, media_type="application/json")
    with path.open("wb") as file:
        pickle.dump(value, file)
    return ModelFile(name=name, kind=ContentKind.PICKLE, media_type=PICKLE_MEDIA_TYPE, is_signed=True)


def read_content(path: Path, kind: ContentKind) -> Any:
    """The value again. Whoever calls this has checked the signature of a pickle."""
    if kind is ContentKind.PICKLE:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301
    if kind is ContentKind.BYTES:
        return path.read_bytes()
    if kind is ContentKind.FRAME:
        return msgspec.json.decode(path.read_bytes(), type=DataFrame)
    return msgspec.json.decode(path.read_bytes())


def is_json(value: Any) -> bool:
    """Whether a value would come back from JSON as exactly what it is."""
    pending = [value]
    while pending:
        part = pending.pop()
        kind = type(part)
        if part is None or kind in {bool, str}:
            continue
        if kind is int:
            if not -(2**63) <= part < 2**64:
                return False
        elif kind is float:
            # Not a number and the infinite have no JSON.
            if part != part or part in {float("inf"), float("-inf")}:
                return False
        elif kind is list:
            pending += part
        elif kind is dict:
            if any(type(key) is not str for key in part):
                return False
            pending += part.values()
        else:
            return False
    return True
