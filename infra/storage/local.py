"""Content in a folder, as `sha256/ab/cd/<hash>`: written aside, moved into place, shared by any number of processes."""

import hashlib
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from domain.storage import Blob, StoredBlob, checked_sha256, is_sha256
from infra.storage.folders import Folders, locked
from infra.storage.incoming import Incoming, sweep, write_all
from infra.storage.reading import CHUNK_BYTES, CONTENT, Reading, folders_of, pieces_of, size_of, told
from infra.storage.threads import in_thread

_LISTED_AT_A_TIME = 1_000
_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OWN_COPY = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalStorage:
    """The `Storage` in a folder, which the first put makes."""

    def __init__(self, root: Path) -> None:
        self._folders = Folders(root)

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Blob:
        """Keep content. Raises `Unavailable`."""
        if isinstance(content, bytes):
            return await in_thread(self._put_bytes, content)
        incoming = await in_thread(self._begin)
        try:
            async for piece in _gathered(content):
                await in_thread(_write, incoming, piece)
            return await in_thread(self._keep, incoming)
        finally:
            await in_thread(_end, incoming)

    async def put_file(self, path: Path) -> Blob:
        """Keep what is in a file. Raises `Invalid` and `Unavailable`."""
        return await in_thread(self._put_file, path)

    async def read(self, sha256: str) -> bytes:
        """All of a blob. Raises `NotFound`, `Corrupt` and `Unavailable`."""
        return await in_thread(self._read, checked_sha256(sha256))

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """A blob in pieces of at most 1 MiB. Raises `NotFound`, `Corrupt` and `Unavailable`."""
        reading = await in_thread(Reading, self._folders, checked_sha256(sha256))
        try:
            while piece := await in_thread(reading.next):
                yield piece
        finally:
            await in_thread(reading.close)

    async def fetch(self, sha256: str, path: Path) -> None:
        """Write a blob to a file. Raises `NotFound`, `Corrupt` and `Unavailable`."""
        await in_thread(self._fetch, checked_sha256(sha256), path)

    async def stat(self, sha256: str) -> Blob | None:
        """What is known of a blob. Raises `Corrupt` when something else is in its place, and `Unavailable`."""
        size = await in_thread(size_of, self._folders, checked_sha256(sha256))
        return None if size is None else Blob(sha256, size)

    async def delete(self, sha256: str, *, modified_at: datetime | None = None) -> bool:
        """Remove a blob, with `modified_at` only if it is still of that time. Raises `Unavailable`."""
        return await in_thread(self._delete, checked_sha256(sha256), modified_at)

    async def blobs(self) -> AsyncIterator[StoredBlob]:
        """Everything that is stored. Raises `Unavailable`."""
        found = self._found()
        while batch := await in_thread(lambda: list(islice(found, _LISTED_AT_A_TIME))):
            for blob in batch:
                yield blob

    async def sweep(self, older_than: timedelta) -> int:
        """Remove what puts of killed processes have left behind. Raises `Unavailable`."""
        return await in_thread(self._sweep, older_than)

    def _begin(self) -> Incoming:
        with told("written to"):
            return Incoming(self._folders)

    def _put_bytes(self, content: bytes) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        with told("written to"):
            if self._is_kept(sha256, len(content)):
                return Blob(sha256, len(content))
        whole = memoryview(content)
        return self._put_pieces(whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES))

    def _put_file(self, path: Path) -> Blob:
        return self._put_pieces(pieces_of(path))

    def _put_pieces(self, pieces: Iterator[bytes] | Iterator[memoryview]) -> Blob:
        incoming = self._begin()
        try:
            for piece in pieces:
                _write(incoming, piece)
            return self._keep(incoming)
        finally:
            _end(incoming)

    def _keep(self, incoming: Incoming) -> Blob:
        blob = Blob(incoming.sha256, incoming.size)
        with told("written to"):
            self._is_kept(blob.sha256, blob.size, incoming)
        return blob

    def _is_kept(self, sha256: str, size: int, incoming: Incoming | None = None) -> bool:
        """Whether the blob is in its place for good: it was there, or `incoming` is it."""
        with self._folders.opened(*folders_of(sha256), is_made=True) as folder:
            # Without the lock the blob could be deleted as an old one between our look at it and our touch.
            with locked(folder):
                if not _is_refreshed(folder, sha256, size):
                    if incoming is None:
                        return False
                    incoming.move(folder)
            os.fsync(folder)
        return True

    def _read(self, sha256: str) -> bytes:
        reading = Reading(self._folders, sha256)
        try:
            return b"".join(reading.rest())
        finally:
            reading.close()

    def _fetch(self, sha256: str, path: Path) -> None:
        reading = Reading(self._folders, sha256)
        try:
            with told(f"copied to {path.name!r}"):
                file = os.open(path, _OWN_COPY, 0o600)
            try:
                for piece in reading.rest():
                    with told(f"copied to {path.name!r}"):
                        write_all(file, piece)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(file)
        finally:
            reading.close()

    def _delete(self, sha256: str, modified_at: datetime | None) -> bool:
        with told("changed"):
            try:
                with self._folders.opened(*folders_of(sha256)) as folder, locked(folder):
                    found = os.stat(sha256, dir_fd=folder, follow_symlinks=False)
                    if modified_at is not None and _time(found) != modified_at:
                        return False
                    os.unlink(sha256, dir_fd=folder)
                    os.fsync(folder)
            except FileNotFoundError:
                return False
        return True

    def _found(self) -> Iterator[StoredBlob]:
        with told("read"):
            for outer in _inside(self._folders.root / CONTENT, 2):
                for inner in _inside(Path(outer), 2):
                    yield from _blobs_in(inner)

    def _sweep(self, older_than: timedelta) -> int:
        with told("changed"):
            return sweep(self._folders, older_than)


def _write(incoming: Incoming, piece: bytes | memoryview) -> None:
    with told("written to"):
        incoming.write(piece)


def _end(incoming: Incoming) -> None:
    with told("written to"):
        incoming.close()


async def _gathered(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread's while, and that bound the memory they take."""
    gathered = bytearray()
    async for piece in pieces:
        for at in range(0, len(piece), CHUNK_BYTES):
            gathered += piece[at : at + CHUNK_BYTES]
            if len(gathered) >= CHUNK_BYTES:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


def _is_refreshed(folder: int, sha256: str, size: int) -> bool:
    """Whether the whole blob is there; it then counts as new."""
    try:
        file = os.open(sha256, _EXISTING, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        os.utime(file)
    finally:
        os.close(file)
    return True


def _time(found: os.stat_result) -> datetime:
    # In whole microseconds: what a float makes of nanoseconds would not always be the same time again.
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=found.st_mtime_ns // 1000)


def _inside(folder: Path, length: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from [
                entry.path for entry in entries if len(entry.name) == length and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return


def _blobs_in(folder: str) -> Iterator[StoredBlob]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_sha256(entry.name) and entry.is_file(follow_symlinks=False):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield StoredBlob(entry.name, found.st_size, _time(found))
