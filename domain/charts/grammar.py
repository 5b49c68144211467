"""Pieces of Vega-Lite: rows as values, names of columns that cannot be mistaken for expressions, encodings."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.frames.structure import Frame

SCHEMA_URL = "https://vega.github.io/schema/vega-lite/v5.json"
SPEC_VERSION = "5"
REVISION = "1"
"""Changes whenever the same data is drawn in another way."""
MEDIA_TYPE = "application/vnd.vegalite.v5+json"

Spec = dict[str, Any]

# In names of fields Vega reads dots, brackets, quotes and backslashes as a path into an object.
_SPECIAL = re.compile(r"[.\[\]'\"\\\x00-\x1f\u2028\u2029]|^__")

_UNSPEAKABLE = re.compile(r"[\x00-\x1f\u2028\u2029]")


class Fields(msgspec.Struct, frozen=True):
    """The columns of a frame as a spec names them: by their own names, or by safe ones where these would be a path."""

    keys: Mapping[str, str]

    def encoding(self, name: str, kind: str, **more: Any) -> Spec:
        """How a column is shown: its key and type, and its own name as the title where the key is another."""
        key = self.keys[name]
        return {"field": key, "type": kind, **more, **({} if key == name else {"title": _title(name, more)})}


def _title(name: str, more: Mapping[str, Any]) -> str:
    """What Vega-Lite would say of a column by this name."""
    if "aggregate" in more:
        return f"{str(more['aggregate']).capitalize()} of {spoken(name)}"
    return f"{spoken(name)} (binned)" if "bin" in more else spoken(name)


def spoken(name: str) -> str:
    """A name as the title of an encoding; Vega-Lite puts it into an expression, where a backslash would end a text."""
    return _UNSPEAKABLE.sub(" ", name.replace("\\", "\N{SET MINUS}"))


def fields_of(columns: Sequence[str]) -> Fields:
    """The keys of columns."""
    taken = set(columns)
    keys = {}
    for index, name in enumerate(columns):
        key = name
        if _SPECIAL.search(name):
            key = f"column_{index}"
            while key in taken:
                key += "_"
            taken.add(key)
        keys[name] = key
    return Fields(keys)


def values_of(frame: Frame, fields: Fields) -> list[dict[str, Any]]:
    """The rows of a frame as objects."""
    names = [fields.keys[name] for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in frame.data]


def spec_of(
    values: Sequence[Any], *, width: int, height: int, title: str | None, description: str, **members: Any
) -> Spec:
    """A whole spec; its data is in it, and nothing it shows is anywhere else."""
    return {
        "$schema": SCHEMA_URL,
        "description": description,
        **({} if title is None else {"title": title}),
        "data": {"values": values},
        "width": width,
        "height": height,
        **members,
    }
