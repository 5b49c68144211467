"""HTTP for artifacts beyond what every resource has: trees, metadata, and the content as a file."""

from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.params import FromPath
from litestar.response import Stream

from domain.configs import Config
from service.http.documented import documents
from service.http.query import no_parameters
from service.http.reply import encoded
from service.http.running import Running

AnyRequest = Request[Any, Any, Any]


def artifacts_router(prefix: str, running: Running, tags: list[str], *, has_configs: bool) -> Router:
    """The operations on artifacts under `prefix`; `has_configs` says that they may belong to configurations."""
    known = documents(errors=["400", "404"])

    @get("/{id:str}/$tree", summary="An artifact and everything below it", operation_id="artifacts_tree", opt=known)
    async def tree(request: AnyRequest, id: FromPath[str]) -> Response[dict[str, Any]]:
        no_parameters(request.scope)
        return Response(await running.modelling.artifacts.tree(id), media_type=MediaType.JSON)

    @get("/{id:str}/$expand", summary="An artifact and its level", operation_id="artifacts_expand", opt=known)
    async def expand(request: AnyRequest, id: FromPath[str]) -> Response[dict[str, Any]]:
        no_parameters(request.scope)
        return Response(await running.modelling.artifacts.expand(id), media_type=MediaType.JSON)

    @get("/{id:str}/$metadata", summary="What is said of an artifact", operation_id="artifacts_metadata", opt=known)
    async def metadata(request: AnyRequest, id: FromPath[str]) -> Response[dict[str, Any]]:
        no_parameters(request.scope)
        return Response(await running.modelling.artifacts.metadata(id), media_type=MediaType.JSON)

    @get("/{id:str}/$download", summary="The content as a file", operation_id="artifacts_download", opt=known)
    async def download(request: AnyRequest, id: FromPath[str]) -> Stream:
        no_parameters(request.scope)
        found = await running.modelling.artifacts.download(id)
        headers = {
            "content-disposition": f"attachment; filename={found.name}",
            "content-length": str(found.size),
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
        }
        return Stream(found.pieces, media_type=found.media_type, headers=headers)

    @get("/{id:str}/$config", summary="The configuration it belongs to", operation_id="artifacts_config", opt=known)
    async def config(request: AnyRequest, id: FromPath[str]) -> Response[Config]:
        no_parameters(request.scope)
        return encoded(await running.modelling.configs.of_artifact(id))

    handlers = [tree, expand, metadata, download, *([config] if has_configs else [])]
    return Router(path=prefix, route_handlers=handlers, tags=tags)
