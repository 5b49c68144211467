"""`/api/v1/visualizations`: a table in, a chart out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from litestar import Request, Response, Router, post
from litestar.status_codes import HTTP_200_OK

from domain.charts import (
    AggregateRequest,
    Chart,
    Format,
    GenerateRequest,
    aggregate_chart,
    checked_format,
    generate_chart,
)
from domain.validation import problem, rejected
from service.http.body import decoded_large_body
from service.http.documented import documents
from service.http.dto import check_content_type
from service.http.pictures import PICTURES, shown
from service.http.query import no_parameters
from service.http.running import Running

AnyRequest = Request[Any, Any, Any]
Make = Callable[[bytes], tuple[Chart, Format]]

MOST_BYTES = 32 * 1024**2
_FRAME = {"columns": ["month", "cases"], "data": [["2024-01", 12], ["2024-02", 19]]}
_GENERATE = {"data": _FRAME, "chart_type": "line", "x_field": "month", "y_field": "cases"}
_AGGREGATE = {"data": _FRAME, "group_by": ["month"], "agg_field": "cases", "agg_func": "sum"}


def visualizations_router(prefix: str, running: Running, tags: Sequence[str]) -> Router:
    """The routes that draw tables, under `prefix`."""
    drawn = {"reply": Chart, "media_types": PICTURES, "errors": ["400", "413", "415", "422", "503"]}

    @post(
        "/$generate",
        status_code=HTTP_200_OK,
        summary="A chart of a table: its grammar, a picture or a page",
        operation_id="visualizations_generate",
        request_max_body_size=MOST_BYTES,
        opt=documents(has_effect=False, body=GenerateRequest, example=_GENERATE, **drawn),
    )
    async def generate(request: AnyRequest) -> Response[Any]:
        return await _answered(running, request, _generated)

    @post(
        "/$aggregate",
        status_code=HTTP_200_OK,
        summary="A chart of one number for each group of rows",
        operation_id="visualizations_aggregate",
        request_max_body_size=MOST_BYTES,
        opt=documents(has_effect=False, body=AggregateRequest, example=_AGGREGATE, **drawn),
    )
    async def aggregate(request: AnyRequest) -> Response[Any]:
        return await _answered(running, request, _aggregated)

    return Router(path=prefix, route_handlers=[generate, aggregate], tags=list(tags))


async def _answered(running: Running, request: AnyRequest, make: Make) -> Response[Any]:
    no_parameters(request.scope)
    body = await request.body()
    if not body:
        raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
    check_content_type(request)
    return shown(await running.charts.answered(partial(make, body)))


def _generated(body: bytes) -> tuple[Chart, Format]:
    asked: GenerateRequest = decoded_large_body(body, GenerateRequest)
    return generate_chart(asked), checked_format(asked.format)


def _aggregated(body: bytes) -> tuple[Chart, Format]:
    asked: AggregateRequest = decoded_large_body(body, AggregateRequest)
    return aggregate_chart(asked), checked_format(asked.format)
