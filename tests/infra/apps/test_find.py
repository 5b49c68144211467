"""Apps are found in folders and in packages; what is wrong with one is said."""

import logging
import zipfile
from pathlib import Path

import pytest

from domain.errors import Misconfigured
from infra.apps.find import find_app, find_apps
from tests.infra.apps.folders import make_app


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that brings two apps."""
    root = tmp_path / "apps_of_a_package"
    make_app(root / "apps" / "one")
    make_app(root / "apps" / "two")
    (root / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return root.name


async def test_an_app_in_a_folder_is_found_with_its_files(tmp_path: Path) -> None:
    app = find_app(make_app(tmp_path / "one"))
    assert (app.info.prefix, app.info.is_package) == ("/one", False)
    asset = await app.files.find(["index.html"])
    assert asset is not None
    assert asset.content == b"<h1>Hi</h1>"


def test_a_prefix_can_be_given(tmp_path: Path) -> None:
    assert find_app(str(make_app(tmp_path / "one")), "/other").info.prefix == "/other"


def test_an_app_in_a_package_is_found(package: str) -> None:
    app = find_app((package, "apps/one"))
    assert (app.info.name, app.info.is_package, app.place) == ("one", True, f"{package}:apps/one")


def test_all_apps_of_a_package_are_found(package: str) -> None:
    assert [app.info.name for app in find_apps((package, "apps"))] == ["one", "two"]
    with pytest.raises(Misconfigured, match=f"{package}:/manifest.json cannot be read"):
        find_app((package, ""))


def test_a_broken_app_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_app(tmp_path / "good")
    make_app(tmp_path / "bad", prefix="/api/bad")
    make_app(tmp_path / "lost", entry="start.html")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "readme.txt").write_text("")
    with caplog.at_level(logging.WARNING):
        assert [app.info.name for app in find_apps(tmp_path)] == ["good"]
    bad, empty, lost = [record.getMessage() for record in caplog.records]
    assert "prefix is '/api/bad'" in bad
    assert "empty/manifest.json cannot be read (No such file or directory)" in empty
    assert "entry is 'start.html'; it must be a file inside of" in lost


def test_an_entry_outside_of_the_app_is_none(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "one", entry="page.html")
    (tmp_path / "page.html").write_text("")
    (folder / "page.html").symlink_to(tmp_path / "page.html")
    with pytest.raises(Misconfigured, match=r"entry is 'page\.html'"):
        find_app(folder)


@pytest.mark.parametrize(
    "source, said",
    [
        ("nowhere", "nowhere is no folder"),
        (("no_such_package", "x"), "the package 'no_such_package' cannot be imported"),
        (("json", "../x"), "the folder in a package is relative"),
        (("json", "/x"), "the folder in a package is relative"),
        (("json", "x"), "json:x is no folder"),
    ],
)
def test_a_source_that_is_none_is_named(source: str | tuple[str, str], said: str) -> None:
    for find in (find_app, find_apps):
        with pytest.raises(Misconfigured, match=said):
            find(source)


def test_a_package_in_a_zip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("zipped_apps/__init__.py", "")
        archive.writestr("zipped_apps/app/manifest.json", "{}")
    monkeypatch.syspath_prepend(tmp_path / "zipped.zip")
    with pytest.raises(Misconfigured, match="install 'zipped_apps' unpacked"):
        find_app(("zipped_apps", "app"))
