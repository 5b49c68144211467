"""Concurrency keys and unique keys: templates with arguments in them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from domain.jobs import MOST_KEY_CHARACTERS

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def places(template: str | None) -> list[str]:
    """The arguments that a template names."""
    return _PLACE.findall(template or "")


def filled(template: str | None, args: Mapping[str, Any]) -> str | None:
    """A key with its `{argument}`s filled in; a digest stands for the rest of one that is too long."""
    if template is None:
        return None
    # An empty text as JSON writes it, for a key is never empty.
    key = _PLACE.sub(lambda match: _plain(args.get(match[1])), template) or '""'
    if len(key) <= MOST_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: MOST_KEY_CHARACTERS - len(digest) - 1]}:{digest}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
