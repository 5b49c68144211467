"""The running of an app: opened with its server, closed with it, and everything between the two."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from litestar import Litestar

from domain.health import CheckResult
from domain.idempotency import Replies
from infra.telemetry.logging import configure_logging
from service.background import Opened
from service.container import Container, database_check, open_container
from service.design import Design
from service.http.running import Running
from service.managers.worker import Worker
from service.registration import Registering
from service.settings import Settings

logger = logging.getLogger("millrace")

# How long a service is without a worker when its own has failed.
PAUSE_SECONDS = 1.0

Hook = Callable[..., Awaitable[None]]
"""An async function of the user's; it may take the app."""


class Lifespan:
    """Opens the container of one app for as long as the app runs. `container` is None before and after."""

    def __init__(
        self,
        settings: Settings,
        design: Design,
        running: Running,
        *,
        starts: Sequence[Hook] = (),
        stops: Sequence[Hook] = (),
        is_logging: bool = False,
        registering: Registering | None = None,
    ) -> None:
        self.container: Container | None = None
        self._settings = settings
        self._design = design
        self._running = running
        self._starts = tuple(starts)
        self._stops = tuple(stops)
        self._is_logging = is_logging
        self._registering = registering
        self._worker: Worker | None = None

    @asynccontextmanager
    async def __call__(self, app: Litestar) -> AsyncIterator[None]:
        if self._is_logging:
            configure_logging(format=self._settings.log_format, level=self._settings.log_level)
        running = self._running
        async with open_container(self._settings, self._design) as container:
            self.container = container
            background = container.background.managers if container.background is not None else None
            running.open(
                container.managers,
                container.secret,
                background,
                container.modelling,
                container.charts,
                container.caching,
            )
            # A new one for each run: it belongs to the event loop it is first waited for in.
            running.draining = asyncio.Event()
            try:
                for start in self._starts:
                    await _call(start, app)
                async with self._working(container), self._registered(app):
                    yield
            finally:
                running.draining.set()
                for stop in self._stops:
                    await _call_isolated(stop, app)
                self.container = None
                running.close()

    @asynccontextmanager
    async def _registered(self, app: Litestar) -> AsyncIterator[None]:
        """Be known to the orchestrator, if there is one."""
        if self._registering is None:
            yield
            return
        async with self._registering.running(lambda: getattr(app, "local_port", None)):
            yield

    @asynccontextmanager
    async def _working(self, container: Container) -> AsyncIterator[None]:
        """Run jobs in the service's own process, when nobody else does."""
        background = container.background
        if background is None or not self._settings.is_working:
            yield
            return
        working = asyncio.create_task(self._work(background))
        try:
            yield
        finally:
            self._running.draining.set()
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                # Somebody is in a hurry: what still runs is handed back at once.
                if self._worker is not None:
                    self._worker.hurry()
                await working
                raise

    async def _work(self, background: Opened) -> None:
        """Have a worker at work until the service stops; one that fails is replaced."""
        draining = self._running.draining
        while True:
            worker = self._worker = background.make_worker(background.options)
            stopping = asyncio.create_task(_stop_with(worker, draining))
            try:
                await worker.run()
                return
            except Exception:
                logger.exception("the worker of this service has failed; another one starts")
            finally:
                stopping.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await draining.wait()
                    return

    def enter_request(self) -> None:
        """Make the app's database the current one for the running task."""
        if self.container is not None:
            self.container.use()

    @property
    def replies(self) -> Replies | None:
        """Where replies to requests with a key are kept, while the app runs and has a database."""
        return self.container.replies if self.container is not None else None

    async def check_database(self) -> CheckResult:
        """The health check of the app's database."""
        return await database_check(self.container.database if self.container else None)


async def _stop_with(worker: Worker, draining: asyncio.Event) -> None:
    # As soon as the service begins to stop, and not when its last request is over.
    await draining.wait()
    await worker.stop()


async def _call(hook: Hook, app: Litestar) -> None:
    await (hook(app) if inspect.signature(hook).parameters else hook())


async def _call_isolated(hook: Hook, app: Litestar) -> None:
    try:
        await _call(hook, app)
    except Exception:
        # The others must still get their chance to clean up.
        logger.exception("a shutdown hook failed")
