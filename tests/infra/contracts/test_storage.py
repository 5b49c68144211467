"""What every storage promises: content comes back as it was, is kept once, and is named by nothing but its hash."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Invalid, NotFound
from domain.storage import Blob, Storage
from infra.storage.local import LocalStorage

MIB = 1024 * 1024
UNKNOWN = "0" * 64
SIZES = (0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB)
BAD_NAMES = ("", "ab", "A" * 64, "g" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", "../" * 21 + "0", "/" + "0" * 63, "\0")


@pytest.fixture(params=["local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of every kind there is."""
    return LocalStorage(tmp_path / "storage")


def named(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


async def pieces(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("size", SIZES)
async def test_content_comes_back_whichever_way_it_went_in_and_comes_out(
    storage: Storage, tmp_path: Path, size: int
) -> None:
    content = bytes(number % 251 for number in range(1000)) * (size // 1000 + 1)
    content = content[:size]
    (tmp_path / "given").write_bytes(content)
    assert await storage.put(content) == named(content)
    assert await storage.delete(named(content).sha256)
    assert await storage.put(pieces([content[:7], b"", content[7:]])) == named(content)
    assert await storage.delete(named(content).sha256)
    assert await storage.put_file(tmp_path / "given") == named(content)
    sha256 = named(content).sha256
    assert await storage.read(sha256) == content
    streamed = [piece async for piece in storage.stream(sha256)]
    assert b"".join(streamed) == content
    assert all(0 < len(piece) <= MIB for piece in streamed)
    await storage.fetch(sha256, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == content
    assert await storage.stat(sha256) == named(content)


async def test_a_fetched_file_is_the_callers_own(storage: Storage, tmp_path: Path) -> None:
    blob = await storage.put(b"content")
    (tmp_path / "taken").write_bytes(b"something longer that was there before")
    await storage.fetch(blob.sha256, tmp_path / "taken")
    with (tmp_path / "taken").open("ab") as file:
        file.write(b", changed")
    assert (tmp_path / "taken").read_bytes() == b"content, changed"
    assert await storage.read(blob.sha256) == b"content"


async def test_the_same_bytes_are_kept_once_and_count_as_new_again(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(b"content")
    await storage.put(b"content")
    [first] = [blob async for blob in storage.blobs()]
    await storage.put(pieces([b"con", b"tent"]))
    await storage.put_file(tmp_path / "given")
    [second] = [blob async for blob in storage.blobs()]
    assert (first.sha256, first.size) == (second.sha256, second.size) == (named(b"content").sha256, 7)
    assert first.modified_at <= second.modified_at <= datetime.now(UTC) + timedelta(seconds=1)


async def test_what_is_not_there_is_not_found(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=UNKNOWN):
        await storage.read(UNKNOWN)
    with pytest.raises(NotFound, match=UNKNOWN):
        await anext(storage.stream(UNKNOWN))
    with pytest.raises(NotFound, match=UNKNOWN):
        await storage.fetch(UNKNOWN, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    assert await storage.stat(UNKNOWN) is None
    assert not await storage.delete(UNKNOWN)
    assert [blob async for blob in storage.blobs()] == []
    assert await storage.sweep(timedelta()) == 0


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_is_no_hash_is_refused(storage: Storage, tmp_path: Path, name: str) -> None:
    for asked in (storage.read(name), anext(storage.stream(name)), storage.stat(name), storage.delete(name)):
        with pytest.raises(Invalid, match="must be 64 lower-case hexadecimal digits"):
            await asked
    with pytest.raises(Invalid, match="must be 64 lower-case hexadecimal digits"):
        await storage.fetch(name, tmp_path / "taken")


async def test_deleted_content_is_gone_and_may_come_again(storage: Storage) -> None:
    blob = await storage.put(b"content")
    assert await storage.delete(blob.sha256)
    assert not await storage.delete(blob.sha256)
    assert await storage.stat(blob.sha256) is None
    assert await storage.put(b"content") == blob
    assert await storage.read(blob.sha256) == b"content"


async def test_what_was_put_again_since_is_not_deleted(storage: Storage) -> None:
    blob = await storage.put(b"content")
    [before] = [blob async for blob in storage.blobs()]
    # Clocks of file systems are coarse.
    while [now async for now in storage.blobs()] == [before]:
        await storage.put(b"content")
    assert not await storage.delete(blob.sha256, modified_at=before.modified_at)
    [now] = [blob async for blob in storage.blobs()]
    assert await storage.delete(blob.sha256, modified_at=now.modified_at)


async def test_a_put_that_fails_in_the_middle_leaves_nothing(storage: Storage) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * (2 * MIB)
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        await storage.put(failing())
    assert [blob async for blob in storage.blobs()] == []
    assert await storage.sweep(timedelta()) == 0


async def test_files_that_cannot_be_read_are_refused_by_name(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="'missing' cannot be read: No such file"):
        await storage.put_file(tmp_path / "missing")
    with pytest.raises(Invalid, match="must be a file"):
        await storage.put_file(tmp_path)
    assert await storage.sweep(timedelta()) == 0


async def test_everything_that_is_stored_is_listed(storage: Storage) -> None:
    wanted = {(await storage.put(bytes([number]))).sha256 for number in range(100)}
    assert {blob.sha256 async for blob in storage.blobs()} == wanted


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=2000), max_size=8))
async def test_any_content_in_any_pieces_comes_back(storage: Storage, parts: list[bytes]) -> None:
    content = b"".join(parts)
    blob = await storage.put(pieces(parts))
    assert blob == named(content) == await storage.put(content)
    assert await storage.read(blob.sha256) == content
