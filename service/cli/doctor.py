"""`millrace doctor`: looks for what keeps a service from running, and says how to put it right."""

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator

import typer

from domain.errors import Misconfigured, ServiceError
from service import migrations
from service.app import load_app
from service.cli.output import PROBLEM, Failed, message_of, run, say
from service.cli.server import bound
from service.cli.target import HomeOption, TargetArgument, put_into_environment
from service.container import location
from service.http.application import Service
from service.settings import Settings, from_env

OLDEST_PYTHON = (3, 11)
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Finding = tuple[str, str]


def doctor(target: TargetArgument = None, home: HomeOption = None) -> None:
    """Check the environment, the module, the database and the port; exit code 1 when something is wrong."""
    put_into_environment(MILLRACE_HOME=home)
    worst = 0
    for state, text in _findings(target):
        say(f"{state:<5}{' '.join(text.split())}", _STYLES[state])
        worst += state == "fail"
    if worst:
        raise typer.Exit(PROBLEM)


def _findings(target: str | None) -> Iterator[Finding]:
    yield _python()
    yield "ok", f"SQLite {sqlite3.sqlite_version}"
    try:
        settings = from_env(os.environ)
    except Misconfigured as error:
        yield "fail", f"settings: {error}"
        return
    yield "ok", "settings from the environment are valid"
    yield _home(settings)
    yield _port(settings)
    try:
        app = load_app(target)
    except (Misconfigured, ServiceError) as error:
        yield "fail", f"module: {error}"
        return
    yield "ok", f"module: {app.info.display_name} {app.info.version} can be built"
    yield from _database(app)


def _python() -> Finding:
    if sys.version_info < OLDEST_PYTHON:
        return "fail", f"Python {platform.python_version()} is too old: install {'.'.join(map(str, OLDEST_PYTHON))}"
    return "ok", f"Python {platform.python_version()}"


def _home(settings: Settings) -> Finding:
    folder = settings.home.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        return "fail", f"home {folder}: {nearest} is a file; name a folder with --home or MILLRACE_HOME"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return "fail", f"home {folder} cannot be written to: change its rights, or name another with --home"
    return "ok", f"home {folder}" + ("" if folder.exists() else " (made at the first start)")


def _port(settings: Settings) -> Finding:
    try:
        with bound(settings.host, settings.port) as listener:
            free = "" if settings.port else " (any free one)"
            return "ok", f"port {listener.getsockname()[1] if settings.port else 0} on {settings.host} is free{free}"
    except Failed as error:
        return "fail", str(error)


def _database(app: Service) -> Iterator[Finding]:
    settings, design = app.settings, app.design
    if design.database is None:
        yield "ok", "database: none is needed"
        return
    where = location(settings, design)
    try:
        yield "ok", f"database {run(migrations.server_version(settings, design))} at {where}"
        pending = [step for step in run(migrations.status(settings, design)) if not step.is_applied]
        difference = run(migrations.drift(settings, design))
    except (Misconfigured, ServiceError) as error:
        yield "fail", f"database: {message_of(error)}"
        return
    remedy = (
        "the next start brings it in step" if settings.is_migrating_on_start else "run `millrace migrate` to change it"
    )
    if pending:
        yield "warn", f"{len(pending)} migrations have not run: {remedy}"
    elif not difference:
        yield "ok", "tables are as declared"
        return
    if difference and not pending:
        is_written = design.migrations is not None
        yield (
            ("fail", f"{difference}: write a migration with `millrace migrations new`")
            if is_written
            else ("warn", f"{difference}: {remedy}")
        )
