"""`/api/v1/jobs`: what there is to do, what was done, and why it takes so long."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT
from litestar.types import ASGIApp, ControllerRouterHandler
from msgspec import Meta

from domain.bodies import Bodies
from domain.entity import Ulid
from domain.errors import FieldError, InvalidBody, InvalidQuery
from domain.jobs import JOBS, Job, JobEvent, JobState, JobStatus, LogLine, QueueStats
from domain.query import NEWEST_FIRST, Resource, parse_parameters
from domain.query.parse import unknown_parameters
from domain.waiting import Why
from domain.wire import encode_struct
from service.http.body import read_body
from service.http.crud import ResourceRoutes
from service.http.documented import documents
from service.http.dto import read_model
from service.http.listing import list_response
from service.http.parameters import Json, query_parameter
from service.http.query import no_parameters, parameters
from service.http.reply import Reply, encoded
from service.http.running import Running
from service.http.schema import query_rules
from service.managers.jobs import MOST_LINES, Jobs

AnyRequest = Request[Any, Any, Any]
_encode = msgspec.json.Encoder().encode

STATUS_FILTER = query_parameter("status_filter", "Only jobs with this status", {"enum": [*JobStatus]})
_AFTER = query_parameter("after", "The `sequence` behind which to begin", {"type": "integer", "minimum": 0})
_LIMIT = query_parameter("limit", "How many at most", {"type": "integer", "minimum": 1, "maximum": MOST_LINES})


_THEN = datetime(2025, 1, 31, 12, tzinfo=UTC)
_SHOWN = Job(
    id="01K5T0V9G8ZJ8Q6N4X3B7RM2WD",
    kind="count",
    args={"rows": 3},
    submitted_at=_THEN,
    run_at=_THEN,
    updated_at=_THEN,
)
EXAMPLE: Json = msgspec.json.decode(encode_struct(_SHOWN, without=JOBS.hidden))


class RequeueRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead jobs are to be run again; without `ids` the first `limit` of them, oldest first."""

    ids: Annotated[list[Ulid], Meta(max_length=1_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000


class Requeued(msgspec.Struct, frozen=True):
    """The ids of the jobs that will run again, and why those cannot that were left out, by their ids."""

    requeued: list[str]
    left_out: dict[str, str]


class Stats(msgspec.Struct, frozen=True):
    """How the queues stand; `total` is the number of jobs there are."""

    total: int
    queues: list[QueueStats]


def jobs_router(resource: Resource[Job], running: Running, tags: list[str]) -> Router:
    """The routes of jobs under the path of their resource."""
    routes = ResourceRoutes(resource, Bodies(resource), running)
    handlers: list[ControllerRouterHandler] = [routes.query(), routes.find()]
    handlers += [_find_all(running), _schema(), *_reads(running), *_changes(running), *_dead(running)]
    return Router(path=resource.path, route_handlers=handlers, tags=tags)


def _find_all(running: Running) -> Any:
    @get("/", include_in_schema=False)
    async def find_all(request: AnyRequest) -> ASGIApp:
        manager = running.manager(JOBS.name)
        given = [
            ("status", _status(text)) if name == "status_filter" else (name, text)
            for name, text in parameters(request.scope)
        ]
        query = parse_parameters(manager.resource, given, key=running.secret) if given else NEWEST_FIRST
        return list_response(request, manager.resource, query, await manager.page(query), running.secret)

    return find_all


def _status(text: str) -> str:
    if text not in tuple(JobStatus):
        allowed = tuple(JobStatus)
        message = f'"status_filter" must be one of {", ".join(allowed)}'
        error = FieldError(
            type="enum",
            loc=("query", "status_filter"),
            msg=message,
            input=text[:100],
            allowed=allowed,
            pointer="/status_filter",
        )
        raise InvalidBody(f"Request validation failed: {message}", errors=[error])
    return text


def _schema() -> Any:
    shown: Any = list.__class_getitem__(read_model(JOBS))
    (top,), definitions = msgspec.json.schema_components([shown], ref_template="#/$defs/{name}")
    body = _encode(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **top,
            "$defs": definitions,
            "x-query": query_rules(JOBS),
        }
    )

    @get("/$schema", include_in_schema=False)
    async def schema(request: AnyRequest) -> ASGIApp:
        no_parameters(request.scope)
        return Reply(body)

    return schema


def _reads(running: Running) -> list[Any]:
    @get("/$stats", summary="Depth, age and rates of every queue", operation_id="jobs_stats", opt=documents())
    async def stats(request: AnyRequest) -> Response[Stats]:
        no_parameters(request.scope)
        total = await running.manager(JOBS.name).count()
        return encoded(Stats(total, await _jobs(running).stats()))

    known = documents(errors=["404"])

    @get("/{id:str}/$why", summary="Why the job is in its state", operation_id="jobs_why", opt=known)
    async def why(request: AnyRequest, id: FromPath[str]) -> Response[Why]:
        no_parameters(request.scope)
        return encoded(await _jobs(running).why(id))

    lines = documents(errors=["404"], parameters=[_AFTER, _LIMIT])

    @get("/{id:str}/$events", summary="The history of the job", operation_id="jobs_events", opt=lines)
    async def events(request: AnyRequest, id: FromPath[str]) -> Response[list[JobEvent]]:
        after, limit = _window(request)
        return encoded(await _jobs(running).events(id, after=after, limit=limit))

    @get("/{id:str}/$logs", summary="What the job wrote", operation_id="jobs_logs", opt=lines)
    async def logs(request: AnyRequest, id: FromPath[str]) -> Response[list[LogLine]]:
        after, limit = _window(request)
        return encoded(await _jobs(running).logs(id, after=after, limit=limit))

    ended = documents(errors=["404", "409"])

    @get("/{id:str}/$result", summary="What the job returned", operation_id="jobs_result", opt=ended)
    async def result(request: AnyRequest, id: FromPath[str]) -> Reply:
        no_parameters(request.scope)
        return Reply(await _jobs(running).result(id))

    return [stats, why, events, logs, result]


def _changes(running: Running) -> list[Any]:
    change = documents(errors=["404", "409"])

    @post(
        "/{id:str}/$cancel",
        status_code=HTTP_202_ACCEPTED,
        summary="Cancel the job and keep its record",
        operation_id="jobs_cancel",
        opt=change,
    )
    async def cancel(request: AnyRequest, id: FromPath[str]) -> Job:
        no_parameters(request.scope)
        return await _jobs(running).cancel(id)

    @post(
        "/{id:str}/$retry",
        status_code=HTTP_202_ACCEPTED,
        summary="Let an ended job run again",
        operation_id="jobs_retry",
        opt=change,
    )
    async def retry(request: AnyRequest, id: FromPath[str]) -> Job:
        no_parameters(request.scope)
        return await _jobs(running).retry(id)

    @delete(
        "/{id:str}",
        status_code=HTTP_204_NO_CONTENT,
        summary="Cancel the job and remove it",
        operation_id="jobs_delete",
        opt=documents(errors=["404"]),
    )
    async def remove(request: AnyRequest, id: FromPath[str]) -> None:
        no_parameters(request.scope)
        await _jobs(running).delete(id)

    return [cancel, retry, remove]


def _dead(running: Running) -> list[Any]:
    """The jobs that have used up their attempts."""
    which = documents(body=RequeueRequest, is_body_optional=True, example={"limit": 100}, errors=["409"])

    @post(
        "/$requeue",
        status_code=HTTP_200_OK,
        summary="Let dead jobs run again",
        operation_id="jobs_requeue",
        opt=which,
    )
    async def requeue(request: AnyRequest) -> Response[Requeued]:
        no_parameters(request.scope)
        asked = await read_body(request, RequeueRequest, is_optional=True)
        found = await _jobs(running).requeue_dead(asked.ids, asked.limit)
        return encoded(Requeued([job.id for job in found.jobs], found.left_out))

    @get("/$dead", include_in_schema=False)
    async def dead(request: AnyRequest) -> ASGIApp:
        manager = running.manager(JOBS.name)
        given = [("state", JobState.DEAD.value), *parameters(request.scope)]
        query = parse_parameters(manager.resource, given, key=running.secret)
        return list_response(request, manager.resource, query, await manager.page(query), running.secret)

    return [requeue, dead]


def _jobs(running: Running) -> Jobs:
    return running.background.jobs


def _window(request: AnyRequest) -> tuple[int, int]:
    """`after` and `limit` of a history or a log."""
    found = {"after": 0, "limit": MOST_LINES}
    for name, text in parameters(request.scope):
        if name not in found:
            raise unknown_parameters([name], tuple(found))
        low, high = (0, 2**62) if name == "after" else (1, MOST_LINES)
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
            message = f'"{name}" must be a whole number from {low} to {high}'
            error = FieldError(type="out_of_range", loc=("query", name), msg=message, input=text[:100])
            raise InvalidQuery(f"Invalid query: {message}", errors=[error])
        found[name] = int(text)
    return found["after"], found["limit"]
