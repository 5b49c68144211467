"""The source code that a class is made of."""

import hashlib
import secrets
import sys
from pathlib import Path


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
