"""What a comparison of rows and blobs finds, and how it says so."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.fsck import Comparison, Disagreement, Finding, Reference, compare, old_enough
from domain.storage import Blob, StoredBlob

A, B = "a" * 64, "b" * 64
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "reference, blob, kind",
    [
        (Reference("1", A, 3), Blob(A, 3), None),
        (Reference("1", A), Blob(A, 3), None),
        (Reference("1", A, 4), Blob(A, 3), Disagreement.SIZE),
        (Reference("1", A, 3), None, Disagreement.MISSING),
        (Reference("1", "../x", 3), None, Disagreement.MISSING),
    ],
)
def test_a_row_agrees_with_its_content_or_not(
    reference: Reference, blob: Blob | None, kind: Disagreement | None
) -> None:
    found = compare(reference, blob)
    assert (found and found.kind) == kind


def test_blobs_without_a_row_are_orphans_with_their_age() -> None:
    comparison = Comparison()
    for sha256 in (A, B):
        comparison.add(StoredBlob(sha256, 5, NOW - timedelta(hours=30)))
    assert comparison.find(Reference("1", A)) == Blob(A, 5)
    assert comparison.find(Reference("2", "c" * 64)) is None
    [orphan] = comparison.orphans(NOW)
    assert (orphan.sha256, orphan.size, orphan.age_seconds) == (B, 5, 30 * 3600)
    assert (comparison.references, len(comparison.blobs), comparison.bytes) == (2, 2, 10)
    assert old_enough(orphan, timedelta(hours=30))
    assert not old_enough(orphan, timedelta(hours=31))


def test_every_kind_of_finding_is_a_sentence() -> None:
    said = [
        Finding(kind=kind, sha256=A, row_id="1", size=2, expected=3, age_seconds=7200).text for kind in Disagreement
    ]
    assert said == [
        f"row 1: its content {A} is not in storage",
        f"content {A} is not what was stored",
        f"row 1: its content {A} has 2 bytes, the row says 3",
        f"content {A} (2 bytes, 2 h old) belongs to no row",
    ]
