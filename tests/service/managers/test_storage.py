"""Rows and stored content: every way in which they can disagree is found, and only true orphans are deleted."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.fsck import Disagreement, Reference, Report
from infra.storage.local import LocalStorage
from service.managers.storage import StorageCheck

UNKNOWN = "0" * 64


class Rows:
    """References that change: `between` happens after the first reading of them."""

    def __init__(self, *rows: Reference) -> None:
        self.rows = list(rows)
        self.between: Callable[[], Awaitable[object]] | None = None

    async def __call__(self) -> AsyncIterator[Reference]:
        for row in list(self.rows):
            yield row
        if self.between is not None:
            happening, self.between = self.between, None
            await happening()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    return LocalStorage(root)


def check(storage: LocalStorage, rows: Rows, later: timedelta = timedelta(hours=25)) -> StorageCheck:
    return StorageCheck(storage, rows, lambda: datetime.now(UTC) + later)


def kinds(report: Report) -> list[tuple[str, str | None]]:
    return [(finding.kind.value, finding.row_id) for finding in report.findings]


def place(root: Path, sha256: str) -> Path:
    return root / "sha256" / sha256[:2] / sha256[2:4] / sha256


async def test_where_all_agree_nothing_is_found(storage: LocalStorage) -> None:
    blob = await storage.put(b"content")
    report = await check(storage, Rows(Reference("1", blob.sha256, 7), Reference("2", blob.sha256))).examine()
    assert report == Report(references=2, blobs=1, bytes=7, hashed=1, findings=[])


async def test_every_disagreement_is_found(storage: LocalStorage, root: Path) -> None:
    good, changed, short = await storage.put(b"good"), await storage.put(b"changed"), await storage.put(b"short")
    place(root, changed.sha256).write_bytes(b"CHANGED")
    os.truncate(place(root, short.sha256), 2)
    await storage.put(b"orphan")
    rows = Rows(
        Reference("good", good.sha256, 4),
        Reference("wrong", good.sha256, 5),
        Reference("changed", changed.sha256, 7),
        Reference("short", short.sha256, 5),
        Reference("missing", UNKNOWN, 1),
        Reference("nonsense", "../x", 1),
    )
    full = await check(storage, rows).examine()
    assert kinds(full)[:2] == [("missing", "missing"), ("missing", "nonsense")]
    assert {item.sha256 for item in full.findings if item.kind is Disagreement.CORRUPT} == {
        changed.sha256,
        short.sha256,
    }
    assert kinds(full)[4:] == [("size", "wrong"), ("orphan", None)]
    assert (full.references, full.blobs, full.hashed) == (6, 4, 4)
    fast = await check(storage, rows).examine(is_fast=True)
    assert sorted(kinds(fast), key=str) == sorted(
        [("missing", "missing"), ("missing", "nonsense"), ("size", "wrong"), ("size", "short"), ("orphan", None)],
        key=str,
    )
    assert fast.hashed == 0


async def test_a_link_in_the_place_of_content_is_no_content(storage: LocalStorage, root: Path) -> None:
    blob = await storage.put(b"content")
    place(root, blob.sha256).unlink()
    place(root, blob.sha256).symlink_to("/etc/hostname")
    assert kinds(await check(storage, Rows(Reference("1", blob.sha256))).examine()) == [("missing", "1")]


async def test_a_row_that_is_deleted_meanwhile_misses_nothing(storage: LocalStorage) -> None:
    rows = Rows(Reference("1", UNKNOWN))

    async def deleted() -> None:
        rows.rows.clear()

    rows.between = deleted
    assert kinds(await check(storage, rows).examine()) == []


async def test_content_deleted_while_it_is_examined_is_not_corrupt(storage: LocalStorage) -> None:
    blob = await storage.put(b"content")
    rows = Rows()
    rows.between = lambda: storage.delete(blob.sha256)
    assert [kind for kind, _ in kinds(await check(storage, rows).examine())] == ["orphan"]


async def test_only_orphans_that_are_old_enough_are_deleted(storage: LocalStorage) -> None:
    kept, orphan = await storage.put(b"kept"), await storage.put(b"orphan")
    young = check(storage, Rows(Reference("1", kept.sha256)), later=timedelta(hours=23))
    report = await young.examine()
    assert await young.delete_orphans(report) == report
    old = check(storage, Rows(Reference("1", kept.sha256)))
    left = await old.delete_orphans(await old.examine())
    assert (left.findings, left.deleted, left.deleted_bytes) == ([], 1, 6)
    assert await storage.stat(orphan.sha256) is None
    assert await storage.read(kept.sha256) == b"kept"


async def test_an_orphan_that_a_row_has_found_meanwhile_is_kept(storage: LocalStorage) -> None:
    orphan = await storage.put(b"orphan")
    rows = Rows()
    checking = check(storage, rows)
    report = await checking.examine()
    rows.rows.append(Reference("1", orphan.sha256))
    assert (await checking.delete_orphans(report)).deleted == 0
    assert await storage.read(orphan.sha256) == b"orphan"


async def test_an_orphan_that_is_put_again_meanwhile_is_kept(storage: LocalStorage, root: Path) -> None:
    orphan = await storage.put(b"orphan")
    os.utime(place(root, orphan.sha256), (0, 0))
    rows = Rows()
    checking = check(storage, rows)
    report = await checking.examine()
    # After the second look at the rows, right before it would be deleted.
    rows.between = lambda: storage.put(b"orphan")
    assert (await checking.delete_orphans(report)).deleted == 0
    assert await storage.read(orphan.sha256) == b"orphan"
