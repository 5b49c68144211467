"""`/api/v1/jobs/{id}/$stream`: a job as server-sent events."""

import time
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, Router, get
from litestar.params import FromPath
from litestar.response import Stream
from litestar.status_codes import HTTP_204_NO_CONTENT

from domain.errors import NotFound, Unavailable
from domain.jobs import JOBS, Job
from domain.wire import encode_struct
from service.http.conditional import header
from service.http.documented import documents
from service.http.parameters import header_parameter
from service.http.running import Running
from service.http.sse import (
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    POLL_INTERVAL,
    event,
    event_stream,
    pause,
    poll_interval,
)

AnyRequest = Request[Any, Any, Any]

_DELETED = b'{"status":"deleted"}'
_LAST_EVENT_ID = header_parameter("Last-Event-ID", "The id of the last event that the client got")


def job_streams_router(jobs_prefix: str, running: Running, tags: list[str]) -> Router:
    """The stream of a job; jobs are under `jobs_prefix`."""
    taken = documents(
        errors=["404", "422"],
        parameters=[POLL_INTERVAL, _LAST_EVENT_ID],
        others={"204": "The client has had the last event"},
    )

    @get(
        "/{id:str}/$stream",
        media_type="text/event-stream",
        summary="The job as server-sent events",
        description="One event for every change; the last one says how the job has ended.",
        operation_id="jobs_stream",
        opt=taken,
    )
    async def stream(request: AnyRequest, id: FromPath[str]) -> Stream | Response[None]:
        interval = poll_interval(request, 0.5)
        job = await running.background.jobs.get(id)
        last = _last_event_id(request)
        if job.is_final and last == job.revision:
            # It has everything there is: a client that hears this does not come again.
            return Response(None, status_code=HTTP_204_NO_CONTENT)
        # Who claims to know what has not happened yet knows nothing.
        return event_stream(_changes_of(running, job, interval, last if last <= job.revision else 0))

    return Router(path=jobs_prefix, route_handlers=[stream], tags=tags)


async def _changes_of(running: Running, job: Job, interval: float, last: int) -> AsyncIterator[bytes]:
    """The job whenever it has changed, until it has ended or is gone; a comment now and then keeps the line open."""
    sent, said = last, time.monotonic()
    while True:
        if job.revision > sent:
            sent, said = job.revision, time.monotonic()
            yield event(encode_struct(job, without=JOBS.hidden), id=job.revision)
        if job.is_final or running.draining.is_set():
            return
        if time.monotonic() - said >= HEARTBEAT_SECONDS:
            said = time.monotonic()
            yield HEARTBEAT
        await pause(min(interval, HEARTBEAT_SECONDS), running.draining)
        try:
            job = await running.background.jobs.get(job.id)
        except NotFound:
            yield event(_DELETED)
            return
        except Unavailable:
            # The database is away; what it had to say comes later.
            continue


def _last_event_id(request: AnyRequest) -> int:
    """The revision that the client has, 0 for none."""
    text = header(request.scope, b"last-event-id")
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else 0
