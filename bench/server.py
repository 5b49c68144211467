"""A server process as `millrace serve` runs one: `python -m bench.server <kind> <database URL> [<Redis URL>]`.

The kinds are the `service` and its `limit`; the service when it is `cached`, and one that only sends `bytes`; the
service with `jobs` and a worker inside, or with `submissions` that nobody takes; one around `models`, which it trains
itself; and one with all that may pile up, which is `soaked`. It prints its port, serves on 127.0.0.1, and ends when
its standard input does.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import uvicorn
from litestar import get

from bench import jobs_service, models_service
from bench.accounts import USERS, Users
from bench.limit import limit
from bench.operations import CPU
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.settings import Settings


@get(CPU)
async def processor_time() -> float:
    """What the limit answers there too."""
    return time.process_time()


def service(url: str | None) -> Any:
    """The accounts service, which neither logs nor caches, on the database at `url` or the one of the environment."""
    return _accounts(url).build()


def cached(url: str) -> Any:
    """The same with a cache."""
    return _accounts(url).with_cache(ttl_seconds=600).build()


def _accounts(url: str | None) -> ServiceBuilder:
    made = ServiceBuilder(info=ServiceInfo(id="accounts", display_name="Accounts")).with_database(url)
    return made.with_crud(USERS, table=Users).include_router(processor_time)


def ready_bytes(url: str) -> Any:
    """An app that sends what is at `url`, and to those who have it that they have it."""
    body = httpx.get(url, headers={"Accept-Encoding": "identity"}).content
    whole = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"etag", b'"a"')]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == CPU:
            text = b"%f" % time.process_time()
            headers = [(b"content-length", b"%d" % len(text))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": text})
        elif any(name == b"if-none-match" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"a"')]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": whole})
            await send({"type": "http.response.body", "body": body})

    return app


def jobs(url: str) -> Any:
    """The same with jobs, which it runs itself."""
    return jobs_service.builder(url).include_router(processor_time).build(Settings(worker="true"))


def submissions(url: str) -> Any:
    """The same with jobs, which it leaves to others."""
    return jobs_service.builder(url).include_router(processor_time).build(Settings(worker="false"))


def soaked(url: str, redis_url: str | None = None) -> Any:
    """The service with jobs, and with everything else that keeps something; its cache is full before long."""
    made = jobs_service.builder(url).with_cache(ttl_seconds=5, max_entries=200).with_monitoring()
    return made.build(Settings(worker="true", redis_url=redis_url))


def models(url: str) -> Any:
    """A service around a model, which it trains itself."""
    return models_service.builder(url).include_router(processor_time).build(Settings(worker="true"))


KINDS: dict[str, Callable[..., Any]] = {
    "service": service,
    "cached": cached,
    "bytes": ready_bytes,
    "limit": limit,
    "jobs": jobs,
    "submissions": submissions,
    "models": models,
    "soaked": soaked,
}


def main() -> None:
    """Serve until standard input is closed."""
    kind, *urls = sys.argv[1:]
    server = uvicorn.Server(
        uvicorn.Config(
            KINDS[kind](*urls), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="on"
        )
    )
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_stop_at_end, args=(server,), daemon=True).start()
        server.run([listener])


def _stop_at_end(server: uvicorn.Server) -> None:
    # Also when the tests are killed, their end of the pipe is closed.
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
