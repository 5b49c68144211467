"""Whether rows and stored content agree: what is compared, and how a disagreement is called."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.storage import Blob, StoredBlob, is_sha256


class Reference(msgspec.Struct, frozen=True):
    """A row that relies on content; `size` is None when the row does not know it."""

    row_id: str
    sha256: str
    size: int | None = None


class Disagreement(StrEnum):
    """What can be wrong with a row and its content."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    SIZE = "size"
    ORPHAN = "orphan"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One disagreement; `size` is that of the blob, `expected` what the row says, `age_seconds` that of an orphan."""

    kind: Disagreement
    sha256: str
    row_id: str | None = None
    size: int | None = None
    expected: int | None = None
    age_seconds: int | None = None
    modified_at: datetime | None = None

    @property
    def text(self) -> str:
        """The finding as a sentence."""
        match self.kind:
            case Disagreement.MISSING:
                return f"row {self.row_id}: its content {self.sha256} is not in storage"
            case Disagreement.CORRUPT:
                return f"content {self.sha256} is not what was stored"
            case Disagreement.SIZE:
                return (
                    f"row {self.row_id}: its content {self.sha256} has {self.size} bytes, the row says {self.expected}"
                )
        return f"content {self.sha256} ({self.size} bytes, {(self.age_seconds or 0) // 3600} h old) belongs to no row"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination has seen and found. `hashed` blobs were read in full; `deleted` orphans are no findings."""

    references: int
    blobs: int
    bytes: int
    hashed: int
    findings: list[Finding]
    deleted: int = 0
    deleted_bytes: int = 0


class Comparison:
    """Compares blobs, which come first, with rows. Its memory grows with the number of blobs and of findings."""

    def __init__(self) -> None:
        self._blobs: dict[str, StoredBlob] = {}
        self._referenced: set[str] = set()
        self.references = 0

    @property
    def blobs(self) -> list[StoredBlob]:
        """What is in storage."""
        return list(self._blobs.values())

    @property
    def bytes(self) -> int:
        """How much is in storage."""
        return sum(blob.size for blob in self._blobs.values())

    def add(self, blob: StoredBlob) -> None:
        """A blob that is in storage."""
        self._blobs[blob.sha256] = blob

    def find(self, reference: Reference) -> Blob | None:
        """The content of a row among the blobs that were added."""
        self.references += 1
        self._referenced.add(reference.sha256)
        found = self._blobs.get(reference.sha256)
        return Blob(found.sha256, found.size) if found else None

    def orphans(self, now: datetime) -> Iterator[Finding]:
        """The blobs that no row has relied on."""
        for blob in self._blobs.values():
            if blob.sha256 not in self._referenced:
                yield Finding(
                    kind=Disagreement.ORPHAN,
                    sha256=blob.sha256,
                    size=blob.size,
                    age_seconds=max(0, int((now - blob.modified_at).total_seconds())),
                    modified_at=blob.modified_at,
                )


def compare(reference: Reference, blob: Blob | None) -> Finding | None:
    """What is wrong with a row's content, as far as can be told without reading it."""
    if blob is None or not is_sha256(reference.sha256):
        return Finding(kind=Disagreement.MISSING, sha256=reference.sha256, row_id=reference.row_id)
    if reference.size in (None, blob.size):
        return None
    return Finding(
        kind=Disagreement.SIZE,
        sha256=reference.sha256,
        row_id=reference.row_id,
        size=blob.size,
        expected=reference.size,
    )


def old_enough(finding: Finding, older_than: timedelta) -> bool:
    """Whether an orphan is old enough that no row can be on its way to it."""
    return finding.age_seconds is not None and finding.age_seconds >= older_than.total_seconds()
