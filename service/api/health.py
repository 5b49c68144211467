"""`/health`: whether the service works, for people, orchestrators and Kubernetes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Controller, Request, Response, Router, get
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from domain.errors import FieldError, InvalidPage
from domain.health import CheckResult, HealthCheck, HealthState, HealthStatus, aggregate
from service.http.query import no_parameters, parameters
from service.http.running import Running

SSE_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}
_MAX_INTERVAL = 60.0
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
        )
        async def stream(self, request: Request[Any, Any, Any]) -> Stream:
            interval = poll_interval(request)
            events = _events(probe, running, interval)
            return Stream(events, media_type="text/event-stream", headers=SSE_HEADERS)

    return Router(path=path, route_handlers=[HealthController], tags=tags)


def _reply(status: HealthStatus) -> Response[HealthStatus]:
    is_bad = status.status is HealthState.UNHEALTHY
    return Response(status, status_code=HTTP_503_SERVICE_UNAVAILABLE if is_bad else HTTP_200_OK)


async def _events(probe: Probe, running: Running, interval: float) -> AsyncIterator[bytes]:
    """One event per interval until the client goes or the server stops."""
    while not running.draining.is_set():
        yield b"data: " + _encode(await probe.status()) + b"\n\n"
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await running.draining.wait()


def poll_interval(request: Request[Any, Any, Any]) -> float:
    """The `poll_interval` of a stream in seconds, more than 0 and at most 60; 1.0 when it is not given."""
    for name, text in parameters(request.scope):
        try:
            seconds = float(text) if name == "poll_interval" else -1.0
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= _MAX_INTERVAL:
            message = f'"{name}" must be a number of seconds, more than 0 and at most {_MAX_INTERVAL:g}'
            if name != "poll_interval":
                message = f'unknown parameter "{name}"; allowed: poll_interval'
            error = FieldError(type="out_of_range", loc=("query", name), msg=message, input=text[:100])
            raise InvalidPage(f"Request validation failed: {message}", errors=[error])
        return seconds
    return 1.0
