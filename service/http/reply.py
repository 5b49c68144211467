"""Replies whose bytes are ready: they go out as they are, past everything Litestar does to render a response."""

from collections.abc import Mapping
from typing import Any

from litestar import MediaType, Response
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from litestar.types import Receive, Scope, Send

from domain.wire import encode_whole

_NO_HEADERS: Mapping[str, str] = {}


class Reply:
    """JSON for the client, an ASGI app as Litestar lets handlers return it; the body of a 304 is none."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, headers: Mapping[str, str] = _NO_HEADERS, *, status: int = HTTP_200_OK) -> None:
        self.body = body
        self.status = status
        self.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        if status != HTTP_304_NOT_MODIFIED:
            self.headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def encoded(value: Any, headers: Mapping[str, str] = _NO_HEADERS) -> Response[Any]:
    """The reply that holds a value of ours, with timestamps as they are everywhere."""
    return Response(encode_whole(value), media_type=MediaType.JSON, headers=dict(headers))
