"""Replies that are not kept: they go to the one who asked, and tell the caches on their way for whom they are."""

from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from litestar.types import HTTPResponseStartEvent, Message, Send

from domain.replies import Headers, labelled
from service.http.conditional import matched_tag

# What a 304 says of the reply that it stands for.
_OF_UNMODIFIED = {b"cache-control", b"content-location", b"expires", b"vary"}


class UnkeptReply:
    """A reply on its way to a client, with `Vary` and `Cache-Control`; a 304 if the client knows it by `known`."""

    def __init__(self, send: Send, vary: bytes, control: bytes, known: bytes | None = None) -> None:
        self._client, self._vary, self._control, self._known = send, vary, control, known
        self._is_unmodified = False

    async def send(self, message: Message) -> None:
        """What the app sends to."""
        if self._is_unmodified:
            # The body, which is made all the same.
            return
        if message["type"] == "http.response.start":
            headers = labelled(message["headers"], self._vary, self._control)
            tag = self._known_tag(message, headers)
            if tag:
                self._is_unmodified = True
                await send_unmodified(self._client, [(b"etag", tag), *_of_unmodified(headers)])
                return
            message = {**message, "headers": headers}
        await self._client(message)

    def _known_tag(self, start: HTTPResponseStartEvent, headers: Headers) -> bytes:
        if self._known is None or start["status"] != HTTP_200_OK:
            return b""
        tag = next((value for name, value in headers if name.lower() == b"etag"), b"")
        return matched_tag(self._known, tag, is_packed=False) if tag else b""


async def send_unmodified(send: Send, headers: Headers) -> None:
    """Say that the client has it already."""
    await send({"type": "http.response.start", "status": HTTP_304_NOT_MODIFIED, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _of_unmodified(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() in _OF_UNMODIFIED]
