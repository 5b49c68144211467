"""The outermost layer: every request, also one that no route answers, passes here first and last."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.types import (
    ASGIApp,
    HTTPResponseStartEvent,
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    Scope,
    Send,
)
from litestar.utils import normalize_path

from domain.context import Context, enter
from domain.entity import new_id
from domain.errors import Misconfigured
from domain.measures import Measures
from domain.query import Resource
from domain.query.resource import EntityT
from domain.registration import ServiceInfo
from service.http.apps import StaticApps, path_of
from service.http.problems import MEDIA_TYPE, allowed_methods, problem_bytes
from service.http.running import Running
from service.managers.artifacts import ArtifactManager
from service.managers.backtests import Backtests
from service.managers.base import Manager
from service.managers.computations import Computations
from service.managers.configs import ConfigManager
from service.managers.graphs import GraphManager
from service.managers.jobs import Jobs
from service.managers.ml import Models
from service.managers.monitoring import Monitoring
from service.managers.schedules import ScheduleManager

logger = logging.getLogger("millrace.http")
access_logger = logging.getLogger("millrace.access")

REQUEST_ID = b"x-request-id"
READINESS = b"x-millrace-readiness-token"
# The way from / to the documentation stands in where there is nothing at /.
_STAND_IN = "docs_from_/"
_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

Layer = Callable[[ASGIApp], ASGIApp]
"""Puts something around an ASGI app; it sees HTTP requests only, each with its context and its database."""


class Service(Litestar):
    """A Litestar app that gives every request an id and a context, answers HEAD, and logs what it did.

    `running` holds the managers while the app runs; `enter_request` makes the app's database the current one; `apps`
    are the static apps that answer where no route does; `takes_keys` says that requests may have an `Idempotency-Key`.
    """

    apps = StaticApps()
    running: Running
    enter_request: Callable[[], None]
    is_logging_requests: bool = False
    readiness_token: bytes | None = None
    local_port: int | None = None
    takes_keys = False
    info: ServiceInfo
    design: Any
    metrics_text: Callable[[], Awaitable[bytes]] | None = None
    settings: Any

    @property
    def jobs(self) -> Jobs:
        """The jobs of the service, while it runs; needs `with_tasks`. So do `graphs` and `schedules`."""
        return self.running.background.jobs

    @property
    def graphs(self) -> GraphManager:
        """The graphs of the service, while it runs."""
        return self.running.background.graphs

    @property
    def schedules(self) -> ScheduleManager:
        """The schedules of the service, while it runs."""
        return self.running.background.schedules

    @property
    def configs(self) -> ConfigManager:
        """The configurations of the service, while it runs; needs `with_config`."""
        return self.running.modelling.configs

    @property
    def artifacts(self) -> ArtifactManager:
        """The artifacts of the service, while it runs; needs `with_artifacts`."""
        return self.running.modelling.artifacts

    @property
    def models(self) -> Models:
        """The model of the service, while it runs; needs `with_ml`. So does `backtests`."""
        return self.running.modelling.models

    @property
    def backtests(self) -> Backtests:
        """Where models are tried on the past, while the service runs."""
        return self.running.modelling.backtests

    @property
    def measures(self) -> Measures:
        """What the service measures, to which you may add; needs `with_monitoring`. Raises `Misconfigured`."""
        monitoring: Monitoring | None = self.design.monitoring
        if monitoring is None:
            raise Misconfigured("the service measures nothing: call with_monitoring() on its builder")
        return monitoring.measures

    @property
    def cache(self) -> Computations:
        """Where results of any computation are kept, while the service runs; needs `with_cache`."""
        return self.running.cache

    def manager(self, resource: Resource[EntityT]) -> Manager[EntityT]:
        """The manager of a resource, while the app runs."""
        return self.running.manager(resource.name)

    def prepare(
        self,
        running: Running,
        enter_request: Callable[[], None],
        *,
        is_logging_requests: bool,
        layers: Sequence[Layer] = (),
    ) -> None:
        """Hand over what the outermost layer needs; called once by the builder. `layers` come outermost first."""
        self.running = running
        self.enter_request = enter_request
        self.is_logging_requests = is_logging_requests
        self._layered: ASGIApp = self._answer
        for layer in reversed(layers):
            self._layered = layer(self._layered)

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        request_id = _request_id(scope)
        enter(Context(request_id=request_id))
        self.enter_request()
        if scope["type"] == ScopeType.WEBSOCKET:
            await super().__call__(scope, receive, send)
            return
        exchange = _Exchange(scope, cast("Send", send), request_id)
        if self.readiness_token is not None and (READINESS, self.readiness_token) in scope["headers"]:
            # Whoever sends this can only have it from this very process.
            exchange.headers.append((READINESS, self.readiness_token))
        try:
            await self._layered(exchange.scope, cast("Receive", receive), exchange.send)
        except Exception:
            logger.exception("unhandled error in %s %s", exchange.method, scope["path"])
            if exchange.status:
                # The reply has begun; only a broken connection tells the client that it is not whole.
                raise
            await exchange.fail()
        finally:
            if self.is_logging_requests:
                exchange.log()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not await self._is_file_sent(cast("HTTPScope", scope), send):
            await super().__call__(scope, receive, send)

    async def _is_file_sent(self, scope: HTTPScope, send: Send) -> bool:
        """Answer from a static app, unless there is none for this path, or a route, or not this file."""
        path = path_of(scope)
        if not self.apps.covers(path) or self._has_route(path):
            return False
        return await self.apps.answer(scope, send, "HEAD" if scope.get("is_head") else scope["method"])

    def _has_route(self, path: str) -> bool:
        try:
            _, handler, *_ = self.asgi_router.handle_routing(path=normalize_path(path), method="GET")
        except NotFoundException:
            return False
        except HTTPException:
            # There is one, for other methods.
            return True
        return handler.name != _STAND_IN


class _Exchange:
    """One request and its reply: adds the request id, drops the body for HEAD, remembers status and time."""

    def __init__(self, scope: HTTPScope, send: Send, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.client = scope["client"]
        self.request_id = request_id
        self.status = 0
        self._send = send
        self._started = time.perf_counter()
        self.headers = [(REQUEST_ID, request_id.encode())]
        self.is_head = self.method == "HEAD"
        self._is_over = False
        # HEAD is GET without the body, for every route there is.
        self.scope = cast("HTTPScope", {**scope, "method": "GET", "is_head": True}) if self.is_head else scope

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # An app that somebody mounts may leave out what has a default.
            message["headers"] = [*message.get("headers", ()), *self.headers]
            if self.method == "OPTIONS":
                self._complete_allow(message)
        elif self.is_head and message["type"] == "http.response.body":
            if self._is_over:
                return
            # The first piece is the last: a stream would otherwise run for nobody.
            self._is_over = True
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _complete_allow(self, message: HTTPResponseStartEvent) -> None:
        """Litestar makes one OPTIONS answer per handler; a path with several handlers takes the methods of all."""
        names = [name for name, _ in message["headers"]]
        # Without Litestar it was a static app, which knows what it takes.
        if b"allow" in names and "litestar_app" in self.scope:
            allowed = ", ".join(allowed_methods(self.scope["litestar_app"], self.path)).encode()
            message["headers"] = [(name, allowed if name == b"allow" else value) for name, value in message["headers"]]

    async def fail(self) -> None:
        """Answer for an error that nothing else has answered."""
        body = problem_bytes(
            status=500,
            kind="internal",
            title="Internal Server Error",
            detail="An unexpected error occurred; the trace_id finds it in the log",
            instance=self.path,
        )
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def log(self) -> None:
        duration = round((time.perf_counter() - self._started) * 1000, 3)
        fields: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status_code": self.status,
            "duration_ms": duration,
            "client_host": self.client[0] if self.client else None,
        }
        if self.scope["query_string"]:
            fields["query"] = self.scope["query_string"].decode("latin-1")
        access_logger.info("http.request.complete", extra=fields)


def _request_id(scope: Scope) -> str:
    """The caller's `X-Request-ID` when it is harmless, otherwise a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            if _ACCEPTABLE_ID.fullmatch(value):
                return str(value, "ascii")
            break
    return new_id()
