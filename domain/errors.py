"""Every error this software raises on purpose; a code and a title, never an HTTP status."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

VALUE_LIMIT = 200
MOST_ERRORS = 100
"""How many errors one reply lists; a body of nothing but errors must not become a larger reply."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One invalid input: where it stands, what is wrong with it and what would be right.

    `loc` is the path clients of servicekit read (`["body", "age"]`), `pointer` the same as RFC 6901 JSON pointer,
    `position` the 0-based character offset inside a query parameter or a JSON text. `input` is cut short.
    """

    type: str
    loc: tuple[str | int, ...]
    msg: str
    pointer: str | None = None
    position: int | None = None
    input: Any = msgspec.UNSET
    allowed: tuple[Any, ...] | None = None


_encoder = json.JSONEncoder(default=str, ensure_ascii=False)


def cut(value: Any) -> Any:
    """`value` when it is small enough to repeat to the client, otherwise the start of its text."""
    if value is None or isinstance(value, bool | int | float):
        text = str(value)
        return value if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}…"
    # Piece by piece, and no further than needed: the value may be all that a client is allowed to send.
    text = value if isinstance(value, str) else "".join(islice(_encoder.iterencode(value), VALUE_LIMIT))
    return encodable(text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}…")


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot hold (half of a surrogate pair) written as an escape."""
    return text.encode(errors="backslashreplace").decode()


def field_error(
    kind: str,
    message: str,
    loc: tuple[str | int, ...],
    *,
    value: Any = msgspec.UNSET,
    allowed: tuple[Any, ...] | None = None,
    position: int | None = None,
) -> FieldError:
    """The `FieldError` at `loc`, with everything a client sent cut short."""
    path = tuple(cut(part) for part in loc)
    return FieldError(
        type=kind,
        loc=path,
        msg=encodable(message),
        pointer="".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path[1:]),
        position=position,
        input=value if value is msgspec.UNSET else cut(value),
        allowed=allowed,
    )


class ServiceError(Exception):
    """Base of the tree. `detail` is safe to show to a client; `extensions` are further problem members."""

    code = "internal"
    title = "Internal Server Error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = encodable(detail)
        self.errors = tuple(errors)
        self.extensions = dict(extensions or {})


class Invalid(ServiceError):
    """The request asks for something the domain does not allow."""

    code = "validation-failed"
    title = "Validation Failed"


class InvalidQuery(Invalid):
    """A query parameter is unknown, malformed or not allowed for this resource."""

    code = "invalid-query"


class Incompatible(Invalid):
    """Things that are to be put together do not fit; the message names them and the difference."""

    code = "incompatible"
    title = "Incompatible"


class InvalidBody(Invalid):
    """A request body does not satisfy its schema; `errors` lists every invalid field."""

    code = "invalid-body"
    title = "Validation Error"


class InvalidPage(InvalidBody):
    """`page` or `size` is out of range; existing clients know this as an unprocessable request."""


class InvalidId(Invalid):
    """A path does not hold a ULID."""

    code = "invalid-ulid"
    title = "Invalid ULID Format"


class NotFound(ServiceError):
    """The entity does not exist."""

    code = "not-found"
    title = "Resource Not Found"


class Conflict(ServiceError):
    """The change contradicts what is stored."""

    code = "conflict"
    title = "Resource Conflict"


class PreconditionFailed(ServiceError):
    """The entity is not in the version the client named."""

    code = "precondition-failed"
    title = "Precondition Failed"


class TooLarge(ServiceError):
    """The request is longer than may be."""

    code = "too-large"
    title = "Request Entity Too Large"


class UnsupportedMediaType(ServiceError):
    """The body is of a kind this operation does not read."""

    code = "unsupported-media-type"
    title = "Unsupported Media Type"


class Unauthorized(ServiceError):
    """The caller is not known."""

    code = "unauthorized"
    title = "Unauthorized"


class Forbidden(ServiceError):
    """The caller is known and may not do this."""

    code = "forbidden"
    title = "Forbidden"


class TooManyRequests(ServiceError):
    """The caller has used up a limit."""

    code = "too-many-requests"
    title = "Too Many Requests"


class Unavailable(ServiceError):
    """Something this service needs (usually its database) does not answer; trying again later may help."""

    code = "unavailable"
    title = "Service Unavailable"


class Corrupt(ServiceError):
    """Stored content is no longer what was stored; it is withheld, for wrong data is worse than none."""

    code = "corrupt"
    title = "Stored Content Corrupt"


class ModelFailed(ServiceError):
    """The author's own code has failed while a client waited for it."""

    code = "model-failed"
    title = "Model Failed"


class Misconfigured(Exception):
    """The service was put together wrongly; the message says what to change. Raised before anything is served."""


def will_pass(error: Exception) -> bool:
    """Whether the same statement may succeed later: the database is away, or others were in the way."""
    return isinstance(error, Unavailable) or (isinstance(error, Conflict) and "constraint" not in error.extensions)
