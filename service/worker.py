"""A worker process: opens the service without its HTTP side, and works until it is told to stop."""

import asyncio
import os
import signal
from collections.abc import Callable

import msgspec

from domain.errors import Misconfigured
from service.container import open_container
from service.http.application import Service
from service.managers.worker import Worker, WorkerOptions

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def work(
    app: Service,
    *,
    queues: tuple[str, ...] | None,
    concurrency: int | None,
    on_started: Callable[[WorkerOptions], None],
) -> None:
    """Run the jobs of `app` until a signal comes. Raises `Misconfigured` and `Unavailable`.

    The first signal lets running jobs go on for the time of grace, a second one hands them back at once, a third ends
    the process on the spot.
    """
    async with open_container(app.settings, app.design) as container:
        background = container.background
        if background is None:
            raise Misconfigured("the service has no jobs: call with_tasks(…) on its builder")
        options = _options(background.options, queues, concurrency)
        # A task may use the managers of its app, which here is not served.
        app.running.open(container.managers, container.secret, background.managers)
        worker = background.make_worker(options)
        _Stopper(worker).listen()
        on_started(options)
        await worker.run()


def _options(options: WorkerOptions, queues: tuple[str, ...] | None, concurrency: int | None) -> WorkerOptions:
    if queues is not None:
        options = msgspec.structs.replace(options, queues=queues)
    if concurrency is not None:
        options = msgspec.structs.replace(
            options, concurrency=concurrency, processes=min(options.processes, concurrency)
        )
    return options


class _Stopper:
    """Turns signals into a stop, the more impatient the more there are."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._signals = 0
        self._stopping: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Handle signals in the running loop."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._stopping = asyncio.get_running_loop().create_task(self._worker.stop())
        elif self._signals == 2:
            self._worker.hurry()
        else:
            os._exit(130)
