"""`/api/v1/models/{model}/aliases`: what they point to, what they pointed to at any moment, and the way back."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT
from msgspec import Meta, Struct

from domain.errors import FieldError, InvalidQuery
from domain.model_versions import VERSIONS, Alias, AliasMove, Promotion
from domain.query.fields import WrongValue
from domain.query.parse import unknown_parameters
from service.http.body import read_body
from service.http.documented import documents
from service.http.parameters import query_parameter
from service.http.query import no_parameters, parameters
from service.http.reply import encoded
from service.http.running import Running
from service.managers.aliases import Aliases

AnyRequest = Request[Any, Any, Any]
_AS_OF = query_parameter("as_of", "At this moment instead of now", {"type": "string", "format": "date-time"})
_LONGEST = 64


class AliasRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version an alias is to point to."""

    version: Annotated[int, Meta(ge=1, le=999_999_999)]


def aliases_router(prefix: str, running: Running, tags: list[str]) -> Router:
    """The aliases of the models under `prefix`."""

    def manager() -> Aliases:
        return running.modelling.versions.aliases

    dated = documents(parameters=[_AS_OF], errors=["404"])
    found = documents(errors=["404"])
    changed = documents(errors=["404", "409"])

    @get("/{id:str}/aliases", summary="What the aliases point to", operation_id="aliases_find_all", opt=dated)
    async def find_all(request: AnyRequest, id: FromPath[str]) -> Response[list[Alias]]:
        return encoded(await manager().find_all(id, _as_of(request)))

    @get("/{id:str}/aliases/{alias:str}", summary="What an alias points to", operation_id="aliases_find", opt=dated)
    async def find(request: AnyRequest, id: FromPath[str], alias: FromPath[str]) -> Response[Alias]:
        return encoded(await manager().get(id, alias, _as_of(request)))

    @get(
        "/{id:str}/aliases/{alias:str}/$history",
        summary="Everything an alias has pointed to, newest first",
        operation_id="aliases_history",
        opt=found,
    )
    async def history(request: AnyRequest, id: FromPath[str], alias: FromPath[str]) -> Response[list[AliasMove]]:
        no_parameters(request.scope)
        return encoded(await manager().history(id, alias))

    @put(
        "/{id:str}/aliases/{alias:str}",
        summary="Have an alias point to a version, without a gate",
        operation_id="aliases_put",
        opt=documents(body=AliasRequest, example={"version": 1}, errors=["404", "409"]),
    )
    async def replace(request: AnyRequest, id: FromPath[str], alias: FromPath[str]) -> Response[Promotion]:
        no_parameters(request.scope)
        asked = await read_body(request, AliasRequest)
        return encoded(await manager().put(id, alias, asked.version))

    @delete(
        "/{id:str}/aliases/{alias:str}",
        status_code=HTTP_204_NO_CONTENT,
        summary="Have an alias point to nothing; its history stays",
        operation_id="aliases_delete",
        opt=changed,
    )
    async def remove(request: AnyRequest, id: FromPath[str], alias: FromPath[str]) -> None:
        no_parameters(request.scope)
        await manager().remove(id, alias)

    @post(
        "/{id:str}/aliases/{alias:str}/$rollback",
        status_code=HTTP_200_OK,
        summary="Have an alias point to what it pointed to before",
        operation_id="aliases_rollback",
        opt=changed,
    )
    async def rollback(request: AnyRequest, id: FromPath[str], alias: FromPath[str]) -> Response[Promotion]:
        no_parameters(request.scope)
        return encoded(await manager().rollback(id, alias))

    return Router(path=prefix, route_handlers=[find_all, find, history, replace, remove, rollback], tags=tags)


def _as_of(request: AnyRequest) -> datetime | None:
    """The moment that is asked for, None for now."""
    given = parameters(request.scope)
    if unknown := [name for name, _ in given if name != "as_of"]:
        raise unknown_parameters(unknown, ("as_of",))
    if not given:
        return None
    text = given[-1][1]
    try:
        moment: datetime = VERSIONS.fields["created_at"].coerce(text, text=True, longest=_LONGEST)
    except WrongValue as wrong:
        error = FieldError(type="value_error", loc=("query", "as_of"), msg=f'"as_of" {wrong}', input=text[:100])
        raise InvalidQuery(f"Invalid query: {error.msg}", errors=[error]) from None
    return moment
