"""Works out what the annotated members of an entity are to a query."""

import enum
import types
import typing
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from domain.errors import Misconfigured
from domain.query.fields import INT64, Field, Kind

_SCALARS: Mapping[type, Kind] = {
    str: Kind.TEXT,
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    Decimal: Kind.DECIMAL,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    UUID: Kind.UUID,
}


def field_of(name: str, annotation: Any, *, owner: str) -> Field:
    """The `Field` for one annotated member of an entity. Raises `Misconfigured` for a type that cannot be stored."""
    bare, nullable = _strip(annotation)
    if name == "id":
        return Field(name=name, kind=Kind.ID, nullable=False, value_type=str)
    choices = _choices(bare)
    if choices is not None:
        return Field(name=name, kind=Kind.ENUM, nullable=nullable, value_type=bare, choices=choices)
    if bare in _SCALARS:
        kind = _SCALARS[bare]
        low, high = INT64 if kind is Kind.INTEGER else (None, None)
        return Field(name=name, kind=kind, nullable=nullable, value_type=bare, minimum=low, maximum=high)
    origin = typing.get_origin(bare) or bare
    if origin in {list, set, frozenset}:
        arguments = typing.get_args(bare)
        item = field_of("item", arguments[0], owner=owner) if arguments else None
        if item is not None and item.kind in {Kind.LIST, Kind.JSON}:
            item = None
        return Field(name=name, kind=Kind.LIST, nullable=nullable, value_type=bare, item=item)
    if origin is dict or bare is Any or origin is Mapping or _is_struct(origin):
        return Field(name=name, kind=Kind.JSON, nullable=nullable or bare is Any, value_type=bare)
    raise Misconfigured(
        f"{owner}.{name} has type {annotation}: use str, int, float, bool, Decimal, datetime, date, time, UUID, "
        "an Enum or Literal, a list, a dict or a Struct (each may be `| None`)"
    )


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _strip(annotation: Any) -> tuple[Any, bool]:
    """The type without `Annotated` and `| None`, and whether None was allowed."""
    nullable = False
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
            continue
        if origin in {typing.Union, types.UnionType}:
            others = [part for part in typing.get_args(annotation) if part is not type(None)]
            if len(others) == 1:
                nullable, annotation = True, others[0]
                continue
        return annotation, nullable


def _choices(kind: Any) -> tuple[str | int, ...] | None:
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return tuple(member.value for member in kind)
    return None
