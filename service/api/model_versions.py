"""`/api/v1/models/{model}/versions`: made of trainings, read by number, measured, compared and promoted."""

from typing import Annotated, Any

from litestar import MediaType, Request, Response, Router, get, patch, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from domain.comparisons import VersionComparison
from domain.errors import FieldError, Invalid, InvalidQuery
from domain.model_versions import CHAMPION, VERSIONS, AliasName, ModelVersion, NewVersion, Promotion
from domain.query import parse_body
from domain.query.parse import unknown_parameters
from domain.wire import timestamp_text
from service.http.body import read_body
from service.http.conditional import entity_tag, expectation, header, shape
from service.http.crud import location
from service.http.documented import documents
from service.http.dto import check_content_type, decode_query_body
from service.http.listing import list_response
from service.http.parameters import if_match, list_parameters, query_parameter
from service.http.query import no_parameters, parameters, read_fields, read_query
from service.http.reply import encoded
from service.http.running import Running
from service.managers.model_versions import ModelVersions

AnyRequest = Request[Any, Any, Any]
MOST_COMPARED = 20
_WHOLE = shape(ModelVersion.__name__, *VERSIONS.readable)
_FIELDS = next(parameter for parameter in list_parameters(VERSIONS) if parameter["name"] == "fields")
_COMPARED = query_parameter("versions", f"Numbers separated by commas, 2 to {MOST_COMPARED}", {"type": "string"})
_NEW = {"artifact_id": "01K5T0V9G8ZJ8Q6N4X3B7RM2WD", "metrics": {"wis": 12.5, "coverage_80": 0.78}}


class PromoteRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version an alias is to point to, and the condition for it."""

    version: Annotated[int, Meta(ge=1, le=999_999_999)]
    alias: AliasName = CHAMPION
    gate: str | None = None


def model_versions_router(prefix: str, running: Running, tags: list[str]) -> Router:
    """The versions of the models under `prefix`."""

    def manager() -> ModelVersions:
        return running.modelling.versions

    listed = documents(parameters=list_parameters(VERSIONS), errors=["404"])

    @get("/{id:str}/versions", summary="List the versions of a model", operation_id="versions_find_all", opt=listed)
    async def find_all(request: AnyRequest, id: FromPath[str]) -> ASGIApp:
        versions = manager()
        query = read_query(request.scope, versions.resource, running.secret)
        return list_response(request, versions.resource, query, await versions.page(id, query), running.secret)

    @post(
        "/{id:str}/versions/$query",
        status_code=HTTP_200_OK,
        summary="List the versions of a model by a query in the body",
        operation_id="versions_query",
        opt=documents(has_effect=False, errors=["404", "415", "422"]),
    )
    async def query(request: AnyRequest, id: FromPath[str]) -> ASGIApp:
        no_parameters(request.scope)
        versions = manager()
        raw = decode_query_body(request, await request.body(), versions.resource.limits.body_bytes)
        options = parse_body(versions.resource, raw, key=running.secret)
        return list_response(request, versions.resource, options, await versions.page(id, options), running.secret)

    @post(
        "/{id:str}/versions",
        status_code=HTTP_201_CREATED,
        summary="Make the next version of a model, of a training artifact",
        operation_id="versions_create",
        opt=documents(body=NewVersion, example=_NEW, errors=["404", "409"], has_location=True),
    )
    async def create(request: AnyRequest, id: FromPath[str]) -> Response[ModelVersion]:
        no_parameters(request.scope)
        version = await manager().create(id, await read_body(request, NewVersion))
        place = location(request, f"{prefix}/{id}/versions/{version.number}")
        return _version(version, {"location": place})

    @get(
        "/{id:str}/versions/{number:str}",
        summary="Read one version",
        operation_id="versions_find",
        opt=documents(parameters=[_FIELDS], errors=["404"]),
    )
    async def find(request: AnyRequest, id: FromPath[str], number: FromPath[str]) -> Response[ModelVersion]:
        versions = manager()
        fields = read_fields(request.scope, versions.resource)
        document = await versions.document(id, version_number(number), fields)
        tag = entity_tag(document.version, _WHOLE if fields is None else shape(_WHOLE, *fields))
        return Response(document.json, media_type=MediaType.JSON, headers={"etag": tag})  # type: ignore[arg-type]

    @patch(
        "/{id:str}/versions/{number:str}",
        summary="Change metrics, description, signature, tags or status (RFC 7396 merge patch)",
        operation_id="versions_patch",
        opt=documents(parameters=[if_match()], errors=["404", "409", "412", "415", "422"]),
    )
    async def update(request: AnyRequest, id: FromPath[str], number: FromPath[str]) -> Response[ModelVersion]:
        no_parameters(request.scope)
        check_content_type(request)
        versions = manager()
        changes = versions.decode_patch(await request.body())
        expected = expectation(header(request.scope, b"if-match"), header(request.scope, b"if-none-match"))
        return _version(await versions.patch(id, version_number(number), changes, is_expected=expected))

    @post(
        "/{id:str}/$promote",
        status_code=HTTP_200_OK,
        summary="Have an alias point to a version, if a gate is met",
        operation_id="models_promote",
        opt=documents(
            body=PromoteRequest,
            example={"version": 2, "gate": "wis <= 0.95 * champion.wis and coverage_80 > 0.7"},
            errors=["404", "409"],
        ),
    )
    async def promote(request: AnyRequest, id: FromPath[str]) -> Response[Promotion]:
        no_parameters(request.scope)
        asked = await read_body(request, PromoteRequest)
        return encoded(await manager().promote(id, asked.version, asked.alias, asked.gate))

    @get(
        "/{id:str}/$compare",
        summary="The metrics of versions side by side",
        operation_id="models_compare",
        opt=documents(parameters=[_COMPARED], errors=["404"]),
    )
    async def compare(request: AnyRequest, id: FromPath[str]) -> Response[VersionComparison]:
        return encoded(await manager().compare(id, _numbers(request)))

    return Router(path=prefix, route_handlers=[find_all, query, create, find, update, promote, compare], tags=tags)


def version_number(text: str) -> int:
    """The number in a path. Raises `Invalid`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise Invalid(f'Invalid version "{text[:100]}": a version is a whole number from 1')
    return int(text)


def _version(version: ModelVersion, headers: dict[str, str] | None = None) -> Response[ModelVersion]:
    tag = entity_tag(timestamp_text(version.updated_at), _WHOLE)
    return encoded(version, {**(headers or {}), "etag": tag})


def _numbers(request: AnyRequest) -> list[int]:
    """The `versions` that are to be compared."""
    given = parameters(request.scope)
    if unknown := [name for name, _ in given if name != "versions"]:
        raise unknown_parameters(unknown, ("versions",))
    text = given[0][1] if len(given) == 1 else ""
    parts = text.split(",")
    if not 2 <= len(set(parts)) == len(parts) <= MOST_COMPARED:
        message = f'"versions" must be 2 to {MOST_COMPARED} different numbers separated by commas, such as 1,2'
        error = FieldError(type="value_error", loc=("query", "versions"), msg=message, input=text[:100])
        raise InvalidQuery(f"Invalid query: {message}", errors=[error])
    return [version_number(part) for part in parts]
