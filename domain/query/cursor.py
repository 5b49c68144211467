"""Cursors: opaque, signed, bound to the resource, order and filter they were made for."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from domain.query.options import QueryOptions
from domain.query.resource import Resource
from domain.signing import digest

_MAC_BYTES = 16
_encoder = msgspec.msgpack.Encoder()


class _Token(msgspec.Struct, frozen=True, array_like=True):
    binding: bytes
    after: tuple[Any, ...]


class BadCursor(ValueError):
    """The cursor was not made by this service."""


class CursorMismatch(ValueError):
    """The cursor was made for another resource, order, filter or search."""


def encode_cursor(resource: Resource[Any], query: QueryOptions, after: tuple[Any, ...], key: bytes) -> str:
    """The cursor that continues `query` behind the row whose sort values are `after` (JSON types only)."""
    body = _encoder.encode(_Token(_binding(resource, query), after))
    return _text(body + _sign(body, key))


def decode_cursor(resource: Resource[Any], query: QueryOptions, text: str, key: bytes) -> tuple[Any, ...]:
    """The typed sort values `text` stands for. Raises `BadCursor` or `CursorMismatch`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor from error
    # One cursor has one spelling: base64 itself would ignore the last bits, and takes padding or not.
    if _text(raw) != text:
        raise BadCursor
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _sign(body, key)):
        raise BadCursor
    token = msgspec.msgpack.decode(body, type=_Token)
    if token.binding != _binding(resource, query):
        raise CursorMismatch
    return tuple(
        None if value is None else resource.fields[sort.field].coerce(value, text=False, longest=len(text))
        for sort, value in zip(query.sort, token.after, strict=True)
    )


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _binding(resource: Resource[Any], query: QueryOptions) -> bytes:
    meaning = _encoder.encode((resource.name, query.sort, query.filter, query.search))
    return hashlib.blake2b(meaning, digest_size=12).digest()


def _sign(body: bytes, key: bytes) -> bytes:
    return digest(key, "cursor", body)[:_MAC_BYTES]
