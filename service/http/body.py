"""Bodies of operations that are no entity: read strictly, with every invalid field reported."""

from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec
from litestar import Request

from domain.bodies import check_depth, decode_object, nul_errors
from domain.errors import MOST_ERRORS, InvalidBody
from domain.query.fields import WrongValue, to_utc
from domain.validation import invalid_fields, problem, rejected
from service.http.dto import check_content_type

MOST_REQUEST_BYTES = 256 * 1024**2
"""How large a request with frames may be."""

StructT = TypeVar("StructT", bound=msgspec.Struct)


async def read_body(request: Request[Any, Any, Any], kind: type[StructT], *, is_optional: bool = False) -> StructT:
    """The body of a request as a `kind`, of its defaults when it is optional and empty. Raises `InvalidBody`."""
    body = await request.body()
    if not body and is_optional:
        return kind()
    if not body:
        raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
    check_content_type(request)
    return decoded_body(body, kind)


async def read_large_body(request: Request[Any, Any, Any], kind: Any) -> tuple[Any, bytes]:
    """A body that may be very large as a `kind`, and as it came. Unknown members are ignored. Raises `InvalidBody`.

    A kind may be a union of tagged Structs.
    """
    body = await request.body()
    if not body:
        raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
    check_content_type(request)
    return decoded_large_body(body, kind), body


def decoded_large_body(body: bytes, kind: Any) -> Any:
    """A body that may be very large as a `kind`, read as fast as can be. Raises `InvalidBody` with every error."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError):
        # What is wrong is found the slow way.
        return decoded_body(body, kind)


def decoded_body(body: bytes, kind: type[StructT]) -> StructT:
    """A body as a `kind`. Raises `InvalidBody` with every error."""
    check_depth(body)
    raw = decode_object(body)
    # The escape is the only way a NUL can stand in valid JSON, so most bodies are cleared by one scan.
    errors = list(islice(nul_errors(raw, ()), MOST_ERRORS)) if b"\\u0000" in body else []
    if errors:
        raise rejected(errors)
    try:
        return _in_utc(msgspec.convert(raw, kind, str_keys=True))
    except (msgspec.ValidationError, OverflowError) as error:
        found = invalid_fields(raw, kind)
        if found:
            raise rejected(found) from None
        raise InvalidBody(f"Request validation failed: {error}") from None


def _in_utc(body: StructT) -> StructT:
    """A body whose moments are in UTC. Raises `InvalidBody` for those that no calendar has there."""
    moments = {name: value for name in body.__struct_fields__ if isinstance(value := getattr(body, name), datetime)}
    errors = []
    for name, moment in moments.items():
        try:
            moments[name] = to_utc(moment)
        except WrongValue as error:
            errors.append(problem("value_error", str(error), (name,), str(moment)))
    if errors:
        raise rejected(errors)
    return msgspec.structs.replace(body, **moments)
