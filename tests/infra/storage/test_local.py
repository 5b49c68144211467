"""Content in a folder: what accidents, crowds and tricks do to it."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from domain.errors import Corrupt, Unavailable
from domain.storage import Blob
from infra.storage.incoming import write_all
from infra.storage.local import LocalStorage
from infra.storage.threads import in_thread
from tests.processes import PATIENCE_SECONDS, ROOT, environment

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    return LocalStorage(root)


def place(root: Path, blob: Blob) -> Path:
    return root / "sha256" / blob.sha256[:2] / blob.sha256[2:4] / blob.sha256


def incoming(root: Path) -> list[Path]:
    return list((root / "incoming").iterdir())


@contextmanager
def putting(root: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that puts, killed at the end of the block at the latest."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.infra.storage.putting", str(root), how],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def receive(pieces: AsyncIterator[bytes], received: list[bytes]) -> None:
    async for piece in pieces:
        received.append(piece)  # noqa: PERF401 - what came before an error counts


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_blobs_lie_in_two_levels_of_folders_that_only_the_owner_reads(storage: LocalStorage, root: Path) -> None:
    path = place(root, await storage.put(b"content"))
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (root, *path.parents[:3])} == {0o700}
    assert incoming(root) == []


async def test_a_killed_put_leaves_only_what_is_swept(storage: LocalStorage, root: Path) -> None:
    with putting(root, "forever") as process:
        assert said(process) == "writing"
        # It is alive, so what it writes is its own, however old.
        assert await storage.sweep(timedelta(days=-1)) == 0
        process.kill()
        process.wait(PATIENCE_SECONDS)
    assert [blob async for blob in storage.blobs()] == []
    assert len(incoming(root)) == 1
    assert await storage.sweep(timedelta(hours=1)) == 0
    assert await storage.sweep(timedelta(days=-1)) == 1
    assert incoming(root) == []


async def test_a_sweep_touches_only_files(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    await storage.put(b"content")
    (root / "incoming" / "folder").mkdir()
    (root / "incoming" / "link").symlink_to(tmp_path)
    assert await storage.sweep(timedelta(days=-1)) == 0
    assert len(incoming(root)) == 2


async def test_many_processes_may_put_the_same_at_once(storage: LocalStorage, root: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(putting(root, "often")) for _ in range(4)]
        assert [said(process) for process in processes] == ["ready"] * 4
        for process in processes:
            assert process.stdin is not None
            print("go", file=process.stdin, flush=True)
        assert [said(process) for process in processes] == ["done"] * 4
    blobs = [blob async for blob in storage.blobs()]
    assert len(blobs) == 20
    assert [len(await storage.read(blob.sha256)) for blob in blobs] == [MIB] * 20
    assert incoming(root) == []


async def test_many_tasks_may_put_and_delete_the_same_at_once(storage: LocalStorage) -> None:
    for _ in range(5):
        await asyncio.gather(*(storage.put(b"content") for _ in range(10)), storage.delete("0" * 64))
    assert len([blob async for blob in storage.blobs()]) == 1


@pytest.mark.parametrize("size", [10, MIB, 3 * MIB])
async def test_corrupt_content_is_never_passed_on_whole(
    storage: LocalStorage, root: Path, tmp_path: Path, size: int
) -> None:
    blob = await storage.put(b"x" * size)
    content = b"x" * (size - 1) + b"y"
    place(root, blob).write_bytes(content)
    with pytest.raises(Corrupt, match=f"{blob.sha256} is not what was stored"):
        await storage.read(blob.sha256)
    received: list[bytes] = []
    with pytest.raises(Corrupt):
        await receive(storage.stream(blob.sha256), received)
    assert len(b"".join(received)) == max(0, size - MIB)
    with pytest.raises(Corrupt):
        await storage.fetch(blob.sha256, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


async def test_content_that_was_cut_short_is_corrupt_until_it_is_put_again(storage: LocalStorage, root: Path) -> None:
    blob = await storage.put(b"content")
    os.truncate(place(root, blob), 3)
    with pytest.raises(Corrupt):
        await storage.read(blob.sha256)
    await storage.put(b"content")
    assert await storage.read(blob.sha256) == b"content"


async def test_a_link_in_the_place_of_content_is_not_followed(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    blob = await storage.put(b"content")
    (tmp_path / "elsewhere").write_bytes(b"content")
    path = place(root, blob)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    for asked in (storage.read(blob.sha256), storage.stat(blob.sha256), storage.fetch(blob.sha256, tmp_path / "x")):
        with pytest.raises(Corrupt, match="is no file"):
            await asked
    assert [blob async for blob in storage.blobs()] == []
    await storage.put(b"content")
    assert not path.is_symlink()
    assert await storage.read(blob.sha256) == b"content"


async def test_a_folder_that_is_a_link_is_not_followed(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    blob = await storage.put(b"content")
    folder = place(root, blob).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt):
        await storage.read(blob.sha256)
    with pytest.raises(Unavailable):
        await storage.put(b"content")
    with pytest.raises(Unavailable):
        await storage.delete(blob.sha256)
    assert [blob async for blob in storage.blobs()] == []
    assert (tmp_path / "elsewhere" / blob.sha256).exists()


async def test_a_pipe_in_the_place_of_content_keeps_nobody_waiting(storage: LocalStorage, root: Path) -> None:
    blob = await storage.put(b"content")
    place(root, blob).unlink()
    os.mkfifo(place(root, blob))
    with pytest.raises(Corrupt):
        await storage.read(blob.sha256)
    await storage.put(b"content")
    assert await storage.read(blob.sha256) == b"content"


async def test_a_write_that_the_disk_refuses_is_told_and_leaves_nothing(storage: LocalStorage, root: Path) -> None:
    with putting(root, "limited") as process:
        assert said(process) == "The storage cannot be written to: File too large"
        assert said(process) == "kept 12"
    assert [blob.size async for blob in storage.blobs()] == [12]
    assert incoming(root) == []


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(tmp_path / "file" / "storage")
    for asked in (storage.put(b""), storage.put(_nothing()), storage.sweep(timedelta())):
        with pytest.raises(Unavailable, match=r"The storage cannot be .*: Not a directory"):
            await asked
    full = LocalStorage(tmp_path / "good")
    blob = await full.put(b"content")
    with pytest.raises(Unavailable, match="cannot be copied to 'no'"):
        await full.fetch(blob.sha256, tmp_path / "missing" / "no")


def test_a_full_disk_is_an_error_and_no_short_write() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left"):
            write_all(full, b"content")
    finally:
        os.close(full)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def test_a_storage_whose_folder_vanished_makes_it_again(storage: LocalStorage, root: Path) -> None:
    await storage.put(b"content")
    shutil.move(root, root.with_name("gone"))
    assert [blob async for blob in storage.blobs()] == []
    blob = await storage.put(b"content")
    assert await storage.read(blob.sha256) == b"content"


async def test_a_cancelled_put_has_ended_when_its_caller_learns_so(storage: LocalStorage, root: Path) -> None:
    reached = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(storage.put(waiting()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert incoming(root) == []


@pytest.mark.parametrize("is_failing", [False, True])
async def test_work_in_a_thread_is_waited_for_however_often_it_is_cancelled(is_failing: bool) -> None:
    reading, writing = os.pipe()
    done = []

    def work() -> None:
        os.read(reading, 1)
        done.append(True)
        if is_failing:
            raise ValueError

    task = asyncio.ensure_future(in_thread(work))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    os.write(writing, b"x")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
    os.close(reading)
    os.close(writing)
