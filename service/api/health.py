"""`/health`: whether the service works, for people, orchestrators and Kubernetes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from litestar import Controller, Request, Response, Router, get
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from domain.health import CheckResult, HealthCheck, HealthState, HealthStatus, aggregate
from service.http.documented import documents
from service.http.query import no_parameters
from service.http.running import Running
from service.http.sse import POLL_INTERVAL, event, event_stream, pause, poll_interval

_encode = msgspec.json.Encoder().encode


class Probe:
    """Runs the checks of one service, all at once, each for at most `timeout_seconds`."""

    def __init__(self, checks: Mapping[str, HealthCheck], *, timeout_seconds: float = 5.0) -> None:
        self._checks = dict(checks)
        self._timeout_seconds = timeout_seconds

    async def status(self) -> HealthStatus:
        """The state of every check and of the whole."""
        if not self._checks:
            return HealthStatus(HealthState.HEALTHY)
        found = await asyncio.gather(*(self._run(check) for check in self._checks.values()))
        results = dict(zip(self._checks, found, strict=True))
        return HealthStatus(aggregate(result.state for result in results.values()), results)

    async def _run(self, check: HealthCheck) -> CheckResult:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await check()
        except TimeoutError:
            message = f"Check failed: no answer within {self._timeout_seconds:g} s"
            return CheckResult(HealthState.UNHEALTHY, message)
        except Exception as error:  # noqa: BLE001 - a check may fail in any way; that is what it is for
            return CheckResult(HealthState.UNHEALTHY, f"Check failed: {error}")


def health_router(path: str, probe: Probe, running: Running, tags: list[str]) -> Router:
    """The health routes under `path`."""

    class HealthController(Controller):
        @get("/", summary="Health of the service", responses={})
        async def health(self, request: Request[Any, Any, Any]) -> Response[HealthStatus]:
            no_parameters(request.scope)
            return _reply(await probe.status())

        @get("/live", summary="Whether the process answers at all")
        async def live(self) -> Response[HealthStatus]:
            return _reply(HealthStatus(HealthState.HEALTHY))

        @get("/ready", summary="Whether requests should be sent here")
        async def ready(self) -> Response[HealthStatus]:
            if running.draining.is_set():
                draining = CheckResult(HealthState.UNHEALTHY, "The service is stopping")
                return _reply(HealthStatus(HealthState.UNHEALTHY, {"draining": draining}))
            return _reply(await probe.status())

        @get(
            "/$stream",
            media_type="text/event-stream",
            summary="Health as server-sent events",
            opt=documents(parameters=[POLL_INTERVAL], errors=["422"]),
        )
        async def stream(self, request: Request[Any, Any, Any]) -> Stream:
            return event_stream(_events(probe, running, poll_interval(request, 1.0)))

    return Router(path=path, route_handlers=[HealthController], tags=tags)


def _reply(status: HealthStatus) -> Response[HealthStatus]:
    is_bad = status.status is HealthState.UNHEALTHY
    return Response(status, status_code=HTTP_503_SERVICE_UNAVAILABLE if is_bad else HTTP_200_OK)


async def _events(probe: Probe, running: Running, interval: float) -> AsyncIterator[bytes]:
    """One event per interval until the client goes or the server stops."""
    while not running.draining.is_set():
        yield event(_encode(await probe.status()))
        await pause(interval, running.draining)
