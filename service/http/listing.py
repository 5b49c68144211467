"""How a list answers: a bare array, a numbered page or a keyset page, with what it leaves out said in headers."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Request

from domain.ports import Listing
from domain.query import Count, Keyset, Paged, QueryOptions, Resource
from domain.query.cursor import encode_cursor
from service.http.parameters import Json
from service.http.query import parameters
from service.http.reply import Reply

_encode = msgspec.json.Encoder().encode
_LONGEST_LINK = 4096
_WINDOW = ("page", "size", "limit", "cursor")


def list_response(
    request: Request[Any, Any, Any], resource: Resource[Any], query: QueryOptions, listing: Listing, key: bytes
) -> Reply:
    """The reply to a list query, in the shape its window asks for."""
    cursor = None if listing.next is None else encode_cursor(resource, query, listing.next, key)
    if isinstance(query.window, Paged):
        return Reply(_page(query.window, query, listing))
    if isinstance(query.window, Keyset):
        return Reply(_keyset(query, listing, cursor), _next_link(request, query.window.limit, cursor))
    headers = _next_link(request, resource.limits.keyset_size, cursor)
    if cursor is not None:
        # The bare list has no room to say that it is cut, and cutting in silence would be a lie.
        headers["x-truncated"] = "true"
    if listing.total is not None:
        headers["x-total-count"] = str(listing.total)
        headers["x-total-is"] = "at_least" if listing.is_at_least else "exact"
    return Reply(listing.items, headers)


def _page(window: Paged, query: QueryOptions, listing: Listing) -> bytes:
    pages = None if listing.total is None else -(-listing.total // window.size)
    members = {"total": listing.total, "page": window.page, "size": window.size, "pages": pages}
    if query.count is Count.CAPPED:
        members["total_is"] = "at_least" if listing.is_at_least else "exact"  # type: ignore[assignment]
    return _object(listing.items, members)


def _keyset(query: QueryOptions, listing: Listing, cursor: str | None) -> bytes:
    members: dict[str, Any] = {"next_cursor": cursor}
    if query.count is not Count.NONE:
        members["total"] = listing.total
        members["total_is"] = "at_least" if listing.is_at_least else "exact"
    return _object(listing.items, members)


def _object(items: bytes, members: dict[str, Any]) -> bytes:
    """`{"items": [...], …members}` without decoding the items."""
    return b'{"items":' + items + b"," + _encode(members)[1:]


def _next_link(request: Request[Any, Any, Any], limit: int, cursor: str | None) -> dict[str, str]:
    # A POST cannot be followed by a link; its reply holds the cursor.
    if cursor is None or request.method != "GET":
        return {}
    kept = [(name, value) for name, value in parameters(request.scope) if name not in _WINDOW]
    target = f"{request.scope['path']}?{urlencode([*kept, ('limit', str(limit)), ('cursor', cursor)])}"
    # A server takes headers of a few kilobytes only; a very long sort value is followed by the cursor in a body.
    return {"link": f'<{target}>; rel="next"'} if len(target) <= _LONGEST_LINK else {}


_TOTAL_IS = {"type": "string", "enum": ["exact", "at_least"]}


def listing_schema(entity: Json) -> Json:
    """What a list answers, as OpenAPI describes it."""
    # With `fields` an item holds only what was asked for, so its schema cannot demand more.
    items: Json = {"type": "array", "items": {"type": "object"}}
    number: Json = {"type": ["integer", "null"], "minimum": 0}
    page = {"total": number, "page": {"type": "integer"}, "size": {"type": "integer"}, "pages": number}
    paged = {
        "type": "object",
        "properties": {"items": items, **page, "total_is": _TOTAL_IS},
        "required": ["items", *page],
    }
    keyset = {
        "type": "object",
        "properties": {
            "items": items,
            "next_cursor": {"type": ["string", "null"]},
            "total": number,
            "total_is": _TOTAL_IS,
        },
        "required": ["items", "next_cursor"],
    }
    whole = {"type": "array", "items": {"anyOf": [entity, {"type": "object"}]}}
    return {"anyOf": [whole, paged, keyset]}
