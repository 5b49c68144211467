"""A server process as `millrace serve` runs one: `python -m bench.server <kind> <database URL>`.

The kinds are the `service` and its `limit`, and the service with `jobs` and a worker inside, or with `submissions` that
nobody takes, and one around `models`, which it trains itself. It prints its port, serves on 127.0.0.1, and ends when
its standard input does.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

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


def service(url: str) -> Any:
    """The accounts service, which neither logs nor caches."""
    return (
        ServiceBuilder(info=ServiceInfo(id="accounts", display_name="Accounts"))
        .with_database(url)
        .with_crud(USERS, table=Users)
        .include_router(processor_time)
        .build()
    )


def jobs(url: str) -> Any:
    """The same with jobs, which it runs itself."""
    return jobs_service.builder(url).include_router(processor_time).build(Settings(worker="true"))


def submissions(url: str) -> Any:
    """The same with jobs, which it leaves to others."""
    return jobs_service.builder(url).include_router(processor_time).build(Settings(worker="false"))


def models(url: str) -> Any:
    """A service around a model, which it trains itself."""
    return models_service.builder(url).include_router(processor_time).build(Settings(worker="true"))


KINDS: dict[str, Callable[[str], Any]] = {
    "service": service,
    "limit": limit,
    "jobs": jobs,
    "submissions": submissions,
    "models": models,
}


def main() -> None:
    """Serve until standard input is closed."""
    kind, url = sys.argv[1:]
    server = uvicorn.Server(
        uvicorn.Config(
            KINDS[kind](url), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="on"
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
