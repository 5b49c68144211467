"""What HTTP says about a file beside its bytes: media type, how long it may be kept, how it may be compressed."""

import mimetypes
import re
from pathlib import PurePosixPath

_OURS = {
    ".avif": "image/avif",
    ".csv": "text/csv",
    ".geojson": "application/geo+json",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
# The tables of the machine differ from machine to machine, so only those of Python count.
_TYPES = mimetypes.MimeTypes()
for _suffix, _type in _OURS.items():
    _TYPES.add_type(_type, _suffix)
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_UNKNOWN = "application/octet-stream"

FOREVER = "public, max-age=31536000, immutable"
REVALIDATED = "no-cache"
_PAGES = (".html", ".htm")
_HEX = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}")
_WHOLE_HEX = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{16,}")
_DIGITS = re.compile(r"[A-Za-z0-9_]{8,}")
# What people put into names: words, versions, dates.
_HUMAN = re.compile(r"[A-Z]?[a-z]{3,}|\d{2,}|\d$|_")
_KINDS = (re.compile(r"\d"), re.compile("[a-z]"), re.compile("[A-Z]"))


def media_type(name: str) -> str:
    """The media type of a file by its name; text is UTF-8."""
    found, packed = _TYPES.guess_type(PurePosixPath(name).name)
    if packed is not None:
        return _PACKED.get(packed, _UNKNOWN)
    if found is None:
        return _UNKNOWN
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


def caching(name: str) -> str:
    """`Cache-Control` of a file: one whose name changes with its content may be kept for ever, others are asked for."""
    return FOREVER if is_fingerprinted(name) else REVALIDATED


def is_fingerprinted(name: str) -> bool:
    """Whether a part of a file's name is a hash of its content: `app.3f9c2b1a.js`, `index-BxY3k9Zq.css`.

    In doubt it is not: revalidating costs a request, keeping the wrong file a visit to every browser.
    """
    if name.lower().endswith(_PAGES):
        return False
    first, *parts = re.split(r"[.-]", name)[:-1] or [""]
    return _WHOLE_HEX.fullmatch(first) is not None or any(_is_hash(part) for part in parts)


def _is_hash(part: str) -> bool:
    if _HEX.fullmatch(part):
        return True
    left = _HUMAN.sub("", part)
    return bool(_DIGITS.fullmatch(part)) and len(left) >= 4 and sum(bool(kind.search(left)) for kind in _KINDS) >= 2


def accepted_encodings(accept_encoding: str | None) -> list[str]:
    """Which of `br` and `gzip` a client takes, the one it likes most first."""
    weights: dict[str, float] = {}
    for item in (accept_encoding or "").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = _weight(parameters)
    others = weights.get("*", 0.0)
    liked = [(weights.get(name, others), name) for name in ("br", "gzip")]
    return [name for weight, name in sorted(liked, key=lambda pair: -pair[0]) if weight > 0]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter.removeprefix("q="))
            except ValueError:
                return 0.0
    return 1.0
