"""`/api/v1/jobs`: what there is to do, what was done, and why it takes so long."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT
from litestar.types import ASGIApp, ControllerRouterHandler
from msgspec import Meta

from domain.bodies import Bodies
from domain.entity import Ulid
from domain.errors import FieldError, InvalidBody, InvalidQuery, NotFound, Unavailable
from domain.jobs import JOBS, Job, JobEvent, JobState, JobStatus, LogLine, QueueStats
from domain.query import NEWEST_FIRST, Resource, parse_parameters
from domain.query.parse import unknown_parameters
from domain.waiting import Why
from domain.wire import encode_struct
from service.http.body import read_body
from service.http.conditional import header
from service.http.crud import ResourceRoutes
from service.http.dto import read_model
from service.http.listing import list_response
from service.http.query import no_parameters, parameters
from service.http.reply import Reply
from service.http.running import Running
from service.http.schema import query_rules
from service.http.sse import HEARTBEAT, HEARTBEAT_SECONDS, event, event_stream, pause, poll_interval
from service.managers.jobs import MOST_LINES, Jobs

AnyRequest = Request[Any, Any, Any]
_encode = msgspec.json.Encoder().encode
_DELETED = b'{"status":"deleted"}'


class RequeueRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead jobs are to be run again; without `ids` the first `limit` of them, oldest first."""

    ids: Annotated[list[Ulid], Meta(max_length=1_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000


class Stats(msgspec.Struct, frozen=True):
    """How the queues stand; `total` is the number of jobs there are."""

    total: int
    queues: list[QueueStats]


def jobs_router(resource: Resource[Job], running: Running, tags: list[str]) -> Router:
    """The routes of jobs under the path of their resource."""
    routes = ResourceRoutes(resource, Bodies(resource), running)
    handlers: list[ControllerRouterHandler] = [routes.query(), routes.find()]
    handlers += [_find_all(running), _schema(), *_reads(running), *_changes(running)]
    return Router(path=resource.path, route_handlers=handlers, tags=tags)


def _find_all(running: Running) -> Any:
    @get("/", include_in_schema=False)
    async def find_all(request: AnyRequest) -> ASGIApp:
        manager = running.manager(JOBS.name)
        given = [
            ("status", _status(text)) if name == "status_filter" else (name, text) for name, text in _given(request)
        ]
        query = parse_parameters(manager.resource, given, key=running.secret) if given else NEWEST_FIRST
        return list_response(request, manager.resource, query, await manager.page(query), running.secret)

    return find_all


def _given(request: AnyRequest) -> list[tuple[str, str]]:
    return parameters(request.scope)


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
    @get("/$stats", summary="Depth, age and rates of every queue")
    async def stats(request: AnyRequest) -> Response[Stats]:
        no_parameters(request.scope)
        total = await running.manager(JOBS.name).count()
        return Response(Stats(total, await _jobs(running).stats()))

    @get("/{id:str}/$why", summary="Why the job is in its state")
    async def why(request: AnyRequest, id: FromPath[str]) -> Response[Why]:
        no_parameters(request.scope)
        return Response(await _jobs(running).why(id))

    @get("/{id:str}/$events", summary="The history of the job")
    async def events(request: AnyRequest, id: FromPath[str]) -> Response[list[JobEvent]]:
        after, limit = _window(request)
        return Response(await _jobs(running).events(id, after=after, limit=limit))

    @get("/{id:str}/$logs", summary="What the job wrote")
    async def logs(request: AnyRequest, id: FromPath[str]) -> Response[list[LogLine]]:
        after, limit = _window(request)
        return Response(await _jobs(running).logs(id, after=after, limit=limit))

    @get("/{id:str}/$result", summary="What the job returned")
    async def result(request: AnyRequest, id: FromPath[str]) -> Reply:
        no_parameters(request.scope)
        return Reply(await _jobs(running).result(id))

    @get("/{id:str}/$stream", media_type="text/event-stream", summary="The job as server-sent events")
    async def stream(request: AnyRequest, id: FromPath[str]) -> Stream | Response[None]:
        interval = poll_interval(request, 0.5)
        job = await _jobs(running).get(id)
        last = _last_event_id(request)
        if job.is_final and last is not None and last >= job.revision:
            # It has everything there is: a client that hears this does not come again.
            return Response(None, status_code=HTTP_204_NO_CONTENT)
        return event_stream(_changes_of(running, job, interval, last))

    return [stats, why, events, logs, result, stream]


def _changes(running: Running) -> list[Any]:
    @post("/{id:str}/$cancel", status_code=HTTP_202_ACCEPTED, summary="Cancel the job and keep its record")
    async def cancel(request: AnyRequest, id: FromPath[str]) -> Job:
        no_parameters(request.scope)
        return await _jobs(running).cancel(id)

    @post("/{id:str}/$retry", status_code=HTTP_202_ACCEPTED, summary="Let an ended job run again")
    async def retry(request: AnyRequest, id: FromPath[str]) -> Job:
        no_parameters(request.scope)
        return await _jobs(running).retry(id)

    @post("/$requeue", status_code=HTTP_200_OK, summary="Let dead jobs run again")
    async def requeue(request: AnyRequest) -> Response[dict[str, list[str]]]:
        no_parameters(request.scope)
        asked = await read_body(request, RequeueRequest, is_optional=True)
        jobs = await _jobs(running).requeue_dead(asked.ids, asked.limit)
        return Response({"requeued": [job.id for job in jobs]})

    @get("/$dead", include_in_schema=False)
    async def dead(request: AnyRequest) -> ASGIApp:
        manager = running.manager(JOBS.name)
        given = [("state", JobState.DEAD.value), *_given(request)]
        query = parse_parameters(manager.resource, given, key=running.secret)
        return list_response(request, manager.resource, query, await manager.page(query), running.secret)

    @delete("/{id:str}", status_code=HTTP_204_NO_CONTENT, summary="Cancel the job and remove it")
    async def remove(request: AnyRequest, id: FromPath[str]) -> None:
        no_parameters(request.scope)
        await _jobs(running).delete(id)

    return [cancel, retry, requeue, dead, remove]


def _jobs(running: Running) -> Jobs:
    return running.background.jobs


async def _changes_of(running: Running, job: Job, interval: float, last: int | None) -> AsyncIterator[bytes]:
    """The job whenever it has changed, until it has ended or is gone; a comment now and then keeps the line open."""
    sent, said = last or 0, time.monotonic()
    while True:
        if job.revision > sent:
            sent, said = job.revision, time.monotonic()
            yield event(encode_struct(job, without=JOBS.hidden), id=job.revision)
        if job.is_final or running.draining.is_set():
            return
        if time.monotonic() - said >= HEARTBEAT_SECONDS:
            said = time.monotonic()
            yield HEARTBEAT
        await pause(interval, running.draining)
        try:
            job = await _jobs(running).get(job.id)
        except NotFound:
            yield event(_DELETED)
            return
        except Unavailable:
            # The database is away; what it had to say comes later.
            continue


def _last_event_id(request: AnyRequest) -> int | None:
    text = header(request.scope, b"last-event-id")
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _window(request: AnyRequest) -> tuple[int, int]:
    """`after` and `limit` of a history or a log."""
    found = {"after": 0, "limit": MOST_LINES}
    for name, text in parameters(request.scope):
        if name not in found:
            raise unknown_parameters([name], tuple(found))
        low, high = (0, 2**62) if name == "after" else (1, MOST_LINES)
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
            message = f'"{name}" must be a whole number from {low} to {high}'
            error = FieldError(type="out_of_range", loc=("query", name), msg=message, input=text[:100])
            raise InvalidQuery(f"Invalid query: {message}", errors=[error])
        found[name] = int(text)
    return found["after"], found["limit"]
