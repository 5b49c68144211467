"""`millrace migrate`: brings the database in step with the service."""

from typing import Annotated, Any

import typer

from service import migrations
from service.app import load_app
from service.cli.output import run, say, tabulate
from service.cli.target import HomeOption, TargetArgument, put_into_environment
from service.http.application import Service


class UpByDefault(typer.core.TyperGroup):
    """`millrace migrate main.py` is `millrace migrate up main.py`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["up", *args]
        return list(super().parse_args(ctx, args))


commands = typer.Typer(
    cls=UpByDefault, help="Bring the database in step with the service; without a command: up.", no_args_is_help=False
)


@commands.command()
def up(
    target: TargetArgument = None,
    is_plan: Annotated[bool, typer.Option("--plan", help="Print the SQL and change nothing.")] = False,
    home: HomeOption = None,
) -> None:
    """Run the migrations that have not run yet; without migrations, create and extend tables as declared."""
    app = _loaded(target, home)
    if is_plan:
        statements = run(migrations.plan(app.settings, app.design))
        for statement in statements or ["-- there is nothing to do"]:
            say(statement)
        return
    for line in run(migrations.up(app.settings, app.design)) or ["there is nothing to do"]:
        say(line)


@commands.command()
def down(
    target: TargetArgument = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many migrations to undo.")] = 1,
    is_dropping_data: Annotated[bool, typer.Option("--drop-data", help="Also drop tables that hold rows.")] = False,
    home: HomeOption = None,
) -> None:
    """Undo the latest migrations, newest first. What they added is gone with its data."""
    app = _loaded(target, home)
    for id in run(migrations.down(app.settings, app.design, steps=steps, is_dropping_data=is_dropping_data)):
        say(f"{app.design.name}: undone {id}")


@commands.command()
def status(target: TargetArgument = None, home: HomeOption = None) -> None:
    """Show every migration and whether it has run."""
    app = _loaded(target, home)
    steps = run(migrations.status(app.settings, app.design))
    rows = [("applied" if step.is_applied else "pending", step.app, step.id, step.description) for step in steps]
    tabulate(("state", "service", "migration", "description"), rows)
    if app.design.migrations is None:
        say(f"{app.design.name} has no migrations: its tables are created and extended as declared")


def _loaded(target: str | None, home: str | None) -> Service:
    put_into_environment(MILLRACE_HOME=home)
    return load_app(target)
