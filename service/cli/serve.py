"""`millrace serve`: runs a service until it is told to stop."""

import os
from pathlib import Path
from typing import Annotated

import typer

from service.app import load_app, parse_target
from service.cli.banner import show_banner
from service.cli.output import MISUSE, Failed
from service.cli.server import announce, bound, leave_when_told, log_for, serve_app
from service.cli.supervisor import Supervisor
from service.cli.target import HomeOption, TargetArgument, put_into_environment
from service.settings import from_env


def serve(
    target: TargetArgument = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at (HOST, or 127.0.0.1); 0.0.0.0 is all.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen at (PORT, or 8000); 0 is any free.", min=0, max=65535, show_default=False),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes (WORKERS, or 1).", min=1, max=256, show_default=False)
    ] = None,
    is_reloading: Annotated[bool, typer.Option("--reload", help="Start again when a Python file changes.")] = False,
    home: HomeOption = None,
    log_level: Annotated[
        str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR (LOG_LEVEL).", show_default=False)
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json (LOG_FORMAT).", show_default=False)] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM; requests that have begun are finished first."""
    leave_when_told()
    put_into_environment(
        HOST=host, PORT=port, WORKERS=workers, MILLRACE_HOME=home, LOG_LEVEL=log_level, LOG_FORMAT=log_format
    )
    settings = from_env(os.environ)
    if is_reloading and settings.workers > 1:
        raise Failed("--reload runs one process: leave --workers and WORKERS out", MISUSE)
    app = load_app(target)
    log_for(app)
    with bound(settings.host, settings.port) as listener:

        def on_started() -> None:
            announce(listener, settings.host)
            show_banner(app, settings.host, listener.getsockname()[1])

        if is_reloading or settings.workers > 1:
            watched = tuple({parse_target(target).folder, Path.cwd()}) if is_reloading else ()
            Supervisor(target, listener, settings.workers, on_started, watched).run()
        else:
            serve_app(app, target, listener, on_started)
