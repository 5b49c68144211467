"""One server process: it opens the app itself, lets open streams end first, and leaves within bounds."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import uvicorn
from uvicorn.logging import DefaultFormatter

from domain.errors import Misconfigured, ServiceError
from service.app import located, parse_target
from service.cli.output import Failed
from service.container import log_to_stderr
from service.http.application import Service

GRACE_SECONDS = 20
BACKLOG = 2048
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RUNNING = "Uvicorn running on http://%s:%d (Press CTRL+C to quit)"

logger = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """Uvicorn, except for how it starts and stops.

    The app's lifespan is entered here, so that an error of the start comes out as itself. The first signal ends event
    streams and waits up to `GRACE_SECONDS` for running requests, a second Ctrl-C stops waiting, a third ends the
    process on the spot.
    """

    def __init__(self, app: Service, on_started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self.app = app
        self._on_started = on_started
        self._interrupts = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes; returns when everything is closed."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with self.capture_signals():
            try:
                async with self.app.lifespan():
                    await self._serve(sockets)
            except asyncio.CancelledError:
                if not self.should_exit:
                    raise

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        try:
            await super().startup(sockets=sockets)
        except OSError as error:
            raise Failed(f"cannot listen: {error.strerror or error}") from error
        if not self.should_exit:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals for the rest of the process: uvicorn would raise them again, and end it by one."""
        for number in _SIGNALS:
            signal.signal(number, self.handle_exit)
        # A supervisor blocks it until there is somebody to handle it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; the more impatiently, the more often Ctrl-C is pressed."""
        self._interrupts += sig == signal.SIGINT
        if self._interrupts > 2:
            os._exit(130)
        is_forced = self._interrupts == 2 or not self.started
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop, is_forced)

    def _stop(self, is_forced: bool) -> None:
        self.app.running.draining.set()
        if is_forced and self._task is not None:
            self.force_exit = True
            for task in (*self.server_state.tasks, self._task):
                task.cancel()


def leave_when_told() -> None:
    """End at SIGTERM also before there is anything to stop: as the first process of a container one would not."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def serve_app(app: Service, target: str | None, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Serve `app` at `listener` until a signal ends it. Raises `Misconfigured`, `Unavailable` or `Failed`."""
    app.local_port = listener.getsockname()[1]
    try:
        Server(app, on_started).run([listener])
    except Exception as error:
        cause = _first(error)
        if isinstance(cause, Misconfigured | ServiceError | Failed):
            raise cause from error
        raise Failed(f"the service did not start: {located(cause, parse_target(target).folder)}") from error


def _first(error: Exception) -> Exception:
    """The error itself, out of the groups that Litestar's lifespan puts it into."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def bound(host: str, port: int) -> socket.socket:
    """A socket with this address that does not listen yet. Raises `Failed` saying what to choose instead."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Failed(_explained(error, host, port)) from error
    return listener


def _explained(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host {host!r} is not known: use an address of this machine such as 127.0.0.1 or 0.0.0.0"
    if isinstance(error, PermissionError):
        return f"port {port} needs more rights than this account has: use one above 1023, with --port or PORT"
    text = {
        "EADDRINUSE": f"port {port} on {host} is in use: stop what listens there, or use another, with --port or PORT",
        "EADDRNOTAVAIL": f"{host} is no address of this machine: use 127.0.0.1 or 0.0.0.0, with --host or HOST",
    }
    return text.get(errno.errorcode.get(error.errno or 0, ""), f"cannot use port {port} on {host}: {error.strerror}")


def log_for(app: Service) -> None:
    """Log as the service does, and of the server only what matters: that it runs, and what went wrong."""
    if app.is_logging_requests:
        log_to_stderr(app.settings)
    else:
        server = logging.getLogger("uvicorn")
        handler = logging.StreamHandler()
        handler.setFormatter(DefaultFormatter("%(levelprefix)s %(message)s"))
        server.handlers, server.propagate = [handler], False
    logger.setLevel(logging.INFO)
    logger.addFilter(_is_worth_saying)
    logging.getLogger("asyncpg.pool").addFilter(_without_traceback)


def announce(listener: socket.socket, host: str) -> None:
    """The line by which other programs know that the service is up."""
    shown = f"[{host}]" if ":" in host else host
    logger.info(_RUNNING, shown, listener.getsockname()[1])


def _is_worth_saying(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        # A request that was still running when the service had to leave.
        return False
    return record.levelno >= logging.WARNING or record.msg == _RUNNING


def _without_traceback(record: logging.LogRecord) -> bool:
    # That a database is away is no bug, and the pool says it at every attempt to reach it.
    record.exc_info = None
    return True
