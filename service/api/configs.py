"""HTTP for configurations beyond what every resource has: their schema, and the artifacts that belong to them."""

from typing import Any

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_204_NO_CONTENT
from litestar.types import ASGIApp

from domain.entity import Ulid
from service.http.body import read_body
from service.http.documented import documents
from service.http.query import no_parameters
from service.http.reply import Reply
from service.http.running import Running

AnyRequest = Request[Any, Any, Any]


class LinkRequest(msgspec.Struct, frozen=True):
    """Which artifact is meant."""

    artifact_id: Ulid


def config_links_router(prefix: str, running: Running, tags: list[str]) -> Router:
    """The operations on the artifacts of configurations under `prefix`."""
    linking = documents(body=LinkRequest, errors=["400", "404", "409", "422"])

    @post(
        "/{id:str}/$link-artifact",
        status_code=HTTP_204_NO_CONTENT,
        summary="Have a tree of artifacts belong to a configuration",
        operation_id="configs_link_artifact",
        opt=linking,
    )
    async def link(request: AnyRequest, id: FromPath[str]) -> None:
        no_parameters(request.scope)
        asked = await read_body(request, LinkRequest)
        await running.modelling.configs.link(id, asked.artifact_id)

    @post(
        "/{id:str}/$unlink-artifact",
        status_code=HTTP_204_NO_CONTENT,
        summary="Have a tree of artifacts no longer belong to a configuration",
        operation_id="configs_unlink_artifact",
        opt=linking,
    )
    async def unlink(request: AnyRequest, id: FromPath[str]) -> None:
        no_parameters(request.scope)
        asked = await read_body(request, LinkRequest)
        await running.modelling.configs.unlink(id, asked.artifact_id)

    @get(
        "/{id:str}/$artifacts",
        summary="The artifacts of a configuration, with their content",
        operation_id="configs_artifacts",
        opt=documents(errors=["400"]),
    )
    async def artifacts(request: AnyRequest, id: FromPath[str]) -> ASGIApp:
        no_parameters(request.scope)
        found = await running.modelling.configs.linked(id)
        return Reply(b"[" + b",".join(found) + b"]")

    return Router(path=prefix, route_handlers=[link, unlink, artifacts], tags=tags)
