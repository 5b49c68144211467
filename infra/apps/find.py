"""Finds static apps in folders and in installed packages."""

import importlib.resources
import logging
from pathlib import Path

from domain.apps import MANIFEST, StaticApp, read_manifest
from domain.errors import Misconfigured
from infra.apps.files import LocalFiles, inside

logger = logging.getLogger("millrace.apps")

Source = str | Path | tuple[str, str]
"""A folder, or a package and a folder in it."""


def find_app(source: Source, prefix: str | None = None) -> StaticApp:
    """The app in a folder; `prefix` replaces that of its manifest. Raises `Misconfigured`."""
    return _app(_folder(source), _name(source), isinstance(source, tuple), prefix)


def find_apps(source: Source) -> list[StaticApp]:
    """The apps in the folders inside of a folder, by name; a broken one is left out with a warning.

    Raises `Misconfigured` when the folder itself is not there.
    """
    found = []
    for folder in sorted(_folder(source).iterdir()):
        # Hidden ones, and what Python leaves behind.
        if not folder.is_dir() or folder.name.startswith((".", "__")):
            continue
        try:
            found.append(_app(folder, f"{_name(source)}/{folder.name}", isinstance(source, tuple), None))
        except Misconfigured as error:
            logger.warning("the app in %s is left out: %s", folder, error)
    return found


def _app(folder: Path, place: str, is_package: bool, prefix: str | None) -> StaticApp:
    where = f"{place}/{MANIFEST}"
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise Misconfigured(f"{where} cannot be read ({error.strerror}): an app needs one") from error
    manifest = read_manifest(content, where, prefix=prefix)
    entry = inside(folder, manifest.entry.split("/"))
    if entry is None:
        raise Misconfigured(f"{where}: entry is {manifest.entry!r}; it must be a file inside of {place}")
    return StaticApp(manifest, LocalFiles(folder), place, is_package)


def _name(source: Source) -> str:
    return ":".join(source) if isinstance(source, tuple) else str(source)


def _folder(source: Source) -> Path:
    folder = _packaged(*source) if isinstance(source, tuple) else Path(source)
    if not folder.is_dir():
        raise Misconfigured(f"{_name(source)} is no folder: give the folder of an app, or (package, folder in it)")
    return folder.resolve()


def _packaged(package: str, subpath: str) -> Path:
    names = Path(subpath).parts
    if Path(subpath).is_absolute() or ".." in names:
        raise Misconfigured(f"{package}:{subpath}: the folder in a package is relative and has no '..'")
    try:
        root = importlib.resources.files(package)
    # TypeError: Python 3.11 says so of a module that is no package.
    except (ImportError, TypeError) as error:
        raise Misconfigured(f"{package}:{subpath}: the package {package!r} cannot be imported: {error}") from error
    found = root.joinpath(*names) if names else root
    if not isinstance(found, Path):
        raise Misconfigured(f"{package}:{subpath} is no folder on disk: install {package!r} unpacked, and not as a zip")
    return found
