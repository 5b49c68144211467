"""`millrace version`: which software this is."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import typer

from service.cli.output import say

PACKAGES = ("millrace", "litestar", "piccolo", "msgspec")


def version() -> None:
    """Show the versions of Millrace and of what it stands on."""
    own, *others = ((name, _version_of(name)) for name in PACKAGES)
    for name, number in [own, ("python", platform.python_version()), *others]:
        say(f"{name} {number}")


def on_option(is_wanted: bool) -> None:
    """What `--version` does."""
    if is_wanted:
        version()
        raise typer.Exit


def _version_of(package: str) -> str:
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return "(not installed)"
