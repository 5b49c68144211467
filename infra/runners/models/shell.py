"""Runs one command of a script model, hands on what it says line by line, and keeps the end of it."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from infra.runners.system import kill_rest_of_group

MOST_CHARACTERS = 256 * 1024
"""How much of each stream is kept for the artifact; the whole of it is in the log of the job, within its bounds."""


class CommandEnd(msgspec.Struct, frozen=True):
    """How a command ended; -1 as `exit_code` when its time was up."""

    exit_code: int
    stdout: str
    stderr: str


class _Stream:
    """Reads one stream to its end."""

    def __init__(self, source: IO[bytes], tell: Callable[[str], None]) -> None:
        self._source = source
        self._tell = tell
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._source:
            line = raw.decode(errors="replace").rstrip("\r\n")
            self._tell(line)
            self._lines.append(line)
            self._size += len(line) + 1
            while self._size > MOST_CHARACTERS and len(self._lines) > 1:
                self._size -= len(self._lines.pop(0)) + 1
                self._dropped += 1

    def text(self) -> str:
        """What was read, or the end of it."""
        self._thread.join(timeout=5)
        missing = [f"… {self._dropped} lines left out here …"] if self._dropped else []
        lines = [*missing, *(line[-MOST_CHARACTERS:] for line in self._lines)]
        return "\n".join(lines) + ("\n" if lines else "")


def run_command(
    command: str,
    folder: Path,
    *,
    timeout_seconds: float | None,
    on_stdout: Callable[[str], None],
    on_stderr: Callable[[str], None],
) -> CommandEnd:
    """Run `command` by /bin/sh in `folder`, and leave none of its processes behind.

    They stay in the group of this process, so that whoever kills that kills them too.
    """
    process = subprocess.Popen(  # noqa: S602 - the author's own command line
        command,
        shell=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = _Stream(process.stdout, on_stdout), _Stream(process.stderr, on_stderr)
    note = ""
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        note = f"Command timed out after {timeout_seconds:g} seconds\n"
    finally:
        # Also what it has left running in the background, which would keep the streams open.
        process.kill()
        kill_rest_of_group()
        process.wait()
    code = -1 if note else process.returncode
    return CommandEnd(code, stdout.text(), stderr.text() + note)
