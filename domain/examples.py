"""Believable examples of a resource and of a task, for documentation and for the first thing a newcomer tries."""

from typing import Any, get_type_hints

import msgspec

from domain.bodies import Bodies
from domain.errors import InvalidBody, Misconfigured
from domain.query import Field, Kind, Resource
from domain.query.derive import field_of
from domain.tasks import Task
from domain.validation import declared_meta

_VALUES: dict[Kind, Any] = {
    Kind.BOOLEAN: True,
    Kind.DATETIME: "2025-01-31T12:00:00.000000Z",
    Kind.DATE: "2025-01-31",
    Kind.TIME: "12:30:00",
    Kind.UUID: "7d444840-9dc0-11d1-b245-5ffdce74fad2",
}
_SERVER_MANAGED = {
    "id": "01K5T0V9G8ZJ8Q6N4X3B7RM2WD",
    "created_at": "2025-01-31T12:00:00.000000Z",
    "updated_at": "2025-01-31T12:00:00.000000Z",
}


def example_body(bodies: Bodies[Any]) -> dict[str, Any] | None:
    """A body that POST accepts; None when no example can be guessed for a required field."""
    resource = bodies.resource
    hints = get_type_hints(resource.entity, include_extras=True)
    required = {member.name for member in msgspec.structs.fields(resource.entity) if member.required}
    body: dict[str, Any] = {}
    for name in bodies.types:
        if name in {"id", "tags"}:
            continue
        value = _value(resource.fields[name], hints[name])
        if value is not None and _fits(bodies, name, value):
            body[name] = value
        elif name in required:
            return None
    return body


def example_entity(bodies: Bodies[Any]) -> dict[str, Any] | None:
    """What the reply to `example_body` looks like."""
    body = example_body(bodies)
    if body is None:
        return None
    made: dict[str, Any] = msgspec.to_builtins(bodies.construct(bodies.decode_create(msgspec.json.encode(body))))
    whole = {**made, **body, **_SERVER_MANAGED}
    return {name: whole[name] for name in bodies.resource.readable}


def example_filter(resource: Resource[Any]) -> dict[str, Any]:
    """A filter that the resource understands."""
    for name in resource.filterable:
        field = resource.fields[name]
        if field.choices:
            return {name: {"in": list(field.choices[:2])}}
    for name in resource.filterable:
        field = resource.fields[name]
        if field.kind is Kind.BOOLEAN:
            return {name: True}
        if field.kind is Kind.TEXT:
            return {name: {"icontains": "a"}}
    return {"created_at": {"gte": "2025-01-01"}} if "created_at" in resource.filterable else {}


def example_args(task: Task) -> dict[str, Any] | None:
    """The arguments that a task needs; None when no example can be guessed for one of them."""
    hints = {} if task.args is None else get_type_hints(task.args, include_extras=True)
    needed = [] if task.args is None else [item for item in msgspec.structs.fields(task.args) if item.required]
    try:
        args = {
            item.encode_name: _value(field_of(item.name, hints[item.name], owner=task.kind), hints[item.name])
            for item in needed
        }
        task.checked(args)
    except (InvalidBody, Misconfigured):
        return None
    return args


def _fits(bodies: Bodies[Any], name: str, value: Any) -> bool:
    try:
        bodies.merge({}, {name: value})
    except InvalidBody:
        return False
    return True


def _value(field: Field, annotation: Any) -> Any:
    metas = declared_meta(annotation)
    for meta in metas:
        if meta.examples:
            return meta.examples[0]
    if field.choices:
        return field.choices[0]
    if field.kind is Kind.TEXT:
        return _text(field.name, metas)
    if field.kind in {Kind.INTEGER, Kind.NUMBER}:
        return _number(metas, 36 if field.kind is Kind.INTEGER else 1.5)
    if field.kind is Kind.DECIMAL:
        return f"{12.5:.{field.scale or 0}f}"
    if field.kind is Kind.LIST:
        return [] if field.item is None else [_value(field.item, field.item.value_type)]
    return {} if field.kind is Kind.JSON else _VALUES.get(field.kind)


def _text(name: str, metas: list[msgspec.Meta]) -> str:
    text = name.replace("_", " ").capitalize()
    shortest = max((meta.min_length or 0 for meta in metas), default=0)
    longest = min((meta.max_length for meta in metas if meta.max_length is not None), default=len(text) + shortest)
    return text.ljust(shortest, "x")[:longest]


def _number(metas: list[msgspec.Meta], value: float) -> float:
    for meta in metas:
        for bound in (meta.ge, meta.gt):
            if bound is not None and value <= bound:
                value = type(value)(bound + 1)
        for bound in (meta.le, meta.lt):
            if bound is not None and value >= bound:
                value = type(value)(bound - 1)
        if meta.multiple_of:
            value = type(value)(meta.multiple_of)
    return value
