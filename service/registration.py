"""Puts together what keeps a service registered, for as long as it runs."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from domain.health import CheckResult, HealthState
from domain.orchestrator import RegistrationOptions, destination
from domain.registration import ServiceInfo, registration_document
from service.managers.registration import Registration
from service.settings import Settings


class Registering:
    """Registers an app while it runs. `token` is what it recognises itself by."""

    def __init__(
        self, info: ServiceInfo, options: RegistrationOptions, settings: Settings, health_path: str | None
    ) -> None:
        self.token = secrets.token_hex(16)
        self._info = info
        self._options = options
        self._settings = settings
        self._path = health_path or "/api/v1/info"
        self._registration: Registration | None = None

    async def check(self) -> CheckResult:
        """The health check named `registration`."""
        return await self._registration.check() if self._registration else CheckResult(HealthState.HEALTHY)

    @asynccontextmanager
    async def running(self, local_port: Callable[[], int | None]) -> AsyncIterator[None]:
        """Keep the app registered during the block, and take it off the list afterwards."""
        served = local_port() or self._settings.port
        where = destination(self._options, os.environ, socket.gethostname(), served)
        if where is None:
            yield
            return
        # A service that registers nowhere has no use for an HTTP client.
        from infra.http.orchestrator import HttpOrchestrator

        def own_url() -> str:
            port = local_port() or self._options.local_port or self._settings.port
            return f"http://127.0.0.1:{port}{self._path}"

        orchestrator = HttpOrchestrator(where, self._options.timeout)
        document = registration_document(self._info, self._settings.code_revision)
        registration = self._registration = Registration(
            self._info.id, document, self._options, orchestrator, own_url, self.token, _stop_service
        )
        keeping = asyncio.create_task(registration.run())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            # Of several processes of a service each would take the others off the list as well.
            if self._settings.workers == 1:
                await registration.stop()
            await orchestrator.close()
            self._registration = None


def _stop_service() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
