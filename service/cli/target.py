"""The argument that names a service, and its app with the settings that options change."""

import os
from typing import Annotated

import typer

TargetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        help="A file such as main.py, or a module such as shop.main:app. Without it: main.py in the current folder.",
        show_default=False,
    ),
]

TargetOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="TARGET",
        help="A file such as main.py, or a module such as shop.main:app. Without it: main.py in the current folder.",
        show_default=False,
    ),
]

HomeOption = Annotated[
    str | None,
    typer.Option("--home", help="Folder for what the service keeps (MILLRACE_HOME).", show_default=False),
]


def put_into_environment(**values: object) -> None:
    """Let options count like the variables of the same name, for the module and for worker processes too."""
    for name, value in values.items():
        if value is not None:
            os.environ[name] = str(value)
