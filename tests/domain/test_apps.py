"""What a manifest may say, which names a path may have, and in which order apps are mounted."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.apps import AppInfo, Asset, StaticApp, in_order, names_of, read_manifest
from domain.errors import Misconfigured

GIVEN = {"name": "Console", "version": "2.4.1", "prefix": "/console"}


class NoFiles:
    """An app without a file."""

    async def find(self, names: Sequence[str], encodings: Sequence[str] = ()) -> Asset | None:
        return None

    def read(self, asset: Asset, start: int, stop: int) -> AsyncIterator[bytes]:
        raise NotImplementedError


def manifest(**changes: Any) -> bytes:
    return msgspec.json.encode({**GIVEN, **changes})


def app(prefix: str, name: str = "App") -> StaticApp:
    return StaticApp(read_manifest(manifest(prefix=prefix, name=name), "m"), NoFiles(), name)


def test_a_manifest_needs_three_members_and_fills_in_the_rest() -> None:
    read = read_manifest(manifest(), "manifest.json")
    assert (read.entry, read.description, read.author) == ("index.html", None, None)


def test_an_app_is_listed_with_every_member() -> None:
    found = StaticApp(read_manifest(manifest(author="Ada"), "m"), NoFiles(), "m", is_package=True)
    assert found.info == AppInfo("Console", "2.4.1", "/console", None, "Ada", "index.html", True)


@pytest.mark.parametrize(
    "prefix, kept", [("/", "/"), ("/a/", "/a"), ("/a/b.c", "/a/b.c"), ("/apis", "/apis"), ("/$x", "/$x")]
)
def test_a_prefix_has_no_slash_at_its_end(prefix: str, kept: str) -> None:
    assert read_manifest(manifest(prefix=prefix), "m").prefix == kept


@pytest.mark.parametrize(
    "prefix", ["", "a", "/..", "/a/../b", "/a..b", "/api", "/api/", "/api/v1", "//a", "/.git", "/a b", "/a%2f", "/a?b"]
)
def test_a_wrong_prefix_is_named_with_its_file_and_what_is_allowed(prefix: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_manifest(manifest(prefix=prefix), "console/manifest.json")
    assert f"console/manifest.json: prefix is {prefix!r}; it must be '/' or names" in str(caught.value)


def test_a_given_prefix_replaces_that_of_the_manifest_and_is_checked_too() -> None:
    assert read_manifest(manifest(), "m", prefix="/").prefix == "/"
    with pytest.raises(Misconfigured, match=r"the prefix given for m is '/api/x'"):
        read_manifest(manifest(), "m", prefix="/api/x")


@pytest.mark.parametrize("entry", ["", "/index.html", "../x.html", "a/../b", "a//b", "pages/", ".hidden", "a\\b", "\0"])
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(Misconfigured, match="m: entry is "):
        read_manifest(manifest(entry=entry), "m")


@pytest.mark.parametrize(
    "content, said",
    [
        (b"{", "m is not JSON"),
        (b"\xff", "m is not JSON"),
        (b"[1]", r"m holds '\[1\]': a manifest is a JSON object"),
        (manifest(color="red"), "m: 'color' is 'red'; allowed are name, version, prefix, description, author, entry"),
        (b'{"name": "a", "prefix": "/a"}', "m: 'version' is missing"),
        (manifest(name=5), "m: name is 5; it must be text"),
        (manifest(name=" "), "m: name is ' '; it must not be empty"),
        (manifest(author=[]), r"m: author is '\[\]'; it must be text or null"),
        (manifest(entry=None), "m: entry is None; it must be text"),
    ],
)
def test_a_broken_manifest_says_what_is_wrong(content: bytes, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        read_manifest(content, "m")


def test_the_longest_prefix_comes_first_and_the_root_last() -> None:
    found, replaced = in_order([app("/"), app("/a"), app("/a/b"), app("/c")])
    assert [one.manifest.prefix for one in found] == ["/a/b", "/a", "/c", "/"]
    assert replaced == []


def test_the_later_app_of_a_prefix_counts() -> None:
    found, replaced = in_order([app("/a", "first"), app("/a/", "second")])
    assert [one.place for one in found] == ["second"]
    assert [(before.place, after.place) for before, after in replaced] == [("first", "second")]


@pytest.mark.parametrize(
    "path, names",
    [("/", ("",)), ("/a", ("a",)), ("/a/b.js", ("a", "b.js")), ("/a/", ("a", "")), ("/a..b", ("a..b",))],
)
def test_the_names_on_a_path(path: str, names: tuple[str, ...]) -> None:
    assert names_of(path) == names


@pytest.mark.parametrize("path", ["", "a", "//", "/a//b", "/..", "/a/../b", "/.", "/.git", "/a/.env", "/a\\b", "/\0"])
def test_a_path_that_no_file_may_have(path: str) -> None:
    assert names_of(path) is None


@given(st.text(alphabet=st.sampled_from("/.\\a\0~%")))
def test_no_name_leads_anywhere_else(path: str) -> None:
    for name in names_of(path) or ():
        assert not name.startswith(".")
        assert not set(name) & set("/\\\0")
