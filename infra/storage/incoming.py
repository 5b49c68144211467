"""Files that are being written: nobody sees them before they are whole, and who dies leaves one that is swept away."""

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from datetime import timedelta
from time import time
from uuid import uuid4

from infra.storage.folders import Folders, is_taken

INCOMING = "incoming"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Incoming:
    """A file on its way into storage, hashed while it is written. Raises `OSError`."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._hash = hashlib.sha256()
        self.size = 0
        self._name, self._file = self._made()

    def _made(self) -> tuple[str, int]:
        with self._folders.opened(INCOMING, is_made=True) as folder:
            while True:
                name = uuid4().hex
                file = os.open(name, _NEW, 0o600, dir_fd=folder)
                # The lock tells a sweep that somebody is still writing, however slowly.
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file).st_nlink:
                    return name, file
                os.close(file)

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Append content."""
        self._hash.update(content)
        self.size += len(content)
        write_all(self._file, content)

    def move(self, folder: int) -> None:
        """Give it its final place, replacing what is there; whole on disk before it can be seen."""
        os.fsync(self._file)
        with self._folders.opened(INCOMING) as incoming:
            os.rename(self._name, self.sha256, src_dir_fd=incoming, dst_dir_fd=folder)
        self._name = ""

    def close(self) -> None:
        """End the work; what has not been moved is gone."""
        try:
            if self._name:
                with suppress(FileNotFoundError), self._folders.opened(INCOMING) as incoming:
                    os.unlink(self._name, dir_fd=incoming)
        finally:
            os.close(self._file)


def write_all(file: int, content: bytes | memoryview) -> None:
    """Write all of it, also where the system takes it in parts."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def sweep(folders: Folders, older_than: timedelta) -> int:
    """Remove files that nobody writes any more. Raises `OSError`."""
    try:
        with folders.opened(INCOMING) as folder:
            newest = time() - older_than.total_seconds()
            return sum(_is_removed(folder, name, newest) for name in os.listdir(folder))  # noqa: PTH208 - a path could lead elsewhere by now
    except FileNotFoundError:
        return 0


def _is_removed(folder: int, name: str, newest: float) -> bool:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        # Moved or swept meanwhile, or nothing that a put has left.
        return False
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_mtime > newest or is_taken(file):
            return False
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    finally:
        os.close(file)
    return True
