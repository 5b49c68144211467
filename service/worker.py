"""A worker process: opens the service without its HTTP side, and works until it is told to stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from domain.errors import Misconfigured
from domain.workers import WorkerOptions
from infra.telemetry.port import metrics_port
from service.container import open_container
from service.http.application import Service
from service.managers.worker import Worker

HEARTBEAT_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def work(
    app: Service,
    *,
    queues: tuple[str, ...] | None,
    concurrency: int | None,
    on_started: Callable[[WorkerOptions], None],
    heartbeat: Path | None = None,
) -> None:
    """Run the jobs of `app` until a signal comes. Raises `Misconfigured` and `Unavailable`.

    The first signal lets running jobs go on for the time of grace, a second one hands them back at once, a third ends
    the process on the spot. The file `heartbeat` is touched every `HEARTBEAT_SECONDS` as long as the loop turns.
    """
    stopper = _Stopper()
    try:
        await _work(app, stopper, queues, concurrency, on_started, heartbeat)
    except asyncio.CancelledError:
        if not stopper.has_canceled:
            raise


async def _work(
    app: Service,
    stopper: "_Stopper",
    queues: tuple[str, ...] | None,
    concurrency: int | None,
    on_started: Callable[[WorkerOptions], None],
    heartbeat: Path | None,
) -> None:
    async with open_container(app.settings, app.design) as container:
        background = container.background
        if background is None:
            raise Misconfigured("the service has no jobs: call with_tasks(…) on its builder")
        options = _options(background.options, queues, concurrency)
        # A task may use the managers and the cache of its app, which here is not served.
        app.running.open(
            container.managers,
            container.secret,
            background.managers,
            container.modelling,
            container.charts,
            container.caching,
        )
        worker = background.make_worker(options)
        stopper.worker = worker
        async with _showing(app):
            with _beating(heartbeat):
                on_started(options)
                await worker.run()


@asynccontextmanager
async def _showing(app: Service) -> AsyncIterator[None]:
    """Answer who asks for the metrics of this process, which serves nothing else."""
    port = app.settings.metrics_port
    if port is None:
        yield
        return
    if app.metrics_text is None:
        raise Misconfigured(
            f"MILLRACE_METRICS_PORT={port}: there are no metrics; call with_monitoring() on the builder"
        )
    async with metrics_port(app.settings.host, port, app.metrics_text):
        yield


@contextmanager
def _beating(file: Path | None) -> Iterator[None]:
    if file is None:
        yield
        return
    try:
        file.touch()
    except OSError as error:
        raise Misconfigured(f"the heartbeat {file} cannot be written: {error.strerror}") from error
    beating = asyncio.get_running_loop().create_task(_beat(file.touch))
    try:
        yield
    finally:
        beating.cancel()
        file.unlink(missing_ok=True)


async def _beat(touch: Callable[[], None]) -> None:
    # In the loop: leases are kept by a thread, so nobody else would notice a loop that is stuck.
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        touch()


def _options(options: WorkerOptions, queues: tuple[str, ...] | None, concurrency: int | None) -> WorkerOptions:
    if queues is not None:
        options = msgspec.structs.replace(options, queues=queues)
    if concurrency is not None:
        options = msgspec.structs.replace(
            options, concurrency=concurrency, processes=min(options.processes, concurrency)
        )
    return options


class _Stopper:
    """Turns signals into a stop, the more impatient the more there are; made in the task that is to be stopped.

    As long as there is no worker, which may be waiting for its database, the task is canceled.
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.has_canceled = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._signals = 0
        self._stopping: asyncio.Task[None] | None = None
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 2:
            os._exit(130)
        if self.worker is None:
            assert self._task is not None
            self.has_canceled = True
            self._task.cancel()
        elif self._stopping is None:
            self._stopping = self._loop.create_task(self.worker.stop())
        else:
            self.worker.hurry()
