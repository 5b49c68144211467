"""The join of two frames."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from domain.frames.schema import FieldSchema, FrameSchema, fits
from domain.frames.structure import Frame, FrameT, positions, rebuilt

How = Literal["inner", "left", "right", "outer"]


def merge(
    frame: FrameT,
    other: Frame,
    on: str | Iterable[str] | None = None,
    *,
    left_on: str | Iterable[str] | None = None,
    right_on: str | Iterable[str] | None = None,
    how: How = "inner",
    suffixes: tuple[str, str] = ("_x", "_y"),
) -> FrameT:
    """The rows of both whose keys are equal, null keys too, in this frame's order.

    "left" and "outer" keep its other rows where they are, "right" and "outer" append the other frame's. Keys named by
    `on` appear once; by `left_on` and `right_on` twice unless their names are the same. Other columns of one name get
    the suffixes."""
    if how not in ("inner", "left", "right", "outer"):
        raise ValueError(f"how must be 'inner', 'left', 'right' or 'outer', not {how!r}")
    left, right = _keys(frame, other, on, left_on, right_on)
    is_shared = [frame.columns[index] for index in left] == [other.columns[index] for index in right]
    added = [index for index in range(len(other.columns)) if not (is_shared and index in right)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, row in enumerate(other.data):
        groups.setdefault(tuple([row[index] for index in right]), []).append(number)
    data: list[list[Any]] = []
    matched: set[int] = set()
    for row in frame.data:
        numbers = groups.get(tuple([row[index] for index in left]), [])
        matched.update(numbers)
        data.extend([*row, *(other.data[number][index] for index in added)] for number in numbers)
        if not numbers and how in ("left", "outer"):
            data.append([*row, *[None] * len(added)])
    if how in ("right", "outer"):
        source = dict(zip(left, right, strict=True)) if is_shared else {}
        for number, row in enumerate(other.data):
            if number not in matched:
                data.append(_alone(row, len(frame.columns), source, added))
    return _named(frame, other, left if is_shared else [], added, suffixes, data)


def _keys(
    frame: Frame,
    other: Frame,
    on: str | Iterable[str] | None,
    left_on: str | Iterable[str] | None,
    right_on: str | Iterable[str] | None,
) -> tuple[list[int], list[int]]:
    if on is not None and left_on is None and right_on is None:
        names = [on] if isinstance(on, str) else list(on)
        keys = positions(frame, names), positions(other, names)
    elif on is None and left_on is not None and right_on is not None:
        keys = positions(frame, left_on), positions(other, right_on)
    else:
        raise ValueError("give either on, or both left_on and right_on")
    if len(keys[0]) != len(keys[1]) or not keys[0]:
        raise ValueError(f"as many keys are needed on both sides, at least one; not {len(keys[0])} and {len(keys[1])}")
    return keys


def _alone(row: Sequence[Any], width: int, source: dict[int, int], added: Sequence[int]) -> list[Any]:
    left = [row[source[index]] if index in source else None for index in range(width)]
    return [*left, *(row[index] for index in added)]


def _named(
    frame: FrameT,
    other: Frame,
    shared: Sequence[int],
    added: Sequence[int],
    suffixes: tuple[str, str],
    data: list[list[Any]],
) -> FrameT:
    keys = {frame.columns[index] for index in shared}
    clashing = (set(frame.columns) - keys) & {other.columns[index] for index in added}
    ours = [name + suffixes[0] if name in clashing else name for name in frame.columns]
    theirs = [other.columns[index] + (suffixes[1] if other.columns[index] in clashing else "") for index in added]
    fields = _fields(frame.schema, zip(frame.columns, ours, strict=True))
    fields |= _fields(other.schema, zip((other.columns[index] for index in added), theirs, strict=True))
    columns = [*ours, *theirs]
    for place in shared:
        # The other frame's keys may be of another type.
        field = fields.get(columns[place])
        if field is not None and not fits(field.type, (row[place] for row in data)):
            del fields[columns[place]]
    return rebuilt(frame, columns, data, fields)


def _fields(schema: FrameSchema | None, names: Iterable[tuple[str, str]]) -> dict[str, FieldSchema]:
    described = {field.name: field for field in schema.fields} if schema is not None else {}
    return {
        after: msgspec.structs.replace(field, name=after)
        for before, after in names
        if (field := described.get(before)) is not None
    }
