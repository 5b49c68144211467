"""The OpenAPI 3.1 document: Litestar describes the user's own routes, `operations` the routes of resources.

The schemas are msgspec's own, so what the document says is what the decoder enforces.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from domain.health import HealthStatus
from domain.registration import ServiceInfo
from service.http.bulk_reply import BulkReply
from service.http.documented import Described, Documented
from service.http.dto import read_model
from service.http.operations import REF, error_replies, json_content, paths_of, problem_content, text_header
from service.http.parameters import Json, id_parameter, idempotency_key
from service.http.problems import MEDIA_TYPE, Problem


def openapi_document(
    base: Json,
    described: Sequence[Described],
    documented: Sequence[tuple[str, str, Documented]] = (),
    keyed: Collection[tuple[str, str]] = (),
) -> Json:
    """Litestar's document `base` with the resources' routes and schemas added, and what handlers say themselves.

    `keyed` are path and method of what takes an `Idempotency-Key`.
    """
    theirs: Json = dict(base.get("paths") or {})
    # What the service is about comes first.
    paths: Json = {}
    models: list[type[msgspec.Struct]] = [Problem, HealthStatus, ServiceInfo]
    for item in described:
        models += [*item.models, *([BulkReply] if item.permissions.ops else [])]
        for path, operations in paths_of(item).items():
            # Where a handler has documented itself, it knows better.
            paths[path] = {**operations, **theirs.pop(path, {})}
        # What else there is under its path belongs to it.
        own = [path for path in theirs if path.startswith(f"{item.resource.path}/")]
        paths |= {path: theirs.pop(path) for path in own}
    paths |= theirs
    models += [said.body for _, _, said in documented if said.body is not None]
    chosen = [kind for _, _, said in documented for kind in (*said.bodies, said.reply) if kind is not None]
    _, schemas = msgspec.json.schema_components(models, ref_template=REF)
    for item in described:
        _polish(item, schemas)
    components = dict(base.get("components") or {})
    schemas = {**components.get("schemas", {}), **schemas}
    tops, beside = _beside(schemas, chosen)
    components["schemas"] = {**beside, **schemas}
    shown = iter(tops)
    for path, method, said in documented:
        _say(paths[path][method], said)
        _choose(paths[path][method], said, shown)
    for item in described:
        if item.is_named:
            _take_names(item.resource.path, paths)
    for name, path in paths.items():
        for method, operation in path.items():
            if isinstance(operation, dict) and "responses" in operation:
                if (name, method) in keyed:
                    _take_key(operation)
                _own_errors(operation["responses"])
                _named_media_types(operation["responses"])
    return {**base, "openapi": "3.1.0", "paths": paths, "components": components}


def _say(operation: Json, said: Documented) -> None:
    """Add to Litestar's description of an operation what its handler says."""
    operation["parameters"] = [*operation.get("parameters", ()), *said.parameters]
    for parameter in operation["parameters"]:
        if parameter["name"] == "id" and parameter["in"] == "path":
            parameter |= id_parameter()
    statuses = {*said.errors, "400"}
    if said.body is not None:
        statuses |= {"415", "422"}
        content = {"application/json": json_content({"$ref": REF.format(name=said.body.__name__)}, said.example)}
        operation["requestBody"] = {"required": not said.is_body_optional, "content": content}
    if said.has_location:
        success = next(iter(operation["responses"].values()))
        success["headers"] = {**success.get("headers", {}), "Location": text_header("Where it is")}
    others = {status: {"description": words} for status, words in said.others.items()}
    operation["responses"] |= {**others, **error_replies(*sorted(statuses))}


def _take_key(operation: Json) -> None:
    """Say that a request may have a key, and what it may be told about it."""
    operation["parameters"] = [*operation.get("parameters", ()), idempotency_key()]
    operation["responses"] = {**error_replies("400", "409", "422"), **operation["responses"]}


def _take_names(prefix: str, paths: Json) -> None:
    """Say that the ids under a path may be names."""
    for path in (path for path in paths if path.startswith(f"{prefix}/{{id}}")):
        for operation in paths[path].values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "id" and parameter["in"] == "path":
                    parameter |= id_parameter(is_name=True)


def _beside(schemas: Json, kinds: Sequence[Any]) -> tuple[Sequence[Json], Json]:
    """The schemas of types of the user's own, which may be called as others are, and what they refer to."""
    tops, found = msgspec.json.schema_components(kinds, ref_template=REF)
    if all(schemas.get(name, schema) == schema for name, schema in found.items()):
        return tops, found
    tops, found = msgspec.json.schema_components(kinds, ref_template=REF.format(name="Own_{name}"))
    return tops, {f"Own_{name}": schema for name, schema in found.items()}


def _choose(operation: Json, said: Documented, schemas: Iterator[Json]) -> None:
    """Add the bodies that an operation may be given and what it replies, whose schemas come in this order."""
    bodies = [next(schemas) for _ in said.bodies]
    success = operation["responses"].get("200", {})
    if bodies:
        content = json_content(bodies[0] if len(bodies) == 1 else {"oneOf": bodies})
        if said.examples:
            content["examples"] = {name: {"value": value} for name, value in said.examples.items()}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        operation["responses"] |= error_replies("415", "422")
    if said.reply is not None:
        success["content"] = {"application/json": json_content(next(schemas))}
    for media_type in said.media_types:
        success.setdefault("content", {})[media_type] = {"schema": {"type": "string"}}
    if said.headers:
        success["headers"] = {name: text_header(words) for name, words in said.headers.items()}


def _named_media_types(responses: Json) -> None:
    """Litestar leaves the name empty where a handler returns a response and says no more."""
    for response in responses.values():
        if "" in response.get("content", {}):
            response["content"]["application/json"] = response["content"].pop("")


def _own_errors(responses: Json) -> None:
    """Litestar documents its own error body; ours is a problem."""
    for status, response in responses.items():
        if status.startswith(("4", "5")) and MEDIA_TYPE not in response.get("content", {}):
            responses[status] = {"description": response.get("description", "Error"), "content": problem_content()}


def _polish(item: Described, schemas: Json) -> None:
    """Say what the derived bodies mean: optional members, and those that are accepted and ignored."""
    for model in item.models[1:]:
        schema = schemas[model.__name__]
        for name in sorted(item.resource.read_only):
            schema["properties"][name] = {"description": "Set by the service; accepted and ignored", "readOnly": True}
    entity = schemas[read_model(item.resource).__name__]
    # Replies always hold every field, whatever has a default.
    entity["required"] = list(entity["properties"])
