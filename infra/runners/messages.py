"""What a worker, its launcher and the processes of its runs say to each other: JSON frames, never pickle."""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from domain.runs import Run, RunEnd
from infra.runners.modules import Module, Place

_LENGTH = struct.Struct("!I")
MOST_FRAME_BYTES = 64 * 1024 * 1024
encode = msgspec.json.Encoder().encode


class Setup(msgspec.Struct, frozen=True):
    """Worker to launcher, first: import these modules with this `sys.path`. An empty list means: import nothing."""

    worker: int
    path: list[str]
    modules: list[Module]
    start_method: str


class Start(msgspec.Struct, frozen=True, tag=True):
    """Worker to launcher: start the process of a run. Its socket, stdout and stderr come along."""

    run: int


class Kill(msgspec.Struct, frozen=True, tag=True):
    """Worker to launcher: send a signal to all processes of a run."""

    run: int
    signal: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Launcher to worker: everything is imported."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Launcher to worker: a module cannot be imported; `end` is how every run ends that waits for it."""

    end: RunEnd


class Started(msgspec.Struct, frozen=True, tag=True):
    """Launcher to worker: a run has its process, which leads a process group."""

    run: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """Launcher to worker: the process of a run is gone. `code` is negative for a signal, None if it never started."""

    run: int
    code: int | None
    error: str = ""


class Assignment(msgspec.Struct, frozen=True, tag=True):
    """Worker to run, first: what is to be called. `path` is for an interpreter that has imported nothing yet."""

    place: Place
    path: list[str]
    run: Run


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Worker to run: end soon."""


class Report(msgspec.Struct, frozen=True, tag=True):
    """Run to worker: something the task reports."""

    message: dict[str, Any]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Run to worker, last: how it ended, and when by the monotonic clock, which all processes share."""

    end: RunEnd
    at: float


FromLauncher = Ready | Refused | Started | Exited
FromRun = Report | Ended
ToLauncher = msgspec.json.Decoder(Start | Kill)


class TooLarge(Exception):
    """A frame that nobody of ours would send."""


def framed(message: msgspec.Struct) -> bytes:
    """A message as it goes over a socket."""
    data = encode(message)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts together what arrives in pieces. A frame stays until it is taken."""

    def __init__(self, most_bytes: int = MOST_FRAME_BYTES) -> None:
        self._data = bytearray()
        self._most_bytes = most_bytes

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data += data

    def __iter__(self) -> Iterator[bytes]:
        """Take the frames that are complete. Raises `TooLarge`."""
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > self._most_bytes:
                raise TooLarge(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            frame = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            yield frame
