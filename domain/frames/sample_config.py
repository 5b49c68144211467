"""Values for a configuration that fit its JSON Schema."""

from collections.abc import Mapping
from typing import Any

_BY_TYPE: Mapping[str, Any] = {"string": "sample", "integer": 1, "number": 1.0, "boolean": True, "null": None}


def sample_config(schema: Mapping[str, Any], variation: int = 0, *, id: str | None = None) -> dict[str, Any]:
    """Data that a JSON Schema describes: defaults, or else something of the type.

    `variation` is added to whole numbers and a tenth of it to others, as far as their bounds allow. `id` is put into
    the data."""
    definitions = schema.get("$defs", {})
    properties = schema.get("properties", {})
    data = {name: _value(member, variation, definitions, 0) for name, member in properties.items()}
    return data if id is None else {"id": id, **data}


_MOST_LEVELS = 20


def _value(member: Mapping[str, Any], variation: int, definitions: Mapping[str, Any], level: int) -> Any:
    if level > _MOST_LEVELS:
        return None
    if "default" in member:
        return _varied(member["default"], member, variation)
    if "const" in member:
        return member["const"]
    if "enum" in member:
        return member["enum"][0]
    if "$ref" in member:
        target = definitions.get(member["$ref"].rpartition("/")[2], {})
        return _value(target, variation, definitions, level + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if parts := member.get(word):
            part = next((part for part in parts if part.get("type") != "null"), parts[0])
            return _value(part, variation, definitions, level + 1)
    return _of_type(member, variation, definitions, level)


def _of_type(member: Mapping[str, Any], variation: int, definitions: Mapping[str, Any], level: int) -> Any:
    kind = member.get("type")
    if isinstance(kind, list):
        kind = next((some for some in kind if some != "null"), "null")
    if kind == "array":
        item = member.get("items", {})
        return [_value(item, variation, definitions, level + 1) for _ in range(member.get("minItems", 0))]
    if kind == "object" or "properties" in member:
        members = member.get("properties", {})
        return {name: _value(member, variation, definitions, level + 1) for name, member in members.items()}
    value = _BY_TYPE.get(kind or "")
    if isinstance(value, str):
        return value.ljust(member.get("minLength", 0), "x")[: member.get("maxLength")]
    return _varied(value, member, variation)


def _varied(value: Any, member: Mapping[str, Any], variation: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    smallest = 1 if isinstance(value, int) else 1e-6
    varied = value + (variation if isinstance(value, int) else variation * 0.1)
    bounds: list[tuple[str, Any, Any]] = [
        ("minimum", max, 0),
        ("exclusiveMinimum", max, smallest),
        ("maximum", min, 0),
        ("exclusiveMaximum", min, -smallest),
    ]
    for name, closer, margin in bounds:
        if name in member:
            varied = closer(varied, type(value)(member[name] + margin))
    return varied
