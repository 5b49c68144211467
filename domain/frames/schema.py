"""What the columns of a frame hold: types, where they are declared and how they are inferred."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

ColumnType = Literal["string", "integer", "number", "boolean", "any"]

KNOWN_TYPES: Mapping[str, ColumnType] = {
    "time_period": "string",
    "location": "string",
    "disease_cases": "number",
    "population": "integer",
    "rainfall": "number",
    "mean_temperature": "number",
}
"""The columns that every forecasting service knows."""

_KINDS: Mapping[ColumnType, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
}


class FieldSchema(msgspec.Struct, omit_defaults=True):
    """One column: its name and type, and what people call it; members that were not sent are not sent back.

    `unit` is what its numbers are counted or measured in.
    """

    name: str
    type: ColumnType
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    unit: str | UnsetType | None = UNSET


class FrameSchema(msgspec.Struct):
    """The columns of a frame."""

    fields: list[FieldSchema]

    def find(self, name: str) -> FieldSchema | None:
        """What is said of a column."""
        return next((field for field in self.fields if field.name == name), None)


def kinds_of(cells: Iterable[Any]) -> set[type]:
    """The types of cells, without that of nulls; those of numpy, which inherit from Python's, count as Python's."""
    kinds = set(map(type, cells)) - {type(None)}
    return {next((base for base in (bool, int, float, str) if issubclass(kind, base)), kind) for kind in kinds}


def inferred_type(cells: Iterable[Any]) -> ColumnType:
    """The narrowest type that all cells have: whole numbers among others are numbers; nulls alone are anything."""
    kinds = kinds_of(cells)
    for name, allowed in _KINDS.items():
        if kinds and kinds <= allowed:
            return name
    return "any"


def fits(kind: ColumnType, cells: Iterable[Any]) -> bool:
    """Whether all cells are null or of a type."""
    return kind == "any" or kinds_of(cells) <= _KINDS[kind]


def declared_types(config_schema: Mapping[str, Any] | None) -> dict[str, ColumnType]:
    """The scalar types that the properties of a JSON Schema have, also those that may be null."""
    properties = (config_schema or {}).get("properties", {})
    found = ((name, _scalar(member)) for name, member in properties.items())
    return {name: kind for name, kind in found if kind is not None}


def _scalar(member: Any) -> ColumnType | None:
    if not isinstance(member, Mapping):
        return None
    kinds = member.get("type")
    parts = member.get("anyOf") or member.get("oneOf")
    if kinds is None and isinstance(parts, list):
        kinds = [part.get("type") for part in parts if isinstance(part, Mapping)]
    others = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    return next((kind for kind in _KINDS if others == [kind]), None)


def described(
    columns: Sequence[str],
    cells: Mapping[str, Sequence[Any]],
    required_covariates: Iterable[str] = (),
    config_schema: Mapping[str, Any] | None = None,
) -> FrameSchema:
    """The schema of columns: known ones, covariates, what a configuration declares, and what the cells are.

    Unlike in existing services a declared type counts only where the cells have it: a population with fractions is a
    number.
    """
    covariates: dict[str, ColumnType] = dict.fromkeys(required_covariates, "number")
    types = {**declared_types(config_schema), **covariates, **KNOWN_TYPES}
    fields = []
    for name in columns:
        kind = types.get(name)
        kind = kind if kind is not None and fits(kind, cells[name]) else inferred_type(cells[name])
        fields.append(FieldSchema(name, kind))
    return FrameSchema(fields)


def refitted(field: FieldSchema, cells: Sequence[Any]) -> FieldSchema:
    """What is said of a column once it holds other cells: the type stays as long as they have it."""
    return field if fits(field.type, cells) else msgspec.structs.replace(field, type=inferred_type(cells))
