"""Scratch folders: private, always gone afterwards, and those of the dead go at the next start."""

import asyncio
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from domain.errors import Invalid, Unavailable
from infra.storage.scratch import Scratch, remove
from tests.processes import PATIENCE_SECONDS, ROOT, environment


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def make(folder: Path) -> None:
    folder.mkdir()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left(root: Path) -> list[Path]:
    """What lies in the folders of all owners."""
    return [path for owner in root.iterdir() for path in owner.iterdir()]


def deep(path: Path, levels: int) -> None:
    """Nest folders deeper than any path may be long."""
    folder = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("a_folder", dir_fd=folder)
        inner = os.open("a_folder", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)


async def test_a_run_has_a_private_folder_that_is_gone_afterwards(root: Path) -> None:
    scratch = Scratch(root)
    async with scratch.directory("job") as path, scratch.directory("job") as other:
        assert path != other
        assert names(path) == []
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.parent == other.parent
    assert left(root) == []
    await scratch.close()
    assert names(root) == []
    await scratch.close()


async def test_it_is_gone_too_when_the_work_fails_or_is_cancelled(root: Path) -> None:
    scratch = Scratch(root)
    with pytest.raises(ValueError, match="failed"):
        async with scratch.directory("job"):
            raise ValueError("failed")

    async def work() -> None:
        async with scratch.directory("job") as path:
            (path / "file").write_text("x")
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    task = asyncio.ensure_future(work())
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert left(root) == []
    await scratch.close()


async def test_whatever_a_run_leaves_is_removed_and_what_it_links_to_is_not(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make(outside)
    outside.chmod(0o755)
    (outside / "kept").write_text("x")
    scratch = Scratch(root)
    async with scratch.directory("job") as path:
        for number in range(3000):
            (path / str(number)).write_bytes(b"")
        make(path / "inner")
        make(path / "inner" / "locked")
        (path / "inner" / "locked" / "file").write_text("x")
        (path / "inner" / "locked" / "file").chmod(0)
        (path / "inner" / "locked").chmod(0)
        (path / "inner").chmod(0o500)
        (path / "link").symlink_to(outside)
        (path / "dangling").symlink_to("nowhere")
        os.mkfifo(path / "pipe")
        deep(path, 1500)
        path.chmod(0o500)
    assert left(root) == []
    assert (outside / "kept").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    await scratch.close()


async def test_a_folder_that_the_run_itself_removed_is_only_mentioned(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = Scratch(root)
    with caplog.at_level(logging.WARNING):
        async with scratch.directory("job") as path:
            remove(path)
    assert "is left over" in caplog.text
    await scratch.close()


@contextmanager
def owning(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a scratch folder, killed at the end of the block at the latest."""
    command = [sys.executable, "-m", "tests.infra.storage.owning", str(root)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()


async def test_only_the_folders_of_the_dead_are_swept(root: Path) -> None:
    alive, scratch = Scratch(root), Scratch(root)
    with owning(root) as process:
        make(root / "notes")
        async with alive.directory("job") as path:
            assert await scratch.sweep() == 0
            process.kill()
            process.wait(PATIENCE_SECONDS)
            assert await scratch.sweep() == 1
            assert await alive.sweep() == 0
            assert names(path.parent) == [path.name]
    await alive.close()
    assert names(root) == ["notes"]


async def test_a_sweep_passes_over_what_is_no_folder(root: Path, tmp_path: Path) -> None:
    name = f"owner-1-{'0' * 32}"
    assert await Scratch(root).sweep() == 0
    make(root)
    (root / name).symlink_to(tmp_path)
    assert await Scratch(root).sweep() == 0
    assert (root / name).is_symlink()


async def test_folders_that_cannot_be_made_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    scratch = Scratch(tmp_path / "file")
    with pytest.raises(Unavailable, match="No scratch folder can be made"):
        async with scratch.directory("job"):
            pass
    assert await scratch.sweep() == 0
    assert "cannot be swept" in caplog.text


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../x", "a\0", "x" * 65])
async def test_an_id_that_is_no_file_name_is_refused(root: Path, id: str) -> None:
    with pytest.raises(Invalid, match="names no folder"):
        async with Scratch(root).directory(id):
            pass
    assert names(root.parent) == []
