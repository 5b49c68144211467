"""How commands speak: rich on a terminal, plain whole lines in a pipe, one line on stderr when something is wrong."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.errors import Misconfigured, Unavailable

PROBLEM = 1
MISUSE = 2
UNREACHABLE = 3

T = TypeVar("T")


class Failed(Exception):
    """A command that did not work out; the message says what to do."""

    def __init__(self, message: str, exit_code: int = PROBLEM) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def exit_code_of(error: Exception) -> int:
    """What the shell is told about an expected error."""
    if isinstance(error, Failed):
        return error.exit_code
    if isinstance(error, Misconfigured):
        return MISUSE
    return UNREACHABLE if isinstance(error, Unavailable) else PROBLEM


def message_of(error: Exception) -> str:
    """What is wrong and what to do about it."""
    hint = "; check that it runs and what DATABASE_URL says" if isinstance(error, Unavailable) else ""
    return f"{error}{hint}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of an async function, for commands, which are not."""
    return asyncio.run(work)


def say(line: str = "", style: str | None = None) -> None:
    """One line on stdout; it is never wrapped, so that it can be copied and parsed."""
    Console(highlight=False, emoji=False).print(line, style=style, markup=False, soft_wrap=True)


def complain(message: str) -> None:
    """The one line on stderr that says why a command failed."""
    console = Console(stderr=True, highlight=False, emoji=False)
    console.print("millrace: ", style="bold red", end="")
    console.print(" ".join(message.split()), markup=False, soft_wrap=True)


def tabulate(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; in a pipe one whole line for each row, without a heading."""
    if not sys.stdout.isatty():
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        for row in rows:
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
