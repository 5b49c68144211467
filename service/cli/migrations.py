"""`millrace migrations`: writes migrations for what has changed in the declared tables."""

import sys
from typing import Annotated

import typer

from service import migrations
from service.app import load_app
from service.cli.output import run, say
from service.cli.target import TargetArgument

commands = typer.Typer(help="Write migrations for what has changed in the declared tables.", no_args_is_help=True)


@commands.command()
def new(
    target: TargetArgument = None,
    description: Annotated[str, typer.Option("--message", "-m", help="What it does, in a few words.")] = "",
    is_empty: Annotated[bool, typer.Option("--empty", help="An empty one, to be written by hand.")] = False,
    is_renamed: Annotated[
        bool | None,
        typer.Option(
            "--renamed/--not-renamed",
            help="Whether a name that went and one that came are the same thing; asked for on a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a migration into `migrations/` beside the service's module and print its path. Needs no database."""
    app = load_app(target)

    def answer(question: str) -> bool:
        return typer.confirm(question, err=True) if is_renamed is None else is_renamed

    ask = answer if is_renamed is not None or sys.stdin.isatty() else None
    path = run(migrations.write(app.design, description, is_empty=is_empty, ask=ask))
    say(str(path) if path else "nothing has changed")


@commands.callback()
def _group() -> None:
    # With a callback the only command keeps its name.
    pass
