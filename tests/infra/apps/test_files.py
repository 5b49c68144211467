"""Files are found only inside of their folder, held in memory while they stay the same, and read in pieces."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.apps import Asset, AssetChanged
from infra.apps.files import PIECE_BYTES, LocalFiles, inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder beside which there is a secret."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.js").write_text("a")
    (root / ".env").write_text("hidden")
    return root


async def found(files: LocalFiles, *names: str, encodings: tuple[str, ...] = ()) -> Asset:
    asset = await files.find(names, encodings)
    assert asset is not None
    return asset


async def whole(files: LocalFiles, asset: Asset) -> bytes:
    return b"".join([piece async for piece in files.read(asset, 0, asset.size)])


@pytest.mark.parametrize(
    "names", [["nope"], ["sub"], [], ["a.js", "b"], ["a" * 300], ["\0"], ["\udc80"], ["..", "secret"], [".env"]]
)
async def test_what_is_no_file_in_the_folder_is_not_found(root: Path, names: list[str]) -> None:
    assert await LocalFiles(root).find(names) is None


async def test_links_are_followed_inside_only(root: Path) -> None:
    (root / "inside").symlink_to(root / "a.js")
    (root / "outside").symlink_to(root.parent / "secret")
    (root / "above").symlink_to(root.parent)
    (root / "hidden").symlink_to(root / ".env")
    (root / "loop").symlink_to(root / "loop")
    files = LocalFiles(root)
    assert (await found(files, "inside")).content == b"a"
    for names in (["outside"], ["above", "secret"], ["hidden"], ["loop"]):
        assert await files.find(names) is None


async def test_what_would_never_end_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert await LocalFiles(root).find(["pipe"]) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_not_found(root: Path) -> None:
    (root / "a.js").chmod(0)
    assert await LocalFiles(root).find(["a.js"]) is None


async def test_a_file_is_held_until_it_changes(root: Path) -> None:
    files = LocalFiles(root)
    first = await found(files, "a.js")
    assert await found(files, "a.js") is first
    (root / "a.js").write_text("other")
    second = await found(files, "a.js")
    assert second.content == b"other"
    assert second.tag != first.tag


async def test_the_tag_is_made_from_the_content_alone(root: Path) -> None:
    (root / "sub" / "b.js").write_text("a")
    files = LocalFiles(root, largest=0)
    first, second = await found(files, "a.js"), await found(LocalFiles(root), "sub", "b.js")
    assert first.tag == second.tag
    assert first.content is None
    assert second.content == b"a"


async def test_memory_holds_what_was_asked_for_last(root: Path) -> None:
    for name in "bcd":
        (root / name).write_bytes(name.encode() * 10)
    files = LocalFiles(root, most=20)
    first = await found(files, "b")
    last = [await found(files, name) for name in "cd"]
    assert [await found(files, name) for name in "cd"] == last
    assert await found(files, "b") is not first


async def test_a_large_file_is_read_in_pieces_from_where_one_likes(root: Path) -> None:
    content = os.urandom(2 * PIECE_BYTES + 10)
    (root / "large").write_bytes(content)
    files = LocalFiles(root, largest=10)
    asset = await found(files, "large")
    assert (asset.content, asset.size) == (None, len(content))
    assert await whole(files, asset) == content
    assert b"".join([piece async for piece in files.read(asset, 5, PIECE_BYTES + 9)]) == content[5 : PIECE_BYTES + 9]


@pytest.mark.parametrize("change", ["gone", "other", "link"])
async def test_a_large_file_that_is_another_one_is_not_sent(root: Path, change: str) -> None:
    files = LocalFiles(root, largest=0)
    asset = await found(files, "a.js")
    (root / "a.js").unlink()
    if change == "other":
        (root / "a.js").write_text("changed")
    if change == "link":
        (root / "a.js").symlink_to(root.parent / "secret")
    with pytest.raises(AssetChanged):
        await whole(files, asset)


async def test_a_large_file_that_becomes_shorter_is_noticed(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 2 * PIECE_BYTES)
    files = LocalFiles(root, largest=0)
    asset = await found(files, "large")
    pieces = files.read(asset, 0, asset.size)
    await anext(pieces)
    os.truncate(root / "large", PIECE_BYTES)
    with pytest.raises(AssetChanged, match="shorter"):
        await anext(pieces)


async def test_a_compressed_file_beside_it_is_chosen_by_the_order_of_encodings(root: Path) -> None:
    files = LocalFiles(root)
    assert (await found(files, "a.js")).has_variants is False
    (root / "a.js.gz").write_bytes(b"gz")
    (root / "a.js.br").write_bytes(b"br")
    for encodings, encoding, content in (
        (("br", "gzip"), "br", b"br"),
        (("gzip",), "gzip", b"gz"),
        ((), None, b"a"),
    ):
        asset = await found(files, "a.js", encodings=encodings)
        assert (asset.encoding, asset.content, asset.has_variants) == (encoding, content, True)
    (root / "only.js.gz").write_bytes(b"gz")
    assert await files.find(["only.js"], ["gzip"]) is None


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve() / "root"
        root.mkdir()
        (root / "a").write_text("")
        (root.parent / "b").write_text("")
        yield root


@given(st.lists(st.one_of(st.sampled_from(["..", ".", "a", "b", "root", "/", "~", ""]), st.text(max_size=5))))
def test_nothing_outside_is_ever_found(folder: Path, names: list[str]) -> None:
    assert inside(folder, names) in {None, folder / "a"}
