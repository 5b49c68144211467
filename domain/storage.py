"""Content that is kept by what it is: named by its SHA-256, stored once, proved when it is read."""

import re
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from domain.errors import Invalid, cut

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Blob(msgspec.Struct, frozen=True):
    """Stored content: its name, which is the SHA-256 of its bytes in lower-case hex, and how many bytes it has."""

    sha256: str
    size: int


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob as it lies in storage; `modified_at` is when somebody last put it there, be it again."""

    sha256: str
    size: int
    modified_at: datetime


def is_sha256(text: str) -> bool:
    """Whether `text` may be the name of a blob."""
    return _SHA256.fullmatch(text) is not None


def checked_sha256(text: str) -> str:
    """`text` when it may be the name of a blob. Raises `Invalid`."""
    if not is_sha256(text):
        raise Invalid(f"sha256 {cut(text)!r} names no content: it must be 64 lower-case hexadecimal digits")
    return text


class Storage(Protocol):
    """Where content is kept.

    Every method raises `Unavailable` when the storage cannot be used, and `Invalid` for what is no SHA-256.
    """

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Blob:
        """Keep content; when this returns it survives a crash. The same bytes are kept once and count as new again."""
        ...

    async def put_file(self, path: Path) -> Blob:
        """Keep what is in a file. Raises `Invalid` when it cannot be read."""
        ...

    async def read(self, sha256: str) -> bytes:
        """All of a blob, proved. Raises `NotFound`, and `Corrupt` when it is not what it was."""
        ...

    def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """A blob in pieces; raises as `read` does, `Corrupt` before the last piece."""
        ...

    async def fetch(self, sha256: str, path: Path) -> None:
        """Write a blob to a file that is then the caller's own; raises as `read` does and leaves no file then."""
        ...

    async def stat(self, sha256: str) -> Blob | None:
        """What is known of a blob without reading it."""
        ...

    async def delete(self, sha256: str, *, modified_at: datetime | None = None) -> bool:
        """Remove a blob, with `modified_at` only if nobody has put it again since; returns whether it was removed."""
        ...

    def blobs(self) -> AsyncIterator[StoredBlob]:
        """Everything that is stored, in no particular order."""
        ...

    async def sweep(self, older_than: timedelta) -> int:
        """Remove what interrupted puts have left behind; returns how many there were."""
        ...
