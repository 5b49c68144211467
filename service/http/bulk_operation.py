"""The bulk operation of a resource, as OpenAPI describes it."""

from collections.abc import Sequence
from typing import Any

from domain.bodies import Bodies
from domain.bulk import MOST_ITEMS, Mode, OnConflict, Op
from service.http.bulk_reply import BulkReply
from service.http.bulk_stream import LINES
from service.http.parameters import Json, query_parameter

DESCRIPTION = (
    "Items that create, update, upsert or delete. Atomic, one bad item keeps everything from being written, and the "
    "422 lists all of them; partial, only itself, and the status is 207. As lines, one item on each, there may be any "
    "number; the reply comes as lines, too, while they are carried out, and the last one is the summary."
)

_OPTIONS: dict[str, tuple[str, Json]] = {
    "mode": ("All or nothing, or as much as is possible", {"type": "string", "enum": list(Mode)}),
    "on_conflict": (
        "What becomes of what is to be created when its id or a unique value is taken",
        {"type": "string", "enum": list(OnConflict)},
    ),
    "dry_run": ("Carry out everything and keep nothing", {"type": "boolean"}),
    "max_affected": ("Refuse to change more than so many", {"type": "integer", "minimum": 0}),
}


def bulk_parameters() -> list[Json]:
    """The options in the query string."""
    return [query_parameter(name, words, schema) for name, (words, schema) in _OPTIONS.items()]


def bulk_body(bodies: Bodies[Any], ops: Sequence[Op], ref: str, example: Json | None) -> Json:
    """What is sent; `ref` is how schemas are referred to, `example` an entity to be created."""
    items = {"type": "array", "maxItems": MOST_ITEMS, "items": {"anyOf": [_item(bodies, op, ref) for op in ops]}}
    properties = {name: {**schema, "description": words} for name, (words, schema) in _OPTIONS.items()}
    body = {
        "type": "object",
        "properties": {**properties, "items": items},
        "required": ["items"],
        "additionalProperties": False,
    }
    shown = {"mode": "partial", "items": [{"op": "create", "data": example}]}
    content: Json = {"schema": body}
    if example is not None and Op.CREATE in ops:
        content["example"] = shown
    return {
        "required": True,
        "content": {
            "application/json": content,
            LINES[0]: {"schema": {"type": "string", "description": "An item on each line"}},
        },
    }


def _item(bodies: Bodies[Any], op: Op, ref: str) -> Json:
    id: Json = {"type": "string", "description": "A ULID"}
    members: Json = {"op": {"const": op}, "id": id}
    required = ["op"]
    if op is not Op.CREATE:
        members["if_match"] = {"type": "string", "description": "The ETag of the version that is meant"}
        required.append("id")
    if op is not Op.DELETE:
        model = bodies.patch if op is Op.UPDATE else bodies.create
        members["data"] = {"$ref": ref.format(name=model.__name__)}
        required.append("data")
    return {"type": "object", "properties": members, "required": required, "additionalProperties": False}


def bulk_replies(ref: str) -> Json:
    """The replies of what was carried out."""
    content = {
        "application/json": {"schema": {"$ref": ref.format(name=BulkReply.__name__)}},
        LINES[0]: {"schema": {"type": "string", "description": "Items that failed, progress, and the summary"}},
    }
    return {
        "200": {"description": "Every item was carried out", "content": content},
        "207": {"description": "Some items were carried out", "content": content},
    }
