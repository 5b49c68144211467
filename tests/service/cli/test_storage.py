"""`millrace storage fsck`: what it prints, what it deletes, and its exit codes."""

import asyncio
import os
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from domain.artifacts import Artifact
from domain.registration import ServiceInfo
from domain.storage import Blob
from infra.storage.local import LocalStorage
from service.builder import ServiceBuilder
from service.settings import Settings
from tests.service.cli.conftest import Command
from tests.service.cli.modules import bare

MODULE = """
    from domain.registration import ServiceInfo
    from service.builder import ServiceBuilder

    app = ServiceBuilder(info=ServiceInfo(id="kept", display_name="Kept")).with_database().with_artifacts().build()
"""


def keep(folder: Path, content: str, **changes: str) -> Artifact:
    """An artifact of the service, with some of its columns changed behind its back."""

    async def kept() -> Artifact:
        builder = ServiceBuilder(info=ServiceInfo(id="kept", display_name="Kept")).with_database().with_artifacts()
        app = builder.build(Settings(home=folder / "var"))
        async with app.lifespan():
            artifact = await app.artifacts.create({"data": {"content": content}})
            if changes:
                await app.artifacts.repository.update(artifact.id, changes)
            return artifact

    return asyncio.run(kept())


@pytest.fixture
def service(run: Command, tmp_path: Path) -> Command:
    """Commands where a service keeps content."""
    (tmp_path / "main.py").write_text(dedent(MODULE))
    return run


def put(folder: Path, content: bytes) -> Blob:
    return asyncio.run(LocalStorage(folder / "var" / "storage").put(content))


def test_where_rows_and_content_agree_it_says_what_it_has_seen(service: Command, tmp_path: Path) -> None:
    keep(tmp_path, "seven")
    assert service("storage", "fsck").out == "seen     1 references, 1 blobs of 7 bytes, 1 read in full: 0 findings\n"
    report = msgspec.json.decode(service("storage", "fsck", "--fast", "--json").out)
    assert (report["blobs"], report["hashed"], report["findings"]) == (1, 0, [])


def test_every_finding_is_a_line_and_an_exit_code(service: Command, tmp_path: Path) -> None:
    orphan = put(tmp_path, b"orphan")
    artifact = keep(tmp_path, "orphan", content_sha256="0" * 64)
    assert artifact.content_sha256 is not None
    asyncio.run(LocalStorage(tmp_path / "var" / "storage").delete(artifact.content_sha256))
    lines = service("storage", "fsck", exit_code=1).out.splitlines()
    assert lines[:2] == [
        f"missing  row {artifact.id}: its content {'0' * 64} is not in storage",
        f"orphan   content {orphan.sha256} (6 bytes, 0 h old) belongs to no row",
    ]
    report = msgspec.json.decode(service("storage", "fsck", "--json", exit_code=1).out)
    assert [finding["kind"] for finding in report["findings"]] == ["missing", "orphan"]


def test_orphans_are_deleted_when_they_are_old_enough(service: Command, tmp_path: Path) -> None:
    orphan = put(tmp_path, b"orphan")
    assert "orphan" in service("storage", "fsck", "--delete-orphans", exit_code=1).out
    path = tmp_path / "var/storage/sha256" / orphan.sha256[:2] / orphan.sha256[2:4] / orphan.sha256
    os.utime(path, (0, 0))
    assert service("storage", "fsck", "--delete-orphans").out.startswith("deleted  1 orphans of 6 bytes\n")
    put(tmp_path, b"orphan")
    service("storage", "fsck", "--delete-orphans", "--older-than", "0")
    assert not path.exists()


def test_a_service_that_keeps_no_content_has_none_to_examine(run: Command, tmp_path: Path) -> None:
    bare(tmp_path)
    assert "keeps no content" in run("storage", "fsck", exit_code=2).err
