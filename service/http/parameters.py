"""The parameters of a resource's routes, as OpenAPI describes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.examples import example_filter
from domain.idempotency import HEADER
from domain.query import Field, Kind, Operator, Resource
from domain.query.parse import PARAMETERS

Json = dict[str, Any]

_JSON_KINDS: Mapping[Kind, Json] = {
    Kind.ID: {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"},
    Kind.TEXT: {"type": "string", "maxLength": 256},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.DECIMAL: {"type": "string"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.DATETIME: {"type": "string", "format": "date-time"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.TIME: {"type": "string", "format": "time"},
    Kind.UUID: {"type": "string", "format": "uuid"},
}


def list_parameters(resource: Resource[Any]) -> list[Json]:
    """The query parameters of a list, each filterable field included."""
    limits = resource.limits
    described: dict[str, tuple[str, Json]] = {
        "filter": (
            (
                'A JSON object: `{"field": value}`, `{"field": {"operator": value}}`, `and`, `or`, `not`. '
                f"See `{resource.path}/$schema` for fields and operators."
            ),
            {"type": "string", "examples": [msgspec.json.encode(example_filter(resource)).decode()]},
        ),
        "sort": (
            f"Fields separated by commas, `-` for descending. {_names(resource.sortable)}",
            {"type": "string", "examples": [example_sort(resource)]},
        ),
        "fields": (f"Only these fields, separated by commas. {_names(resource.readable)}", {"type": "string"}),
        "search": (
            f"Words that must all occur, whatever their case, in: {', '.join(resource.searchable) or '(none)'}",
            {"type": "string", "minLength": 1, "maxLength": limits.text_length},
        ),
        "page": ("Page number, with `size`", {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}),
        "size": ("Page size, with `page`", {"type": "integer", "minimum": 1, "maximum": limits.page_size}),
        "limit": ("Size of a keyset page", {"type": "integer", "minimum": 1, "maximum": limits.keyset_size}),
        "cursor": ("`next_cursor` of the keyset page before", {"type": "string"}),
        "count": ("How to find the total", {"type": "string", "enum": ["none", "exact", "capped"]}),
    }
    named = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in ((name, described[name]) for name in PARAMETERS)
        if name != "search" or resource.searchable
    ]
    return named + [_field_parameter(resource.fields[name]) for name in resource.filterable if name not in PARAMETERS]


def _names(names: Sequence[str]) -> str:
    return f"Allowed: {', '.join(names)}"


def example_sort(resource: Resource[Any]) -> str:
    return "-created_at" if "created_at" in resource.sortable else ",".join(resource.sortable[:1]) or "id"


def _field_parameter(field: Field) -> Json:
    operators = ", ".join(f"`{field.name}[{operator}]`" for operator in field.operators)
    target = field.item if field.item is not None and Operator.HAS in field.operators else field
    schema = {"enum": list(target.choices)} if target.choices else dict(_JSON_KINDS.get(target.kind, {}))
    if target.kind is Kind.INTEGER:
        schema |= {"minimum": target.minimum, "maximum": target.maximum}
    return {
        "name": field.name,
        "in": "query",
        "required": False,
        "description": f"{'Has this member' if target is not field else 'Equals this'}; also {operators}",
        "schema": schema,
    }


def id_parameter(*, is_name: bool = False) -> Json:
    """The `id` of a path; `is_name` says that the name of an entity will do."""
    described = "ULID, in either case, or the name" if is_name else "ULID, in either case"
    schema = {"type": "string"} if is_name else _JSON_KINDS[Kind.ID]
    return {"name": "id", "in": "path", "required": True, "description": described, "schema": schema}


def query_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def header_parameter(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def if_match() -> Json:
    return header_parameter("If-Match", "Change only this version; the ETag of an earlier reply, or *")


def idempotency_key() -> Json:
    parameter = header_parameter(HEADER, "Of your choice; a request that is sent again with it has its effect once")
    return parameter | {"schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}
