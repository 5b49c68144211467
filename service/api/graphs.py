"""`/api/v1/graphs`: tasks that depend on each other, submitted in one request."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT

from domain.bodies import Bodies
from domain.graphs import Graph, GraphRequest
from domain.jobs import Name
from domain.query import Resource
from service.http.body import read_body
from service.http.crud import ResourceRoutes, location
from service.http.documented import documents
from service.http.query import no_parameters
from service.http.reply import encoded
from service.http.running import Running
from service.managers.graphs import GraphView

AnyRequest = Request[Any, Any, Any]
_EXAMPLE = {
    "label": "nightly",
    "nodes": {
        "fetch": {"task": "fetch"},
        "count": {"task": "count", "depends_on": ["fetch"]},
        "clean": {"task": "clean", "depends_on": {"count": "always"}},
    },
}


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which node on a graph is run again; without one, from all that failed or were canceled."""

    node: Name | None = None


def graphs_router(resource: Resource[Graph], running: Running, tags: list[str]) -> Router:
    """The routes of graphs under the path of their resource."""

    taken = documents(body=GraphRequest, example=_EXAMPLE, errors=["409"], has_location=True)

    @post("/", status_code=HTTP_202_ACCEPTED, summary="Submit a graph", operation_id="graphs_submit", opt=taken)
    async def submit(request: AnyRequest) -> Response[GraphView]:
        no_parameters(request.scope)
        view = await running.background.graphs.submit(await read_body(request, GraphRequest))
        return encoded(view, {"location": location(request, f"{resource.path}/{view.id}")})

    known = documents(errors=["404"])

    @get("/{id:str}", summary="A graph with the states of its nodes", operation_id="graphs_find", opt=known)
    async def find(request: AnyRequest, id: FromPath[str]) -> Response[GraphView]:
        no_parameters(request.scope)
        return encoded(await running.background.graphs.view(id))

    @post(
        "/{id:str}/$cancel",
        status_code=HTTP_202_ACCEPTED,
        summary="Cancel all nodes that have not ended",
        operation_id="graphs_cancel",
        opt=known,
    )
    async def cancel(request: AnyRequest, id: FromPath[str]) -> Response[GraphView]:
        no_parameters(request.scope)
        return encoded(await running.background.graphs.cancel(id))

    start = documents(body=RerunRequest, is_body_optional=True, example={}, errors=["404", "409"])

    @post(
        "/{id:str}/$rerun",
        status_code=HTTP_202_ACCEPTED,
        summary="Run a node and what depends on it again",
        operation_id="graphs_rerun",
        opt=start,
    )
    async def rerun(request: AnyRequest, id: FromPath[str]) -> Response[GraphView]:
        no_parameters(request.scope)
        asked = await read_body(request, RerunRequest, is_optional=True)
        return encoded(await running.background.graphs.rerun(id, asked.node))

    @delete(
        "/{id:str}",
        status_code=HTTP_204_NO_CONTENT,
        summary="Cancel a graph and remove it with its jobs",
        operation_id="graphs_delete",
        opt=known,
    )
    async def remove(request: AnyRequest, id: FromPath[str]) -> None:
        no_parameters(request.scope)
        await running.background.graphs.delete(id)

    routes = ResourceRoutes(resource, Bodies(resource), running)
    listed = [routes.find_all(), routes.query(), routes.schema(), routes.stats()]
    return Router(path=resource.path, route_handlers=[*listed, submit, find, cancel, rerun, remove], tags=tags)
