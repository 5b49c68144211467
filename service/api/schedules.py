"""`/api/v1/schedules`: tasks that run by the clock. CRUD is that of every resource; this is what they have besides."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_202_ACCEPTED
from msgspec import Meta

from domain.cron import parse_zone
from domain.errors import FieldError, InvalidQuery
from domain.query.parse import unknown_parameters
from domain.schedules import SCHEDULES, Tick
from domain.wire import timestamp_text
from service.http.body import read_body
from service.http.crud import location
from service.http.documented import documents
from service.http.parameters import query_parameter
from service.http.query import no_parameters, parameters
from service.http.reply import encoded
from service.http.running import Running
from service.managers.schedules import Backfilled

AnyRequest = Request[Any, Any, Any]
MOST_PREVIEWED = 100
_COUNT = query_parameter("count", "How many at most", {"type": "integer", "minimum": 1, "maximum": MOST_PREVIEWED})
_EXAMPLE = {"start": "2025-01-01T00:00:00Z", "end": "2025-01-08T00:00:00Z"}


class Moment(msgspec.Struct, frozen=True):
    """When a schedule fires: in UTC, and in its own time zone."""

    fire_at: str
    local: str


class BackfillRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which ticks are made up for: from `start`, up to and without `end`."""

    start: Annotated[datetime, Meta(tz=True)]
    end: Annotated[datetime, Meta(tz=True)]


class Triggered(msgspec.Struct, frozen=True):
    """The job that was submitted; `is_duplicate` says that it was there before, with the same unique key."""

    job_id: str
    message: str
    is_duplicate: bool = False


def schedules_router(prefix: str, jobs_prefix: str, running: Running) -> Router:
    """The operations on schedules under `prefix`; jobs are under `jobs_prefix`."""

    counted = documents(errors=["404"], parameters=[_COUNT])

    @get("/{id:str}/$preview", summary="When the schedule fires next", operation_id="schedules_preview", opt=counted)
    async def preview(request: AnyRequest, id: FromPath[str]) -> Response[list[Moment]]:
        count = _count(request, 10)
        schedules = running.background.schedules
        zone = parse_zone((await schedules.get(id)).time_zone)
        found = await schedules.preview(id, count)
        return encoded([Moment(timestamp_text(at), at.astimezone(zone).isoformat()) for at in found])

    @get("/{id:str}/$ticks", summary="What became of the latest ticks", operation_id="schedules_ticks", opt=counted)
    async def ticks(request: AnyRequest, id: FromPath[str]) -> Response[list[Tick]]:
        count = _count(request, 100)
        return encoded(await running.background.schedules.ticks(id, count))

    made = documents(errors=["404", "409", "422"], has_location=True)

    @post(
        "/{id:str}/$trigger",
        status_code=HTTP_202_ACCEPTED,
        summary="Run the task now",
        operation_id="schedules_trigger",
        opt=made,
    )
    async def trigger(request: AnyRequest, id: FromPath[str]) -> Response[Triggered]:
        no_parameters(request.scope)
        submitted = await running.background.schedules.trigger(id)
        job = submitted.job
        message = "This job is there already" if submitted.is_duplicate else "Job submitted"
        reply = Triggered(job.id, f"{message}. Job ID: {job.id}", submitted.is_duplicate)
        return encoded(reply, {"location": location(request, f"{jobs_prefix}/{job.id}")})

    span = documents(body=BackfillRequest, example=_EXAMPLE, errors=["404", "409"])

    @post(
        "/{id:str}/$backfill",
        status_code=HTTP_202_ACCEPTED,
        summary="Run the task for ticks of the past",
        operation_id="schedules_backfill",
        opt=span,
    )
    async def backfill(request: AnyRequest, id: FromPath[str]) -> Response[Backfilled]:
        no_parameters(request.scope)
        asked = await read_body(request, BackfillRequest)
        return encoded(await running.background.schedules.backfill(id, asked.start, asked.end))

    return Router(path=prefix, route_handlers=[preview, ticks, trigger, backfill], tags=[SCHEDULES.name])


def _count(request: AnyRequest, default: int) -> int:
    """The `count` of a list that has no other parameter."""
    for name, text in parameters(request.scope):
        if name != "count":
            raise unknown_parameters([name], ("count",))
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST_PREVIEWED):
            message = f'"count" must be a whole number from 1 to {MOST_PREVIEWED}'
            error = FieldError(type="out_of_range", loc=("query", "count"), msg=message, input=text[:100])
            raise InvalidQuery(f"Invalid query: {message}", errors=[error])
        return int(text)
    return default
