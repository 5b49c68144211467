"""The cache in a folder: bounded, whole or not at all, and still there after a restart."""

import os
from pathlib import Path

import pytest

from infra.cache.disk import DiskCache
from tests.infra.cache.clocks import Clock


def opened(folder: Path, namespace: str = "now", most_bytes: int = 100_000, clock: Clock | None = None) -> DiskCache:
    return DiskCache(folder / "cache", namespace=namespace, most_bytes=most_bytes, clock=clock or Clock())


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def test_what_is_kept_is_there_for_those_who_come_later_until_it_ends(tmp_path: Path) -> None:
    clock = Clock()
    await opened(tmp_path, clock=clock).set("a", b"1", ttl_seconds=10)
    clock.now += 4
    assert await opened(tmp_path, clock=clock).get_with_ttl("a") == (b"1", 6)
    clock.now += 6
    assert await opened(tmp_path, clock=clock).get("a") is None
    assert size(tmp_path) == 0


async def test_there_is_never_much_more_than_there_may_be_and_what_is_used_stays(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    for number in range(300):
        await cache.set(str(number), bytes(1_000), ttl_seconds=60)
        path = cache._path("0")
        # The clock of a file system is coarse: what was used in the same tick counts as older.
        os.utime(path, (2_000_000_000, 2_000_000_000))
        assert size(tmp_path) <= 100_000 + 1_100
    assert await cache.get("0") == bytes(1_000)
    assert await cache.get("1") is None
    assert cache.stats().evictions > 150
    assert cache.stats().bytes == size(tmp_path)


async def test_what_two_processes_keep_is_bounded_together(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    for number in range(200):
        await one.set(f"one {number}", bytes(1_000), ttl_seconds=60)
        await other.set(f"other {number}", bytes(1_000), ttl_seconds=60)
    assert size(tmp_path) <= 200_000 + 2_000


async def test_what_code_that_is_gone_has_kept_goes(tmp_path: Path) -> None:
    await opened(tmp_path, "before").set("a", b"1", ttl_seconds=60)
    now = opened(tmp_path, "now")
    assert await now.get("a") is None
    await now.set("b", b"1", ttl_seconds=60)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["now"]


@pytest.mark.parametrize("damage", [b"", b"short", None])
async def test_half_a_file_is_none(tmp_path: Path, damage: bytes | None) -> None:
    cache = opened(tmp_path)
    await cache.set("a", b"value", ttl_seconds=60)
    path = cache._path("a")
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert await cache.get("a") is None
    await cache.set("a", b"value", ttl_seconds=60)
    assert await cache.get("a") == b"value"


async def test_a_folder_that_cannot_be_used_is_counted_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = opened(tmp_path)
    await cache.set("a", b"1", ttl_seconds=60)
    assert await cache.get("a") is None
    assert cache.stats().errors == 2
