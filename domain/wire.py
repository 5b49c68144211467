"""How values look on the wire: JSON with timestamps of one fixed width."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def timestamp_text(value: datetime) -> str:
    """An aware datetime as `2026-11-23T04:31:11.333723Z`: UTC, always six digits, so that text order is time order."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def encode_struct(value: msgspec.Struct, *, without: Collection[str] = ()) -> bytes:
    """A Struct as JSON whose top-level timestamps have the fixed width the database also produces."""
    members: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime,))
    for name in without:
        del members[name]
    for name, member in members.items():
        if isinstance(member, datetime):
            members[name] = timestamp_text(member)
    return _encoder.encode(members)


def encode_whole(value: Any) -> bytes:
    """Any value as JSON whose timestamps have that width, wherever in it they are."""
    return _encoder.encode(_texts(msgspec.to_builtins(value, builtin_types=(datetime,), str_keys=True)))


def _texts(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, dict):
        return {name: _texts(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(member) for member in value]
    return value
