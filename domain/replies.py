"""Replies that are kept: what is kept of them, under which names, and what a client is told of them."""

import hashlib
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, urlencode

import msgspec

Headers = list[tuple[bytes, bytes]]

_MOST_PARAMETERS = 100
_NEGATIVE = 404
_KEPT_STATUSES = {200, _NEGATIVE}
# What belongs to the one exchange, or is said anew for each.
_NOT_KEPT = {b"connection", b"date", b"age", b"cache-status", b"content-length", b"x-request-id"}
_FORBIDDING = (b"no-store", b"private")


class StoredReply(msgspec.Struct, frozen=True, array_like=True):
    """A reply as it is kept; `made_at` is in seconds of the Unix epoch. A 404 is kept as well."""

    status: int
    headers: Headers
    body: bytes
    made_at: float
    etag: bytes = b""


def is_kept(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a reply may be given to others who ask the same, now and later."""
    return status in _KEPT_STATUSES and may_be_shared(headers)


def may_be_shared(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether its headers allow that: never with a cookie, nor where it says so itself."""
    for spelled, value in headers:
        name = spelled.lower()
        if name == b"set-cookie" or (name == b"content-type" and value.startswith(b"text/event-stream")):
            return False
        if name == b"cache-control" and any(word in value.lower() for word in _FORBIDDING):
            return False
    return True


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that belong to a reply whoever gets it, and whenever; their names in lower case."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in _NOT_KEPT]


def labelled(headers: Iterable[tuple[bytes, bytes]], vary: bytes, control: bytes) -> Headers:
    """The headers of a reply with what caches on its way go by: `Vary`, and `Cache-Control` where it has none."""
    found: Headers = []
    for pair in headers:
        name = pair[0].lower()
        if name == b"vary":
            vary = _merged(vary, pair[1])
            continue
        if name == b"cache-control":
            control = b""
        elif name == b"set-cookie" and control:
            # A cookie is for one client, even if that is the first time that it tells who it is.
            control = b"private, no-cache"
        found.append(pair)
    found.append((b"vary", vary))
    if control:
        found.append((b"cache-control", control))
    return found


def _merged(names: bytes, others: bytes) -> bytes:
    """Two lists of names as one."""
    known = {name.strip().lower() for name in names.split(b",")}
    new = [name.strip() for name in others.split(b",") if name.strip().lower() not in {b"", *known}]
    return b", ".join([names, *new])


def canonical_query(raw: bytes) -> tuple[str, bool] | None:
    """A query string in one spelling, and whether it has `nocache`, which is not part of it.

    The order of parameters means nothing to a resource; that of equal names is kept. None for what cannot be read.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except (UnicodeDecodeError, ValueError):
        return None
    kept = sorted(((name, value) for name, value in pairs if name != "nocache"), key=lambda pair: pair[0])
    return urlencode(kept), len(kept) < len(pairs)


def reply_key(*parts: str | bytes) -> str:
    """The name of what is asked for, of everything that the reply depends on but the data."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part if isinstance(part, bytes) else part.encode()
        # With its length, or two lists of parts could run together to the same bytes.
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def generation_tag(key: str, generations: Sequence[int]) -> bytes:
    """The `ETag` of what is asked for, while its data does not change: `W/"1f.2-5c0a…"`. Weak: it counts changes."""
    counted = ".".join([f"{number:x}" for number in generations])
    return f'W/"{counted}-{key}"'.encode()
