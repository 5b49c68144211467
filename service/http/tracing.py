"""Makes every request a span, named after its route, in the trace that its headers name."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar.types import ASGIApp, Message, Receive, Send

from domain.context import current_context, enter
from domain.tracing import Role, Span, Tracer, checked_traceparent
from service.http.conditional import header
from service.http.methods import method_of
from service.http.routing import ROUTE, UNMATCHED

TRACEPARENT = b"traceparent"
# What a reply says of the trace that it is part of, as the second level of W3C Trace Context has it.
TRACERESPONSE = b"traceresponse"


def tracing_layer(find: Callable[[], Tracer | None]) -> Callable[[ASGIApp], ASGIApp]:
    """A layer that traces with the tracer that `find` returns, as long as there is one."""

    def layer(app: ASGIApp) -> ASGIApp:
        async def traced(scope: Any, receive: Receive, send: Send) -> None:
            tracer = find()
            if tracer is None:
                await app(scope, receive, send)
                return
            await _traced(tracer, app, scope, receive, send)

        return traced

    return layer


async def _traced(tracer: Tracer, app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    method = method_of(scope)
    context = current_context()
    attributes = {
        "http.request.method": method,
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "millrace.request_id": context.request_id,
    }
    parent = checked_traceparent(header(scope, TRACEPARENT) or "")
    span = tracer.start(method, Role.SERVER, parent, attributes)
    enter(msgspec.structs.replace(context, traceparent=span.traceparent))
    reply = _Noted(send, span)
    try:
        await app(scope, receive, reply.send)
    except Exception as error:
        span.fail(type(error).__name__)
        raise
    finally:
        route = scope.get(ROUTE) or scope.get("path_template")
        found: dict[str, str | int] = {"http.route": route} if route else {}
        if reply.status:
            found["http.response.status_code"] = reply.status
        if reply.status >= 500:
            span.fail(str(reply.status))
        span.update(f"{method} {route or UNMATCHED}", found)
        span.end()


class _Noted:
    """A reply on its way out, which is told of its trace and of which the status is noted."""

    def __init__(self, send: Send, span: Span) -> None:
        self._send = send
        self._span = span
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (TRACERESPONSE, self._span.traceparent.encode())]
        await self._send(message)
