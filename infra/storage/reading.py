"""Reading a blob and proving that it is what its name says."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import Corrupt, Invalid, NotFound, Unavailable
from infra.storage.folders import Folders

CHUNK_BYTES = 1024 * 1024
CONTENT = "sha256"
# A pipe in the place of a file must not keep us waiting for somebody who writes into it.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_OURS = (errno.ELOOP, errno.ENOTDIR)


def folders_of(sha256: str) -> tuple[str, str, str]:
    """The folders a blob lies in, outermost first."""
    return CONTENT, sha256[:2], sha256[2:4]


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what the file system refuses in our own words: `what` completes "The storage cannot be"."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The storage cannot be {what}: {error.strerror or error}") from error


class Reading:
    """A blob that is being read. Raises `NotFound`, `Corrupt` and `Unavailable`."""

    def __init__(self, folders: Folders, sha256: str) -> None:
        self._sha256 = sha256
        self._hash = hashlib.sha256()
        self._file = _opened(folders, sha256)
        self._ahead = b""

    def next(self) -> bytes:
        """The next piece, empty at the end; the last one only when all are what they should be."""
        # One piece is held back: nobody who counts bytes can take corrupt content for whole.
        with told("read"):
            self._ahead = self._ahead or self._read()
            piece, self._ahead = self._ahead, self._read() if self._ahead else b""
        if not self._ahead and self._hash.hexdigest() != self._sha256:
            raise Corrupt(f"The content {self._sha256} is not what was stored: its bytes have another SHA-256")
        return piece

    def _read(self) -> bytes:
        piece = os.read(self._file, CHUNK_BYTES)
        self._hash.update(piece)
        return piece

    def rest(self) -> Iterator[bytes]:
        """All pieces."""
        while piece := self.next():
            yield piece

    def close(self) -> None:
        """End the work."""
        os.close(self._file)


def _opened(folders: Folders, sha256: str) -> int:
    try:
        with folders.opened(*folders_of(sha256)) as folder:
            file = os.open(sha256, _READ | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        raise NotFound(f"There is no content {sha256} in storage") from None
    except OSError as error:
        if error.errno in _NOT_OURS:
            raise _foreign(sha256) from error
        raise Unavailable(f"The storage cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _foreign(sha256)
    return file


def size_of(folders: Folders, sha256: str) -> int | None:
    """How many bytes a blob has, None when there is none. Raises `Corrupt` and `Unavailable`."""
    try:
        file = _opened(folders, sha256)
    except NotFound:
        return None
    try:
        return os.fstat(file).st_size
    finally:
        os.close(file)


def _foreign(sha256: str) -> Corrupt:
    return Corrupt(f"The content {sha256} is not what was stored: in its place is something that is no file")


def pieces_of(path: Path) -> Iterator[bytes]:
    """What is in a file of somebody else's. Raises `Invalid`."""
    file = -1
    try:
        file = os.open(path, _READ)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Invalid(f"{path.name!r} cannot be read: it must be a file")
        # An error of whoever takes the pieces does not come by here.
        while piece := os.read(file, CHUNK_BYTES):
            yield piece
    except OSError as error:
        raise Invalid(f"The file {path.name!r} cannot be read: {error.strerror}") from error
    finally:
        if file >= 0:
            os.close(file)
