"""`millrace mlproject`: serve a directory that describes a model by an MLproject file."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from service.cli import serve
from service.cli.output import MISUSE, Failed
from service.mlproject import read_project

commands = typer.Typer(help="Serve MLproject directories.", no_args_is_help=True)

# The type of the configurations must be found by the process of a model, so it is one of a module.
_MODULE = """
from pathlib import Path

from domain.mlproject import config_type
from service.mlproject import project_builder, read_project

folder = Path({folder!r})
project = read_project(folder, {files!r})
Options = config_type(project, __name__)
app = project_builder(folder, project, Options).build()
"""


@commands.callback()
def _group() -> None:
    pass


@commands.command(name="run")
def run_project(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The folder with the MLproject file.")] = Path(),
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at; 0 is any free one.", min=0, max=65535)] = 9090,
    param: Annotated[list[str] | None, typer.Option(help="NAME=FILE: a file for a parameter.")] = None,
) -> None:
    """Serve the model of a folder. What it stores is gone when it stops, unless MILLRACE_HOME says where to keep it."""
    files = dict(_pair(text) for text in param or [])
    read_project(path, files)
    with tempfile.TemporaryDirectory(prefix="millrace-mlproject-") as home:
        os.environ.setdefault("MILLRACE_HOME", home)
        module = Path(home) / "main.py"
        module.write_text(_MODULE.format(folder=str(path.absolute()), files=files))
        serve.serve(str(module), host=host, port=port)


def _pair(text: str) -> tuple[str, str]:
    name, sign, file = text.partition("=")
    if not sign or not name or not file:
        raise Failed(f"--param {text!r}: use NAME=FILE", MISUSE)
    return name, file
