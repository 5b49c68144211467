"""Runs commands in this process, in a folder and with an environment of the test's own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from service.cli.main import main
from tests.processes import environment


class Said(NamedTuple):
    """What a command printed."""

    out: str
    err: str


class Command(Protocol):
    """Runs `millrace` and expects an exit code."""

    def __call__(self, *arguments: str, exit_code: int = 0) -> Said: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Commands in an empty folder without a configured database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environ)
    for name in before.keys() - environment().keys():
        monkeypatch.delenv(name)

    def run(*arguments: str, exit_code: int = 0) -> Said:
        # As in a new process, the user's modules are read again.
        _forget(tmp_path)
        code = main(arguments)
        said = Said(*capsys.readouterr())
        assert code == exit_code, said
        return said

    yield run
    _forget(tmp_path)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def command(run: Command, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Command:
    """The same with a database of either kind."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return run


def _forget(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
