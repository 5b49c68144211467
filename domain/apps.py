"""What a static app is: the manifest it comes with, where it is mounted, and the files it is made of."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from domain.errors import Misconfigured, cut

MANIFEST = "manifest.json"
INDEX = "index.html"
_PREFIX = re.compile(r"/|(/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+")
_PREFIX_RULE = (
    "'/' or names behind slashes, such as '/console' (letters, digits, '-', '_', '.' inside of a name), and neither "
    "'/api' nor below it"
)
_ENTRY_RULE = (
    "the path of a file inside of the app, such as 'index.html': no '/' at its start, no '..', no hidden names"
)


class AppManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `manifest.json` says: `prefix` is the path the app is mounted at, `entry` the file that answers there."""

    name: str
    version: str
    prefix: str
    description: str | None = None
    author: str | None = None
    entry: str = INDEX


class AppInfo(msgspec.Struct, frozen=True):
    """A static app that is mounted here."""

    name: str
    version: str
    prefix: str
    description: str | None
    author: str | None
    entry: str
    is_package: bool


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an app as it is now.

    `tag` is made from the content, `modified_at` are seconds since 1970. `content` is None for a file too large to be
    held in memory. `encoding` says how the bytes are compressed, `has_variants` whether there are others of them.
    """

    path: str
    stamp: tuple[int, int, int]
    size: int
    modified_at: int
    tag: str
    content: bytes | None
    encoding: str | None = None
    has_variants: bool = False


class AssetChanged(Exception):
    """The file is another one than when it was found."""


class AppFiles(Protocol):
    """The files of one app."""

    async def find(self, names: Sequence[str], encodings: Sequence[str] = ()) -> Asset | None:
        """The file at these names, folder by folder; compressed by the first of `encodings` it is there in."""
        ...

    def read(self, asset: Asset, start: int, stop: int) -> AsyncIterator[bytes]:
        """Some bytes of a file. Raises `AssetChanged`."""
        ...


class StaticApp(msgspec.Struct, frozen=True):
    """An app that has been found, `place` being where: a folder, or a package."""

    manifest: AppManifest
    files: AppFiles
    place: str
    is_package: bool = False

    @property
    def info(self) -> AppInfo:
        """The app as `/api/v1/system/apps` lists it."""
        return AppInfo(**msgspec.structs.asdict(self.manifest), is_package=self.is_package)


def read_manifest(content: bytes, place: str, *, prefix: str | None = None) -> AppManifest:
    """The manifest in a file at `place`; `prefix` replaces the one in it. Raises `Misconfigured`."""
    try:
        raw = msgspec.json.decode(content)
    except ValueError as error:
        raise Misconfigured(f"{place} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise Misconfigured(f"{place} holds {cut(raw)!r}: a manifest is a JSON object")
    manifest = _typed(raw, place)
    chosen = checked_prefix(manifest.prefix, f"{place}: prefix")
    if prefix is not None:
        chosen = checked_prefix(prefix, f"the prefix given for {place}")
    return msgspec.structs.replace(manifest, prefix=chosen)


def _typed(raw: dict[str, Any], place: str) -> AppManifest:
    known = [field.name for field in msgspec.structs.fields(AppManifest)]
    if unknown := sorted(raw.keys() - set(known)):
        raise Misconfigured(f"{place}: {unknown[0]!r} is {cut(raw[unknown[0]])!r}; allowed are {', '.join(known)}")
    for name in ("name", "version", "prefix"):
        if name not in raw:
            raise Misconfigured(f"{place}: {name!r} is missing; name, version and prefix are required")
    for name, value in raw.items():
        is_optional = name in {"description", "author"}
        if value is None and is_optional:
            continue
        if not isinstance(value, str):
            raise Misconfigured(f"{place}: {name} is {cut(value)!r}; it must be text{' or null' * is_optional}")
        if name in {"name", "version"} and not value.strip():
            raise Misconfigured(f"{place}: {name} is {value!r}; it must not be empty")
    manifest = msgspec.convert(raw, AppManifest)
    names = names_of(f"/{manifest.entry}")
    if not names or not names[-1]:
        raise Misconfigured(f"{place}: entry is {cut(manifest.entry)!r}; it must be {_ENTRY_RULE}")
    return manifest


def checked_prefix(prefix: str, what: str) -> str:
    """The prefix without a slash at its end. Raises `Misconfigured`, where `what` names it."""
    plain = prefix.rstrip("/") or prefix[:1]
    is_api = plain == "/api" or plain.startswith("/api/")
    if is_api or ".." in plain or not _PREFIX.fullmatch(plain):
        raise Misconfigured(f"{what} is {cut(prefix)!r}; it must be {_PREFIX_RULE}")
    return plain


def names_of(path: str) -> tuple[str, ...] | None:
    """The names on a path that begins with a slash; the last is empty for a folder. None for one no file may have.

    Nothing that could lead out of an app, or to a hidden file, is left in what this returns.
    """
    first, *names = path.split("/")
    if first or not names:
        return None
    for position, name in enumerate(names):
        is_last = position == len(names) - 1
        if name.startswith(".") or (not name and not is_last) or "\\" in name or "\0" in name:
            return None
    return tuple(names)


def in_order(apps: Iterable[StaticApp]) -> tuple[list[StaticApp], list[tuple[StaticApp, StaticApp]]]:
    """Apps with the longest prefix first and the root last, and which one was replaced by a later one of its prefix."""
    by_prefix: dict[str, StaticApp] = {}
    replaced = []
    for app in apps:
        before = by_prefix.pop(app.manifest.prefix, None)
        if before is not None:
            replaced.append((before, app))
        by_prefix[app.manifest.prefix] = app
    return sorted(by_prefix.values(), key=lambda app: (-len(app.manifest.prefix), app.manifest.prefix)), replaced
