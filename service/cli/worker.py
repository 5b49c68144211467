"""`millrace worker`: runs the jobs of a service until it is told to stop."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from domain.jobs import Name
from domain.workers import WorkerOptions
from service.app import load_app
from service.cli.output import MISUSE, Failed, say
from service.cli.server import leave_when_told, log_for
from service.cli.target import HomeOption, TargetArgument, put_into_environment
from service.container import location
from service.worker import work


def worker(
    target: TargetArgument = None,
    queues: Annotated[
        str | None,
        typer.Option(
            help="Queues to take jobs of, with commas in between; the first one first. Default: all the tasks use.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="How many jobs to run at a time; default: as with_jobs() says.", min=1, show_default=False),
    ] = None,
    heartbeat: Annotated[
        Path | None,
        typer.Option(help="A file to touch every 5 s while the worker is well, for a probe.", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port to answer GET /metrics at (MILLRACE_METRICS_PORT); default: none.",
            min=1,
            max=65535,
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Run the service's jobs until Ctrl-C or SIGTERM; what runs then gets time to finish, or is handed back."""
    leave_when_told()
    put_into_environment(MILLRACE_HOME=home, MILLRACE_METRICS_PORT=metrics_port)
    names = _queues(queues)
    app = load_app(target)
    log_for(app)
    where = location(app.settings, app.design)

    def on_started(options: WorkerOptions) -> None:
        bell = "woken through Redis" if app.settings.redis_url else f"looking every {options.poll_seconds:g} s"
        taken = ", ".join(options.queues)
        say(f"worker of {app.info.display_name}: {options.concurrency} jobs at a time of {taken}, {bell}; data {where}")

    uvloop.run(work(app, queues=names, concurrency=concurrency, on_started=on_started, heartbeat=heartbeat))


def _queues(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if not is_name(name):
            raise Failed(f"--queues {text!r}: {name!r} is no queue; use letters, digits, '.', '_' and '-'", MISUSE)
    return names


def is_name(text: str) -> bool:
    """Whether a text can be the name of a queue."""
    try:
        msgspec.convert(text, Name)
    except msgspec.ValidationError:
        return False
    return True
