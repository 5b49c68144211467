"""Folders below a root that no symbolic link leads out of, and that survive a crash once they are used."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folders:
    """The folders below `root`; the root itself may be a link, for it is the operator's choice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lasting: set[tuple[str, ...]] = set()

    @contextmanager
    def opened(self, *names: str, is_made: bool = False) -> Iterator[int]:
        """The descriptor of a folder, which `is_made` makes when there is none. Raises `OSError`."""
        if is_made:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._keep((), self.root.parent)
        folder = os.open(self.root, _FOLDER)
        try:
            for number in range(len(names)):
                inner = self._step(folder, names[: number + 1], is_made=is_made)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _step(self, folder: int, names: tuple[str, ...], *, is_made: bool) -> int:
        try:
            inner = os.open(names[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            if not is_made:
                raise
            with suppress(FileExistsError):
                os.mkdir(names[-1], 0o700, dir_fd=folder)
            self._lasting.discard(names)
            inner = os.open(names[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        if is_made:
            self._keep(names, folder)
        return inner

    def _keep(self, names: tuple[str, ...], outer: int | Path) -> None:
        """See to it that a folder survives a crash; whoever else has made it may not have come to that yet."""
        if names in self._lasting:
            return
        if isinstance(outer, int):
            os.fsync(outer)
        else:
            descriptor = os.open(outer, _FOLDER)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._lasting.add(names)


@contextmanager
def locked(folder: int) -> Iterator[None]:
    """A block that one thread of all processes is in at a time."""
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


def is_taken(descriptor: int) -> bool:
    """Whether somebody else holds the lock; if not, it is ours until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
