"""`millrace init`: the beginning of a service of your own."""

import enum
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from service.cli.output import MISUSE, Failed, say

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".txt"
_IGNORED = "var/\n__pycache__/\n.pytest_cache/\n"


class Kind(enum.StrEnum):
    """What a service begins as: an entity, a model as functions, a model as scripts."""

    CRUD = "crud"
    FN = "fn"
    SHELL = "shell"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case words joined by hyphens.")],
    template: Annotated[Kind, typer.Option("--template", "-t", help="What it begins as.")] = Kind.CRUD,
    path: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    author: Annotated[str, typer.Option(help="Who has made the model.")] = "You",
) -> None:
    """Make a folder with a service that runs and passes its own tests."""
    if not _NAME.fullmatch(name):
        raise Failed(f"{name!r} is no name: use lower-case words joined by hyphens, such as malaria-model", MISUSE)
    folder = path / name
    if folder.exists():
        raise Failed(f"{folder} is there already: choose another name or --path")
    words = {"id": name, "title": name.replace("-", " ").capitalize(), "author": author.replace('"', "'")}
    for place, text in _written(template):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(text).substitute(words))
    (folder / ".gitignore").write_text(_IGNORED)
    say(f"{folder} is made. To start it:")
    say(f"  cd {folder}")
    say("  millrace serve main.py")


def _written(kind: Kind) -> Iterator[tuple[Path, str]]:
    """The files of a template, and the text of each."""
    templates = files("service.cli") / "templates"
    yield Path("README.md"), (templates / f"README.md{_SUFFIX}").read_text()
    yield from _below(templates / kind.value, Path())


def _below(folder: Traversable, place: Path) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _below(entry, place / entry.name)
        else:
            yield place / entry.name.removesuffix(_SUFFIX), entry.read_text()
