"""The OpenAPI 3.1 document: Litestar describes the user's own routes, this module the routes of resources.

The schemas are msgspec's own, so what the document says is what the decoder enforces.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.bodies import Bodies
from domain.examples import example_body, example_entity, example_filter
from domain.health import HealthStatus
from domain.query import Resource
from domain.registration import ServiceInfo
from service.http.crud import Permissions
from service.http.dto import read_model
from service.http.parameters import Json, example_sort, header_parameter, id_parameter, if_match, list_parameters
from service.http.problems import MEDIA_TYPE, Problem

REF = "#/components/schemas/{name}"

_STATUS_WORDS = {
    "400": "The query or the id is not valid",
    "404": "There is no such entity",
    "409": "The change contradicts what is stored",
    "412": "The entity is no longer in the version that If-Match names",
    "415": "The body is not JSON",
    "422": "The body is not valid; `errors` lists every field",
    "500": "A bug; `trace_id` finds it in the log",
    "503": "The database does not answer",
}


class Described(msgspec.Struct, frozen=True):
    """A resource as the document needs it."""

    resource: Resource[Any]
    bodies: Bodies[Any]
    permissions: Permissions


def openapi_document(base: Json, described: Sequence[Described]) -> Json:
    """Litestar's document `base` with the resources' routes and schemas added."""
    theirs: Json = dict(base.get("paths") or {})
    # What the service is about comes first.
    paths: Json = {}
    models: list[type[msgspec.Struct]] = [Problem, HealthStatus, ServiceInfo]
    for item in described:
        models += [read_model(item.resource), item.bodies.create, item.bodies.patch]
        for path, operations in _paths(item).items():
            paths[path] = {**theirs.pop(path, {}), **operations}
    paths |= theirs
    _, schemas = msgspec.json.schema_components(models, ref_template=REF)
    for item in described:
        _polish(item, schemas)
    components = dict(base.get("components") or {})
    components["schemas"] = {**components.get("schemas", {}), **schemas}
    for path in paths.values():
        for operation in path.values():
            if isinstance(operation, dict) and "responses" in operation:
                _own_errors(operation["responses"])
                _named_media_types(operation["responses"])
    return {**base, "openapi": "3.1.0", "paths": paths, "components": components}


def _named_media_types(responses: Json) -> None:
    """Litestar leaves the name empty where a handler returns a response and says no more."""
    for response in responses.values():
        if "" in response.get("content", {}):
            response["content"]["application/json"] = response["content"].pop("")


def _own_errors(responses: Json) -> None:
    """Litestar documents its own error body; ours is a problem."""
    for status, response in responses.items():
        if status.startswith(("4", "5")) and MEDIA_TYPE not in response.get("content", {}):
            responses[status] = {"description": response.get("description", "Error"), "content": _problem()}


def _polish(item: Described, schemas: Json) -> None:
    """Say what the derived bodies mean: optional members, and those that are accepted and ignored."""
    for model in (item.bodies.create, item.bodies.patch):
        schema = schemas[model.__name__]
        for name in sorted(item.resource.read_only):
            schema["properties"][name] = {"description": "Set by the service; accepted and ignored", "readOnly": True}
    entity = schemas[read_model(item.resource).__name__]
    # Replies always hold every field, whatever has a default.
    entity["required"] = list(entity["properties"])


def _paths(item: Described) -> dict[str, Json]:
    resource, allowed = item.resource, item.permissions
    shown = example_entity(item.bodies)
    sent = example_body(item.bodies)
    entity = {"$ref": REF.format(name=read_model(resource).__name__)}
    collection: Json = {}
    single: Json = {}
    paths: dict[str, Json] = {resource.path: collection, f"{resource.path}/{{id}}": single}
    if allowed.read:
        collection["get"] = _list(resource, entity, shown)
        single["get"] = _get(resource, entity, shown)
        paths[f"{resource.path}/$query"] = {"post": _query(resource, entity, shown)}
        paths[f"{resource.path}/$schema"] = {"get": _plain(resource, "schema", "JSON Schema and query rules")}
        paths[f"{resource.path}/$stats"] = {"get": _plain(resource, "stats", "Number of entities", _stats_schema())}
    if allowed.create:
        collection["post"] = _write(resource, "create", entity, item.bodies.create, "201", ("409",), sent, shown)
    if allowed.update:
        single["put"] = _write(resource, "replace", entity, item.bodies.replace, "200", _CHANGE_ERRORS, sent, shown)
        single["patch"] = _write(
            resource, "patch", entity, item.bodies.patch, "200", _CHANGE_ERRORS, _some(sent), shown
        )
    if allowed.delete:
        single["delete"] = _delete(resource)
    return {path: operations for path, operations in paths.items() if operations}


def _operation(resource: Resource[Any], verb: str, summary: str, responses: Json, **more: Any) -> Json:
    return {
        "tags": [resource.name],
        "operationId": f"{resource.name}_{verb}",
        "summary": summary,
        "responses": responses,
        **{name: value for name, value in more.items() if value},
    }


def _errors(*statuses: str) -> Json:
    return {
        status: {"description": _STATUS_WORDS[status], "content": _problem()} for status in (*statuses, "500", "503")
    }


def _problem() -> Json:
    return {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}}


_CHANGE_ERRORS = ("404", "409", "412")


def _some(body: Json | None) -> Json | None:
    """The first member of a body, as an example of a patch."""
    return dict(list(body.items())[:1]) if body else None


def _json_content(schema: Json, example: Any = None) -> Json:
    return {"schema": schema, **({} if example is None else {"example": example})}


def _ok(schema: Json, description: str, headers: Json | None = None, example: Any = None) -> Json:
    return {
        "description": description,
        "content": {"application/json": _json_content(schema, example)},
        **({"headers": headers} if headers else {}),
    }


def _text_header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _list(resource: Resource[Any], entity: Json, example: Json | None) -> Json:
    headers = {
        "Link": _text_header('`rel="next"` when more entities follow'),
        "X-Truncated": _text_header("`true` when a bare list was cut at its bound"),
        "X-Total-Count": _text_header("The total of a bare list with `count`"),
    }
    return _operation(
        resource,
        "find_all",
        f"List {resource.name}",
        {
            "200": _ok(_listing_schema(entity), "The entities", headers, example and [example]),
            **_errors("400", "422"),
        },
        description="A bare array; with `page` and `size` a numbered page; with `limit` or `cursor` a keyset page.",
        parameters=list_parameters(resource),
    )


def _listing_schema(entity: Json) -> Json:
    # With `fields` an item holds only what was asked for, so its schema cannot demand more.
    items: Json = {"type": "array", "items": {"type": "object"}}
    number: Json = {"type": ["integer", "null"], "minimum": 0}
    page = {"total": number, "page": {"type": "integer"}, "size": {"type": "integer"}, "pages": number}
    paged = {
        "type": "object",
        "properties": {"items": items, **page, "total_is": _TOTAL_IS},
        "required": ["items", *page],
    }
    keyset = {
        "type": "object",
        "properties": {
            "items": items,
            "next_cursor": {"type": ["string", "null"]},
            "total": number,
            "total_is": _TOTAL_IS,
        },
        "required": ["items", "next_cursor"],
    }
    whole = {"type": "array", "items": {"anyOf": [entity, {"type": "object"}]}}
    return {"anyOf": [whole, paged, keyset]}


_TOTAL_IS = {"type": "string", "enum": ["exact", "at_least"]}


def _query(resource: Resource[Any], entity: Json, example: Json | None) -> Json:
    names_schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    properties: Json = {
        "filter": {"type": "object"},
        "sort": names_schema,
        "fields": names_schema,
        "search": {"type": "string"},
        "page": {"type": "integer", "minimum": 1},
        "size": {"type": "integer", "minimum": 1, "maximum": resource.limits.page_size},
        "limit": {"type": "integer", "minimum": 1, "maximum": resource.limits.keyset_size},
        "cursor": {"type": "string"},
        "count": {"type": "string", "enum": ["none", "exact", "capped"]},
    }
    body = {"type": "object", "properties": properties, "additionalProperties": False}
    asked = {"filter": example_filter(resource), "sort": example_sort(resource), "limit": 10}
    return _operation(
        resource,
        "query",
        f"List {resource.name} by a query in the body",
        {
            "200": _ok(_listing_schema(entity), "The entities", example=example and [example]),
            **_errors("400", "415", "422"),
        },
        requestBody={"required": True, "content": {"application/json": _json_content(body, asked)}},
    )


def _plain(resource: Resource[Any], verb: str, summary: str, schema: Json | None = None) -> Json:
    return _operation(resource, verb, summary, {"200": _ok(schema or {"type": "object"}, summary), **_errors("400")})


def _stats_schema() -> Json:
    return {"type": "object", "properties": {"total": {"type": "integer", "minimum": 0}}, "required": ["total"]}


_ETAG = {"ETag": _text_header("The version of the entity")}


def _get(resource: Resource[Any], entity: Json, example: Json | None) -> Json:
    fields = next(parameter for parameter in list_parameters(resource) if parameter["name"] == "fields")
    known = header_parameter("If-None-Match", "The ETag of the version the client has")
    return _operation(
        resource,
        "find",
        "Read one",
        {
            "200": _ok({"anyOf": [entity, {"type": "object"}]}, "The entity", _ETAG, example),
            "304": {"description": "The client has this version"},
            **_errors("400", "404"),
        },
        parameters=[id_parameter(), fields, known],
    )


def _write(
    resource: Resource[Any],
    verb: str,
    entity: Json,
    body: type[msgspec.Struct],
    success: str,
    errors: tuple[str, ...],
    sent: Json | None,
    shown: Json | None,
) -> Json:
    summaries = {"create": "Create one", "replace": "Replace one", "patch": "Change some fields (RFC 7396 merge patch)"}
    reference = _json_content({"$ref": REF.format(name=body.__name__)}, sent)
    content = {"application/json": reference}
    if verb == "patch":
        content["application/merge-patch+json"] = reference
    headers = dict(_ETAG)
    if verb == "create":
        headers["Location"] = _text_header("Where the entity is")
    parameters = [] if verb == "create" else [id_parameter(), if_match()]
    return _operation(
        resource,
        verb,
        summaries[verb],
        {success: _ok(entity, "The entity", headers, shown), **_errors("400", *errors, "415", "422")},
        parameters=parameters,
        requestBody={"required": True, "content": content},
    )


def _delete(resource: Resource[Any]) -> Json:
    responses = {"204": {"description": "It is gone"}, **_errors("400", "404", "409", "412")}
    return _operation(resource, "delete", "Delete one", responses, parameters=[id_parameter(), if_match()])
