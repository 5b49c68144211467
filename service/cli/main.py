"""The command `millrace`: its groups, and how whatever goes wrong becomes one line and an exit code."""

import os
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from domain.errors import Misconfigured, ServiceError
from service.cli import (
    artifact,
    backtest,
    chart,
    doctor,
    init,
    jobs,
    migrate,
    migrations,
    mlproject,
    routes,
    serve,
    storage,
    trial,
    version,
    worker,
)
from service.cli.output import Failed, complain, exit_code_of, message_of
from service.settings import from_env

INTERRUPTED = 130

commands = typer.Typer(
    name="millrace",
    help="Serve, migrate and examine a service that is built in a module of yours.",
    epilog="Exit codes: 0 done, 1 a problem was found, 2 wrong usage or configuration, 3 a dependency is unreachable.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands.command(name="init")(init.init)
commands.command(name="serve")(serve.serve)
commands.command(name="worker")(worker.worker)
commands.add_typer(jobs.commands, name="jobs")
commands.add_typer(migrate.commands, name="migrate")
commands.add_typer(migrations.commands, name="migrations")
commands.add_typer(storage.commands, name="storage")
commands.add_typer(artifact.commands, name="artifact")
commands.command(name="chart")(chart.chart)
commands.command(name="backtest")(backtest.backtest)
commands.add_typer(mlproject.commands, name="mlproject")
commands.command(name="test")(trial.drive)
commands.command(name="routes")(routes.routes)
commands.command(name="doctor")(doctor.doctor)
commands.command(name="version")(version.version)


@commands.callback()
def _options(
    is_version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the versions and exit.", is_eager=True, callback=version.on_option)
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code, unless it exits by itself."""
    command = typer.main.get_command(commands)
    try:
        command.main(args=arguments, prog_name="millrace")
    except SystemExit as exiting:
        return exiting.code if isinstance(exiting.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Misconfigured, ServiceError, Failed) as error:
        with suppress(Misconfigured):
            if from_env(os.environ).log_level == "DEBUG":
                traceback.print_exc()
        complain(message_of(error))
        return exit_code_of(error)
    return 0
