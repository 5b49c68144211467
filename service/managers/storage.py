"""The operation that proves that rows and stored content agree, and clears away what belongs to no row."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import msgspec

from domain.errors import Corrupt, NotFound
from domain.fsck import Comparison, Disagreement, Finding, Reference, Report, compare, old_enough
from domain.ports import Clock
from domain.storage import Blob, Storage, is_sha256

References = Callable[[], AsyncIterator[Reference]]
"""All references, anew with every call."""
LEAST_AGE = timedelta(hours=24)
"""How old an orphan is by default before it is deleted; longer than content ever waits for its row."""


class StorageCheck:
    """Examines one storage and the rows that rely on it."""

    def __init__(self, storage: Storage, references: References, clock: Clock) -> None:
        self._storage = storage
        self._references = references
        self._clock = clock

    async def examine(self, *, is_fast: bool = False) -> Report:
        """Compare all rows with all blobs; reads every blob in full unless `is_fast`."""
        comparison = Comparison()
        # Blobs first: content comes before its row, so no row can be seen whose content came too late for the list.
        async for blob in self._storage.blobs():
            comparison.add(blob)
        wrong = [finding async for finding in self._wrong(comparison)]
        corrupt = [] if is_fast else [finding async for finding in self._corrupt(comparison)]
        bad = {finding.sha256 for finding in corrupt}
        # A blob cut short is one thing gone wrong, not two.
        sizes = [item for item in wrong if item.kind is Disagreement.SIZE and item.sha256 not in bad]
        missing = [item for item in wrong if item.kind is Disagreement.MISSING]
        orphans = list(comparison.orphans(self._clock()))
        return Report(
            references=comparison.references,
            blobs=len(comparison.blobs),
            bytes=comparison.bytes,
            hashed=0 if is_fast else len(comparison.blobs),
            findings=[*await self._still_referenced(missing), *corrupt, *sizes, *orphans],
        )

    async def delete_orphans(self, report: Report, older_than: timedelta = LEAST_AGE) -> Report:
        """Delete the orphans of a report that are old enough and still orphans; returns what is left of the report."""
        orphans = {item.sha256: item for item in report.findings if item.kind is Disagreement.ORPHAN}
        wanted = {sha256: item for sha256, item in orphans.items() if old_enough(item, older_than)}
        if wanted:
            async for reference in self._references():
                wanted.pop(reference.sha256, None)
        # A row from now on comes after a put, which has changed the time and so keeps the blob.
        deleted = [item for item in wanted.values() if await self._is_deleted(item)]
        gone = {item.sha256 for item in deleted}
        left = [item for item in report.findings if item.kind is not Disagreement.ORPHAN or item.sha256 not in gone]
        return msgspec.structs.replace(
            report,
            findings=left,
            deleted=len(deleted),
            deleted_bytes=sum(item.size or 0 for item in deleted),
        )

    async def _is_deleted(self, orphan: Finding) -> bool:
        return await self._storage.delete(orphan.sha256, modified_at=orphan.modified_at)

    async def _wrong(self, comparison: Comparison) -> AsyncIterator[Finding]:
        async for reference in self._references():
            blob = comparison.find(reference) or await self._stat(reference.sha256)
            if finding := compare(reference, blob):
                yield finding

    async def _stat(self, sha256: str) -> Blob | None:
        """A blob that was put after the list was made, or is something else than a file."""
        try:
            return await self._storage.stat(sha256) if is_sha256(sha256) else None
        except Corrupt:
            return None

    async def _corrupt(self, comparison: Comparison) -> AsyncIterator[Finding]:
        for blob in comparison.blobs:
            try:
                async for _ in self._storage.stream(blob.sha256):
                    pass
            except Corrupt:
                yield Finding(kind=Disagreement.CORRUPT, sha256=blob.sha256, size=blob.size)
            except NotFound:
                # Deleted since the list was made.
                continue

    async def _still_referenced(self, missing: Sequence[Finding]) -> list[Finding]:
        """Without those whose row has been deleted meanwhile, and then its content."""
        if not missing:
            return []
        wanted = {(item.row_id, item.sha256) for item in missing}
        now = {key async for item in self._references() if (key := (item.row_id, item.sha256)) in wanted}
        return [item for item in missing if (item.row_id, item.sha256) in now]
