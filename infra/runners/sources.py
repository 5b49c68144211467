"""The source code that a class is made of."""

import hashlib
import secrets
import sys
from pathlib import Path

# Code of others; its versions are those of the environment.
_INSTALLED = {"site-packages", "dist-packages", ".venv"}


def source_hash(kind: type) -> str:
    """A hash of the modules that a class and those it derives from are in, except for Python's own and ours.

    Where there is no source nobody can say whether it has changed, so it counts as changed at every start.
    """
    names = dict.fromkeys(base.__module__ for base in kind.__mro__)
    digest = hashlib.sha256()
    for name in [name for name in names if name.partition(".")[0] not in {"builtins", "typing", "abc", "domain"}]:
        file = getattr(sys.modules.get(name), "__file__", None)
        try:
            digest.update(Path(file).read_bytes() if file else secrets.token_bytes(32))
        except OSError:
            digest.update(secrets.token_bytes(32))
    return digest.hexdigest()[:16]


def folder_hash(folder: Path) -> str:
    """A hash of everything that is loaded from a folder, except for what is installed there."""
    files = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_relative_to(folder) and not _INSTALLED & set(file.parts)):
        try:
            content = file.read_bytes()
        except OSError:
            content = secrets.token_bytes(32)
        digest.update(f"{file.relative_to(folder)}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]
