"""`/metrics`: how the service is doing, in the text format of Prometheus."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar import Request, Response, Router, get

from service.http.query import no_parameters

# Litestar adds the charset.
MEDIA_TYPE = "text/plain; version=0.0.4"


def metrics_router(path: str, text: Callable[[], Awaitable[bytes]], tags: Sequence[str]) -> Router:
    """The route of the metrics at `path`."""

    @get(
        "/",
        summary="Metrics of the service",
        operation_id="metrics",
        media_type="text/plain",
    )
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        no_parameters(request.scope)
        return Response(await text(), media_type=MEDIA_TYPE)

    return Router(path=path, route_handlers=[metrics], tags=list(tags))
