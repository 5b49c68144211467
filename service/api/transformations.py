"""`/api/v1/transformations`: data in, a document out."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from msgspec import UNSET, UnsetType

from domain.transformations import Transformation
from domain.transformations.definition import schema_of
from domain.transformations.requests import Requests
from domain.validation import problem, rejected
from service.http.body import MOST_REQUEST_BYTES
from service.http.cache_status import cache_status
from service.http.conditional import header, is_unmodified
from service.http.documented import documents
from service.http.dto import check_content_type
from service.http.parameters import header_parameter
from service.http.query import no_parameters
from service.http.reply import encoded
from service.managers.caching import RouteStats
from service.managers.transformations import Transformations

AnyRequest = Request[Any, Any, Any]
_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
_REPLY_HEADERS = {
    "ETag": "By what the result is known; none for rows of a resource",
    "X-Transformation": "name@version",
    "Cache-Status": "Whether the result was kept (RFC 9211); none without a cache",
}


class CacheUse(RouteStats, kw_only=True):
    """What the cache of the process that answers has been good for: `hit_rate` is the part that needed no work."""

    ttl_seconds: float
    hit_rate: float | None


class TransformationView(msgspec.Struct, frozen=True, kw_only=True):
    """A transformation as clients see it."""

    name: str
    title: str
    version: str
    description: str
    cache: CacheUse | UnsetType = UNSET


class TransformationSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What a transformation takes and gives, as JSON Schemas."""

    data: dict[str, Any]
    params: dict[str, Any]
    output: dict[str, Any]


def transformations_router(prefix: str, transformations: Transformations, tags: Sequence[str]) -> Router:
    """The routes of transformations under `prefix`."""

    @get("/", summary="The transformations there are", operation_id="transformations_find_all", opt=documents())
    async def find_all(request: AnyRequest) -> Response[list[TransformationView]]:
        no_parameters(request.scope)
        return encoded([_view(transformations, requests.transformation) for requests in transformations.requests])

    handlers = [find_all]
    for requests in transformations.requests:
        handlers += [_transform(transformations, requests), _schema(requests), _examples(requests.transformation)]
    return Router(path=prefix, route_handlers=handlers, tags=list(tags))


def _transform(transformations: Transformations, requests: Requests) -> HTTPRouteHandler:
    transformation = requests.transformation

    async def transform(request: AnyRequest) -> Response[Any]:
        no_parameters(request.scope)
        body = await request.body()
        if not body:
            raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
        check_content_type(request)
        asked = await transformations.asked(requests, body)
        headers = {"x-transformation": transformation.label}
        if asked.key is not None:
            headers["etag"] = f'"{asked.key}"'
            known = header(request.scope, b"if-none-match")
            # A star is no result that the client could have.
            if known is not None and known.strip() != "*" and is_unmodified(known, headers["etag"]):
                if (use := transformations.use(transformation)) is not None:
                    use.unmodified += 1
                return Response(b"", status_code=HTTP_304_NOT_MODIFIED, headers=headers)
        found = await transformations.answer(asked)
        if found is not None:
            headers["cache-status"] = cache_status(found.outcome, found.ttl_seconds).decode()
        content = found.value if found is not None else await transformations.run(asked)
        return Response(content, media_type=MediaType.JSON, headers=headers)

    said = documents(
        has_effect=False,
        bodies=list(requests.forms.values()),
        examples=transformation.examples,
        reply=transformation.output,
        headers=_REPLY_HEADERS,
        parameters=[header_parameter("If-None-Match", "The ETag of the result that the client has")],
        errors=["404", "415", "422"],
        others={"304": "The client has this result"},
    )
    return post(
        f"/{transformation.name}",
        status_code=HTTP_200_OK,
        summary=transformation.title,
        description=transformation.description or None,
        operation_id=_operation(transformation),
        request_max_body_size=MOST_REQUEST_BYTES,
        opt=said,
    )(transform)


def _schema(requests: Requests) -> HTTPRouteHandler:
    transformation = requests.transformation
    params = _NOTHING if requests.params is None else schema_of(requests.params)
    body = TransformationSchema(
        data=schema_of(transformation.data), params=params, output=schema_of(transformation.output)
    )

    async def schema(request: AnyRequest) -> Response[TransformationSchema]:
        no_parameters(request.scope)
        return encoded(body)

    return _read_only(transformation, "schema", "What it takes and gives", schema)


def _examples(transformation: Transformation) -> HTTPRouteHandler:
    async def examples(request: AnyRequest) -> Response[dict[str, Any]]:
        no_parameters(request.scope)
        return encoded(transformation.examples)

    return _read_only(transformation, "examples", "Requests by name, ready to be sent", examples)


def _read_only(
    transformation: Transformation, verb: str, summary: str, handler: Callable[..., Any]
) -> HTTPRouteHandler:
    path = f"/{transformation.name}/${verb}"
    name = f"{_operation(transformation)}_{verb}"
    return get(path, summary=f"{transformation.title}: {summary}", operation_id=name, opt=documents())(handler)


def _operation(transformation: Transformation) -> str:
    return f"transformations_{transformation.name.replace('-', '_')}"


def _view(transformations: Transformations, transformation: Transformation) -> TransformationView:
    use = transformations.use(transformation)
    return TransformationView(
        name=transformation.name,
        title=transformation.title,
        version=transformation.version,
        description=transformation.description,
        cache=UNSET if use is None else _cache(use, transformation.lifetime.ttl_seconds),
    )


def _cache(use: RouteStats, ttl_seconds: float) -> CacheUse:
    rate = None if use.hit_rate is None else round(use.hit_rate, 4)
    return CacheUse(ttl_seconds=ttl_seconds, hit_rate=rate, **msgspec.structs.asdict(use))
