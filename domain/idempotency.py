"""Requests that may be sent again: by their key the service knows them, and repeats its reply instead of the effect."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Protocol

import msgspec

from domain.context import Context
from domain.errors import Conflict, Invalid, field_error

HEADER = "Idempotency-Key"
UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
TTL_SECONDS = 86_400.0
"""For how long a reply is repeated."""
MOST_REPLY_BYTES = 1024**2
"""Of a longer reply only the fact is kept that it was given."""
RETRY_SECONDS = 1
"""When to ask again what is being done."""

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_ALLOWED = "1 to 255 visible ASCII characters"
# What a later attempt may answer differently, without anything having changed hands in between.
_PASSING = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class RequestInFlight(Conflict):
    """A request with this key is being answered."""

    code = "request-in-flight"
    title = "Request In Flight"

    def __init__(self) -> None:
        super().__init__(
            f"A request with this {HEADER} is being answered; send it again a little later",
            extensions={"retry_after": RETRY_SECONDS},
        )


class KeyReused(Invalid):
    """The key belongs to another request."""

    code = "key-reused"
    title = "Idempotency Key Reused"


class ReplyNotKept(Invalid):
    """The request was answered, and its reply was not kept."""

    code = "reply-not-kept"
    title = "Reply Not Kept"


class KeptReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a request with a key. `body` is None when it was too long to be kept, or a stream."""

    fingerprint: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes | None

    def check_fits(self, fingerprint: str) -> None:
        """Raise `KeyReused` for another request than the one it was given to, `ReplyNotKept` without a body."""
        if fingerprint != self.fingerprint:
            raise KeyReused(
                f"This {HEADER} was sent with another method, path, query or body before; "
                "use a new key for each request, and the same one only to send a request again"
            )
        if self.body is None:
            raise ReplyNotKept(
                f"The request with this {HEADER} was carried out and answered with {self.status}, and is not carried "
                f"out again; its reply was a stream or longer than {MOST_REPLY_BYTES} bytes, and cannot be repeated"
            )


class Replies(Protocol):
    """The replies that were given, by scoped key."""

    def answering(self, key: str) -> AbstractAsyncContextManager[KeptReply | None]:
        """A transaction in which to answer a request, with what was replied if that was done already.

        Raises `RequestInFlight` when somebody else is about it.
        """
        ...

    async def keep(self, key: str, reply: KeptReply, *, ttl_seconds: float) -> None:
        """Keep a reply, in that transaction, and forget some that were kept for long enough."""
        ...


def read_key(values: Sequence[bytes]) -> str:
    """The key of a request, whose headers of that name have these values. Raises `Invalid`."""
    if len(values) > 1:
        raise _refused(f"{HEADER} stands {len(values)} times; send it once", b", ".join(values))
    if not _KEY.fullmatch(values[0]):
        raise _refused(f"{HEADER} must be {_ALLOWED}", values[0])
    return values[0].decode("ascii")


def _refused(message: str, value: bytes) -> Invalid:
    error = field_error("value_error", message, ("header", HEADER), value=value.decode("latin-1"), allowed=(_ALLOWED,))
    return Invalid(f"Invalid header: {message}", errors=[error])


def scoped(key: str, context: Context, credentials: Iterable[bytes]) -> str:
    """The key of one caller as 64 characters: no other tenant, principal or bearer of `credentials` has it."""
    return _digest(context.tenant.encode(), context.principal.encode(), key.encode(), *credentials).hexdigest()


def fingerprint(method: str, path: bytes, query: bytes, body: Iterable[bytes] = ()) -> "hashlib._Hash":
    """A SHA-256 of all that makes a request the same; the pieces of its body may follow."""
    digest = _digest(method.encode(), path, query)
    for piece in body:
        digest.update(piece)
    return digest


def _digest(*parts: bytes) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in parts:
        # With their lengths, so that no part can pass for another.
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest


def is_final(status: int) -> bool:
    """Whether a reply is what this request will always get: it is kept, and so is what the request has changed."""
    return HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING
