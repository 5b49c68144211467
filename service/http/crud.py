"""The routes every resource gets: one router per resource, made from its declaration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Router, delete, get, patch, post, put
from litestar.di import Provide
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_204_NO_CONTENT, HTTP_304_NOT_MODIFIED
from litestar.types import ASGIApp, ControllerRouterHandler

from domain.bodies import Bodies
from domain.bulk import Op
from domain.errors import Misconfigured
from domain.query import Resource, parse_body
from domain.wire import timestamp_text
from service.http.bulk import bulk_handler
from service.http.conditional import entity_tag, expectation, header, is_unmodified, shape
from service.http.dto import Shown, body_dto, decode_query_body, read_model, required
from service.http.effects import NO_EFFECT
from service.http.listing import list_response
from service.http.query import no_parameters, read_fields, read_query
from service.http.reply import Reply
from service.http.running import Running
from service.http.schema import resource_schema
from service.managers.base import Expectation, Manager

AnyRequest = Request[Any, Any, Any]
Body = Mapping[str, Any]
# Litestar reads the types that only exist at run time from the annotations; a type checker cannot follow them.
_json_body: Any = JSONBody
_NO_HEADERS: Mapping[str, str] = {}
_MOST_NAMES, _MOST_NAME_CHARACTERS = 20, 50

OPERATION_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Which kinds of routes a resource has; a route that is switched off does not exist."""

    create: bool = True
    read: bool = True
    update: bool = True
    delete: bool = True

    @property
    def ops(self) -> tuple[Op, ...]:
        """What items of `$bulk` may ask for; without any there is no such route."""
        given = {
            Op.CREATE: self.create,
            Op.UPDATE: self.update,
            Op.UPSERT: self.create and self.update,
            Op.DELETE: self.delete,
        }
        return tuple(op for op, is_allowed in given.items() if is_allowed)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A user's own `$operation` on a collection or on one entity (`is_entity`)."""

    name: str
    handler: Callable[..., Any]
    method: str = "GET"
    is_entity: bool = False
    status_code: int | None = None
    summary: str | None = None

    @property
    def is_bulk(self) -> bool:
        """Whether it stands where the `$bulk` of every resource is, which it replaces."""
        return self.name.lstrip("$") == "bulk" and self.method == "POST" and not self.is_entity

    def __post_init__(self) -> None:
        if not self.name.strip("$").replace("-", "_").isidentifier():
            raise Misconfigured(f'operation {self.name!r}: use a verb such as "deactivate"; the "$" is added')
        if self.method not in OPERATION_METHODS:
            raise Misconfigured(f"operation ${self.name}: method {self.method!r} is none of {OPERATION_METHODS}")


def crud_router(
    resource: Resource[Any],
    bodies: Bodies[Any],
    running: Running,
    *,
    permissions: Permissions,
    operations: Sequence[Operation] = (),
    schema: bytes | None = None,
) -> Router:
    """All routes of a resource under its path. The handlers only translate; the manager does the work.

    `schema` is what `$schema` answers, None that of the entity.
    """
    routes = ResourceRoutes(resource, bodies, running, schema)
    handlers: list[ControllerRouterHandler] = []
    if permissions.create:
        handlers.append(routes.create())
    if permissions.read:
        handlers += [routes.find_all(), routes.query(), routes.schema(), routes.stats(), routes.find()]
    if permissions.update:
        handlers += [routes.replace(), routes.patch()]
    if permissions.delete:
        handlers.append(routes.delete())
    if (ops := permissions.ops) and not any(operation.is_bulk for operation in operations):
        handlers.append(bulk_handler(resource, bodies, running, ops, routes.whole))
    handlers += [_user_operation(resource, operation) for operation in operations]

    def provide_manager() -> Manager[Any]:
        return running.manager(resource.name)

    return Router(
        path=resource.path,
        route_handlers=handlers,
        dependencies={"manager": Provide(provide_manager, sync_to_thread=False)},
        tags=[resource.name],
    )


class ResourceRoutes:
    """One method per route; each returns a handler whose annotations are the resource's real types.

    Those that return an entity are annotated with what the DTO makes of it: a reply that is ready.
    """

    def __init__(
        self, resource: Resource[Any], bodies: Bodies[Any], running: Running, schema: bytes | None = None
    ) -> None:
        self.own_schema = schema
        self.resource = resource
        self.bodies = bodies
        self.running = running
        self.model = read_model(resource)
        self.whole = shape(self.model.__name__, *resource.readable)

    def _manager(self) -> Manager[Any]:
        return self.running.manager(self.resource.name)

    def _entity(self, entity: Any, headers: Mapping[str, str] = _NO_HEADERS, *, status: int = HTTP_200_OK) -> Shown:
        """The reply that holds one entity and its `ETag`."""
        tag = entity_tag(timestamp_text(entity.updated_at), self.whole)
        return Shown(entity, {**headers, "etag": tag}, status)

    async def _ignored(self, request: AnyRequest) -> Mapping[str, str]:
        """The header that names what a body held that nobody knows, where that is no error."""
        if not self.resource.ignores_unknown:
            return _NO_HEADERS
        names = self.bodies.ignored(await request.body())
        if not names:
            return _NO_HEADERS
        # A header must not become as long as a body.
        shown = [quote(name[:_MOST_NAME_CHARACTERS]) for name in names[:_MOST_NAMES]]
        return {"x-ignored-fields": ", ".join([*shown, *(["..."] if len(names) > _MOST_NAMES else [])])}

    def create(self) -> HTTPRouteHandler:
        """`POST /`: 201 with `Location` and `ETag`."""

        async def create(request: AnyRequest, data: Any = None) -> Any:
            no_parameters(request.scope)
            entity = await self._manager().create(required(data))
            headers = {"location": location(request, f"{self.resource.path}/{entity.id}")}
            headers |= await self._ignored(request)
            return self._entity(entity, headers, status=HTTP_201_CREATED)

        create.__annotations__["return"] = ASGIApp
        create.__annotations__["data"] = _json_body[self.bodies.create]
        dto = body_dto(self.bodies.create, self.bodies.decode_create)
        return post("/", dto=dto, include_in_schema=False)(create)

    def find_all(self) -> HTTPRouteHandler:
        """`GET /`: the bare list, a page, or a keyset page."""

        async def find_all(request: AnyRequest) -> ASGIApp:
            manager = self._manager()
            query = read_query(request.scope, manager.resource, self.running.secret)
            return list_response(request, manager.resource, query, await manager.page(query), self.running.secret)

        return get("/", include_in_schema=False)(find_all)

    def query(self) -> HTTPRouteHandler:
        """`POST /$query`: the same with the query as a JSON body."""

        async def query(request: AnyRequest) -> ASGIApp:
            no_parameters(request.scope)
            manager = self._manager()
            raw = decode_query_body(request, await request.body(), manager.resource.limits.body_bytes)
            options = parse_body(manager.resource, raw, key=self.running.secret)
            return list_response(request, manager.resource, options, await manager.page(options), self.running.secret)

        return post("/$query", status_code=HTTP_200_OK, include_in_schema=False, opt=dict(NO_EFFECT))(query)

    def schema(self) -> HTTPRouteHandler:
        """`GET /$schema`: the entity's JSON Schema and what may be filtered, sorted and searched."""
        body = self.own_schema or msgspec.json.encode(resource_schema(self.resource, self.model))

        async def schema(request: AnyRequest) -> ASGIApp:
            no_parameters(request.scope)
            return Reply(body)

        return get("/$schema", include_in_schema=False)(schema)

    def stats(self) -> HTTPRouteHandler:
        """`GET /$stats`: how many entities there are."""

        async def stats(request: AnyRequest) -> ASGIApp:
            no_parameters(request.scope)
            return Reply(b'{"total":%d}' % await self._manager().count())

        return get("/$stats", include_in_schema=False)(stats)

    def find(self) -> HTTPRouteHandler:
        """`GET /{id}`: one entity; 304 when the client already has this version."""

        async def find(request: AnyRequest) -> Any:
            manager = self._manager()
            fields = read_fields(request.scope, manager.resource)
            # As an argument the id would pass an extractor and a signature model on its way; the scope has it already.
            document = await manager.document(request.scope["path_params"]["id"], fields)
            tag = entity_tag(document.version, self.whole if fields is None else shape(self.whole, *fields))
            known = header(request.scope, b"if-none-match")
            if known is not None and is_unmodified(known, tag):
                return Reply(b"", {"etag": tag}, status=HTTP_304_NOT_MODIFIED)
            return Shown(document, {"etag": tag})

        find.__annotations__["return"] = ASGIApp
        return get("/{id:str}", include_in_schema=False)(find)

    def replace(self) -> HTTPRouteHandler:
        """`PUT /{id}`: new values for everything a client may set."""

        async def replace(request: AnyRequest, id: FromPath[str], data: Any = None) -> Any:
            no_parameters(request.scope)
            expected = _expectation(request)
            entity = await self._manager().replace(id, required(data), is_expected=expected)
            return self._entity(entity, await self._ignored(request))

        replace.__annotations__["return"] = ASGIApp
        replace.__annotations__["data"] = _json_body[self.bodies.replace]
        dto = body_dto(self.bodies.replace, self.bodies.decode_create)
        return put("/{id:str}", dto=dto, include_in_schema=False)(replace)

    def patch(self) -> HTTPRouteHandler:
        """`PATCH /{id}`: an RFC 7396 merge patch."""

        async def update(request: AnyRequest, id: FromPath[str], data: Any = None) -> Any:
            no_parameters(request.scope)
            expected = _expectation(request)
            entity = await self._manager().patch(id, required(data), is_expected=expected)
            return self._entity(entity, await self._ignored(request))

        update.__annotations__["return"] = ASGIApp
        update.__annotations__["data"] = _json_body[self.bodies.patch]
        dto = body_dto(self.bodies.patch, self.bodies.decode_patch)
        return patch("/{id:str}", dto=dto, include_in_schema=False)(update)

    def delete(self) -> HTTPRouteHandler:
        """`DELETE /{id}`."""

        async def remove(request: AnyRequest, id: FromPath[str]) -> None:
            no_parameters(request.scope)
            await self._manager().delete(id, is_expected=_expectation(request))

        return delete("/{id:str}", status_code=HTTP_204_NO_CONTENT, include_in_schema=False)(remove)


def _user_operation(resource: Resource[Any], operation: Operation) -> HTTPRouteHandler:
    name = operation.name.lstrip("$")
    path = f"/{{id:str}}/${name}" if operation.is_entity else f"/${name}"
    return HTTPRouteHandler(
        path,
        http_method=HttpMethod(operation.method),
        status_code=operation.status_code or HTTP_200_OK,
        summary=operation.summary,
        operation_id=f"{resource.name}_{name.replace('-', '_')}",
    )(operation.handler)


def _expectation(request: AnyRequest) -> Expectation | None:
    return expectation(header(request.scope, b"if-match"), header(request.scope, b"if-none-match"))


def location(request: AnyRequest, path: str) -> str:
    """The absolute URL of `path` on the host the client used."""
    host = header(request.scope, b"host")
    return f"{request.scope['scheme']}://{host}{path}" if host else path
