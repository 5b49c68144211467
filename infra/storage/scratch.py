"""Folders for runs, gone when the run is over; those of killed processes go at the next start."""

import logging
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from uuid import uuid4

from domain.errors import Invalid, Unavailable, cut
from infra.storage.folders import is_taken
from infra.storage.threads import in_thread

logger = logging.getLogger("millrace.scratch")

# Nothing else is ever swept, for `root` may be a folder that others use too.
_OWNER = re.compile(r"owner-[0-9]+-[0-9a-f]{32}")
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """The scratch folders below `root`. Each owner, which is a process, has a folder there that it keeps locked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own: tuple[Path, int] | None = None
        self._making = Lock()

    @asynccontextmanager
    async def directory(self, job_id: str) -> AsyncIterator[Path]:
        """A private, empty folder for a run; removed with all that is in it after the block, whatever happens there.

        Raises `Invalid` for an id that makes no file name, and `Unavailable`.
        """
        if not _JOB.fullmatch(job_id):
            raise Invalid(f"job_id {cut(job_id)!r} names no folder: it must be letters, digits, - and _, at most 64")
        path = await in_thread(self._made, job_id)
        try:
            yield path
        finally:
            await in_thread(_removed, path)

    async def sweep(self) -> int:
        """Remove the folders of owners that are gone; returns how many there were."""
        return await in_thread(self._sweep)

    async def close(self) -> None:
        """Remove the folder of this owner, which needs it no more."""
        await in_thread(self._close)

    def _made(self, job_id: str) -> Path:
        try:
            with self._making:
                self._own = self._own or self._owner()
            return Path(tempfile.mkdtemp(prefix=f"{job_id}-", dir=self._own[0]))
        except OSError as error:
            raise Unavailable(f"No scratch folder can be made: {error.strerror}") from error

    def _owner(self) -> tuple[Path, int]:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = (self.root / f"owner-{os.getpid()}-{uuid4().hex}").absolute()
            path.mkdir(mode=0o700)
            folder = os.open(path, _FOLDER)
            # A sweep may come between the two; what it has removed, or is about to, is not ours.
            if not is_taken(folder) and path.exists():
                return path, folder
            os.close(folder)

    def _sweep(self) -> int:
        return sum(_is_swept(path) for path in self._owners())

    def _owners(self) -> Iterator[Path]:
        try:
            yield from [path for path in self.root.iterdir() if _OWNER.fullmatch(path.name)]
        except OSError as error:
            if self.root.exists():
                logger.warning("%s cannot be swept: %s", self.root, error)

    def _close(self) -> None:
        with self._making:
            own, self._own = self._own, None
        if own is not None:
            _removed(own[0])
            os.close(own[1])


def _is_swept(path: Path) -> bool:
    try:
        folder = os.open(path, _FOLDER)
    except OSError:
        # Swept by somebody else meanwhile, or no folder at all.
        return False
    try:
        return not is_taken(folder) and _removed(path)
    finally:
        os.close(folder)


def _removed(path: Path) -> bool:
    """Remove a folder; what stands in the way is logged, for the work that needed the folder is done."""
    try:
        remove(path)
    except OSError as error:
        logger.warning("%s is left over: %s", path, error)
        return False
    return True


def remove(path: Path) -> None:
    """Remove a folder and all below it, however deep and whatever its rights. Raises `OSError`."""
    # Folders are moved up before they are emptied: depth costs neither descriptors nor stack nor long paths.
    folders = [path]
    while folders:
        folder = folders.pop()
        folder.chmod(0o700)
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(0o700)
                folders.append(Path(entry.path).rename(path.parent / f".removed-{uuid4().hex}"))
            else:
                Path(entry.path).unlink()
        folder.rmdir()
