"""The operations of a resource, as OpenAPI describes them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.examples import example_body, example_entity, example_filter
from domain.query import Resource
from service.http.bulk_operation import DESCRIPTION, bulk_body, bulk_parameters, bulk_replies
from service.http.documented import Described
from service.http.dto import read_model
from service.http.listing import listing_schema
from service.http.parameters import Json, example_sort, header_parameter, id_parameter, if_match, list_parameters
from service.http.problems import MEDIA_TYPE

REF = "#/components/schemas/{name}"

_STATUS_WORDS = {
    "400": "The query or the id is not valid",
    "403": "This is not allowed here",
    "404": "There is no such thing",
    "409": "The change contradicts what is stored",
    "412": "The entity is no longer in the version that If-Match names",
    "413": "The request is too large",
    "415": "The body is not JSON",
    "422": "The body is not valid; `errors` lists every field",
    "500": "A bug; `trace_id` finds it in the log",
    "503": "The database does not answer",
}


def paths_of(item: Described) -> dict[str, Json]:
    """The operations of a resource by path and method."""
    resource, allowed = item.resource, item.permissions
    shown = item.example or example_entity(item.bodies)
    sent = example_body(item.bodies)
    entity = {"$ref": REF.format(name=read_model(resource).__name__)}
    collection: Json = {}
    single: Json = {}
    paths: dict[str, Json] = {resource.path: collection, f"{resource.path}/{{id}}": single}
    if allowed.read:
        collection["get"] = _list(resource, entity, shown, item.parameters)
        single["get"] = _get(resource, entity, shown)
        paths[f"{resource.path}/$query"] = {"post": _query(resource, entity, shown)}
        for verb, summary in item.lists:
            found = _list(resource, entity, shown) | {"operationId": f"{resource.name}_{verb}", "summary": summary}
            paths[f"{resource.path}/${verb}"] = {"get": found}
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
    if allowed.ops:
        paths[f"{resource.path}/$bulk"] = {"post": _bulk(item, sent)}
    if item.tags is not None:
        for operation in (operation for operations in paths.values() for operation in operations.values()):
            operation["tags"] = list(item.tags)
    return {path: operations for path, operations in paths.items() if operations}


def _operation(resource: Resource[Any], verb: str, summary: str, responses: Json, **more: Any) -> Json:
    return {
        "tags": [resource.name],
        "operationId": f"{resource.name}_{verb}",
        "summary": summary,
        "responses": responses,
        **{name: value for name, value in more.items() if value},
    }


def error_replies(*statuses: str) -> Json:
    """The replies with these statuses, and those that any operation may give."""
    return {
        status: {"description": _STATUS_WORDS[status], "content": problem_content()}
        for status in (*statuses, "500", "503")
    }


def problem_content() -> Json:
    """The content of every error."""
    return {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}}


_CHANGE_ERRORS = ("404", "409", "412")


def _some(body: Json | None) -> Json | None:
    """The first member of a body, as an example of a patch."""
    return dict(list(body.items())[:1]) if body else None


def json_content(schema: Json, example: Any = None) -> Json:
    """What a body of this schema is like."""
    return {"schema": schema, **({} if example is None else {"example": example})}


def _ok(schema: Json, description: str, headers: Json | None = None, example: Any = None) -> Json:
    return {
        "description": description,
        "content": {"application/json": json_content(schema, example)},
        **({"headers": headers} if headers else {}),
    }


def text_header(description: str) -> Json:
    """A header of a reply."""
    return {"description": description, "schema": {"type": "string"}}


def _list(resource: Resource[Any], entity: Json, example: Json | None, parameters: Sequence[Json] = ()) -> Json:
    headers = {
        "Link": text_header('`rel="next"` when more entities follow'),
        "X-Truncated": text_header("`true` when a bare list was cut at its bound"),
        "X-Total-Count": text_header("The total of a bare list with `count`"),
    }
    return _operation(
        resource,
        "find_all",
        f"List {resource.name}",
        {
            "200": _ok(listing_schema(entity), "The entities", headers, example and [example]),
            **error_replies("400", "422"),
        },
        description="A bare array; with `page` and `size` a numbered page; with `limit` or `cursor` a keyset page.",
        parameters=[*parameters, *list_parameters(resource)],
    )


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
            "200": _ok(listing_schema(entity), "The entities", example=example and [example]),
            **error_replies("400", "415", "422"),
        },
        requestBody={"required": True, "content": {"application/json": json_content(body, asked)}},
    )


def _plain(resource: Resource[Any], verb: str, summary: str, schema: Json | None = None) -> Json:
    return _operation(
        resource, verb, summary, {"200": _ok(schema or {"type": "object"}, summary), **error_replies("400")}
    )


def _stats_schema() -> Json:
    return {"type": "object", "properties": {"total": {"type": "integer", "minimum": 0}}, "required": ["total"]}


_ETAG = {"ETag": text_header("The version of the entity")}


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
            **error_replies("400", "404"),
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
    reference = json_content({"$ref": REF.format(name=body.__name__)}, sent)
    content = {"application/json": reference}
    if verb == "patch":
        content["application/merge-patch+json"] = reference
    headers = dict(_ETAG)
    if verb == "create":
        headers["Location"] = text_header("Where the entity is")
    parameters = [] if verb == "create" else [id_parameter(), if_match()]
    return _operation(
        resource,
        verb,
        summaries[verb],
        {success: _ok(entity, "The entity", headers, shown), **error_replies("400", *errors, "415", "422")},
        parameters=parameters,
        requestBody={"required": True, "content": content},
    )


def _bulk(item: Described, sent: Json | None) -> Json:
    return _operation(
        item.resource,
        "bulk",
        "Change many",
        {**bulk_replies(REF), **error_replies("400", "403", "409", "413", "415", "422")},
        description=DESCRIPTION,
        parameters=bulk_parameters(),
        requestBody=bulk_body(item.bodies, item.permissions.ops, REF, sent),
    )


def _delete(resource: Resource[Any]) -> Json:
    responses = {"204": {"description": "It is gone"}, **error_replies("400", "404", "409", "412")}
    return _operation(resource, "delete", "Delete one", responses, parameters=[id_parameter(), if_match()])
