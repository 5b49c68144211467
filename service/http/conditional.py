"""Entity tags: what a version looks like in `ETag`, and what `If-Match` and `If-None-Match` ask (RFC 9110)."""

import hashlib
import re
from collections.abc import Callable

from litestar.types import Scope

_TAG = re.compile(r'(W/)?"([^"]*)"')
_TO_DIGITS = str.maketrans("", "", "-T:.Z")


def header(scope: Scope, name: bytes) -> str | None:
    """The first header with this name in lower case. Litestar's `headers` would decode all of them first."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def shape(*names: str) -> str:
    """A short name for a set of fields, so that tags of different representations differ."""
    return hashlib.blake2b("\n".join(names).encode(), digest_size=3).hexdigest()


def entity_tag(version: str, shape: str) -> str:
    """The `ETag` of an entity in a version and a shape: `"20261123043111333723-5f3a1c"`."""
    return f'"{version.translate(_TO_DIGITS)}-{shape}"'


def is_unmodified(if_none_match: str, tag: str) -> bool:
    """Whether `If-None-Match` already names the representation with this tag (weak comparison)."""
    wanted = tag.removeprefix("W/").strip('"')
    return if_none_match.strip() == "*" or any(
        opaque.removesuffix("-gzip") == wanted for _, opaque in _TAG.findall(if_none_match)
    )


def packed_tag(tag: bytes) -> bytes:
    """The tag of the same thing as gzip: a strong one names one encoding only. Comparing them disregards that."""
    return tag if tag.startswith(b"W/") else tag[:-1] + b'-gzip"'


def matched_tag(if_none_match: bytes, tag: bytes, *, is_packed: bool) -> bytes:
    """The tag that a 304 names: that of the encoding which the client has. Empty when the client has neither.

    `is_packed` says which encoding it would get now.
    """
    if not is_unmodified(if_none_match.decode("latin-1"), tag.decode("latin-1")):
        return b""
    forms = (packed_tag(tag), tag) if is_packed else (tag, packed_tag(tag))
    return next((form for form in forms if form in if_none_match), forms[0])


def expectation(if_match: str | None, if_none_match: str | None = None) -> Callable[[str], bool] | None:
    """What `If-Match` and `If-None-Match` demand of the stored version before a change; None without both.

    A change concerns the whole entity, so the tag of any representation of a version stands for that version.
    """
    if if_match is None and if_none_match is None:
        return None
    # If-Match compares strongly: a weak tag matches nothing.
    wanted = None if if_match is None else _versions(if_match, is_strong=True)
    unwanted = None if if_none_match is None else _versions(if_none_match, is_strong=False)

    def is_expected(version: str) -> bool:
        digits = version.translate(_TO_DIGITS)
        is_wanted = wanted is None or "*" in wanted or digits in wanted
        return is_wanted and (unwanted is None or not ("*" in unwanted or digits in unwanted))

    return is_expected


def _versions(tags: str, *, is_strong: bool) -> set[str]:
    if tags.strip() == "*":
        return {"*"}
    return {opaque.partition("-")[0] for weak, opaque in _TAG.findall(tags) if not (weak and is_strong)}
