"""Finds every invalid field of a body at once, where the decoder stops at the first."""

import enum
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from domain.errors import FieldError, InvalidBody, cut, field_error

_MOST = 100
_AT = re.compile(r" - at `.*`$")


def invalid_fields(value: Any, kind: Any) -> list[FieldError]:
    """Every reason why the decoded JSON `value` is not a `kind`, at most 100; empty when it is one."""
    errors: list[FieldError] = []
    _walk(value, kind, (), errors)
    return errors[:_MOST]


def rejected(errors: list[FieldError]) -> InvalidBody:
    """The error for a body with `errors`."""
    first, *others = errors
    where = f" at {first.pointer}" if first.pointer else ""
    more = f" (and {len(others)} more)" if others else ""
    return InvalidBody(f"Request validation failed: {first.msg}{where}{more}", errors=errors)


def problem(
    kind: str, message: str, path: tuple[str | int, ...], value: Any, allowed: tuple[Any, ...] | None = None
) -> FieldError:
    """A `FieldError` for the body member at `path`."""
    return field_error(kind, message, ("body", *path), value=value, allowed=allowed)


def _walk(value: Any, kind: Any, path: tuple[str | int, ...], errors: list[FieldError]) -> None:
    bare = _bare(kind, value)
    before = len(errors)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct) and isinstance(value, Mapping):
        _members(value, bare, path, errors)
    elif typing.get_origin(bare) is list and isinstance(value, list):
        (item,) = typing.get_args(bare)
        for index, member in enumerate(value):
            _walk(member, item, (*path, index), errors)
            if len(errors) > _MOST:
                return
    if len(errors) == before:
        _whole(value, kind, path, errors)


def _members(
    value: Mapping[str, Any], kind: type[msgspec.Struct], path: tuple[str | int, ...], errors: list[FieldError]
) -> None:
    known = {member.encode_name: member for member in msgspec.structs.fields(kind)}
    for name, member in known.items():
        if name in value:
            _walk(value[name], member.type, (*path, name), errors)
        elif member.required:
            errors.append(problem("missing", f'"{name}" is required', (*path, name), None))
    if kind.__struct_config__.forbid_unknown_fields:
        errors.extend(
            problem("unknown_field", f'unknown field "{cut(name)}"', (*path, name), value[name], tuple(known))
            for name in value
            if name not in known
        )


def _whole(value: Any, kind: Any, path: tuple[str | int, ...], errors: list[FieldError]) -> None:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        allowed = _choices(_bare(kind, value))
        errors.append(problem("value_error", _AT.sub("", str(error)), path, value, allowed))


def _bare(kind: Any, value: Any) -> Any:
    """The type that `value` is meant to be, out of `Annotated` and out of a union with None or UNSET."""
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in {typing.Union, types.UnionType}:
            others = [part for part in typing.get_args(kind) if part not in {type(None), msgspec.UnsetType}]
            if len(others) != 1 or value is None:
                return kind
            kind = others[0]
        else:
            return kind


def _choices(kind: Any) -> tuple[Any, ...] | None:
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return tuple(member.value for member in kind)
    return None
