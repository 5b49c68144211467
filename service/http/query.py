"""Query strings: split strictly, and turned into a `QueryOptions` by the domain."""

from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Scope

from domain.errors import FieldError, InvalidQuery, field_error
from domain.query import BY_ID, NEWEST_FIRST, QueryOptions, Resource, parse_parameters
from domain.query.parse import parse_fields, unknown_parameters
from domain.validation import choices, rejected

StructT = TypeVar("StructT", bound=msgspec.Struct)

_MAX_BYTES = 16 * 1024
_MAX_PARAMETERS = 100


def parameters(scope: Scope) -> list[tuple[str, str]]:
    """The decoded pairs of the query string. Raises `InvalidQuery` for one that cannot be decoded."""
    raw: bytes = scope["query_string"]
    if not raw:
        return []
    if len(raw) > _MAX_BYTES:
        raise _malformed(f"the query string is longer than {_MAX_BYTES} bytes; use POST …/$query for long queries")
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise _malformed("the query string is not percent-encoded UTF-8") from None
    except ValueError:
        raise _malformed(f"the query string has more than {_MAX_PARAMETERS} parameters") from None


def read_query(scope: Scope, resource: Resource[Any], key: bytes) -> QueryOptions:
    """The list query of a request."""
    if scope["query_string"]:
        return parse_parameters(resource, parameters(scope), key=key)
    return NEWEST_FIRST if resource.is_newest_first else BY_ID


def read_fields(scope: Scope, resource: Resource[Any]) -> tuple[str, ...] | None:
    """The `fields` of a single read; it takes no other parameter."""
    if not scope["query_string"]:
        return None
    given = parameters(scope)
    unknown = [name for name, _ in given if name != "fields"]
    if unknown:
        raise unknown_parameters(unknown, ("fields",))
    if len(given) > 1:
        raise _malformed('"fields" stands twice')
    return parse_fields(resource, given[0][1])


def no_parameters(scope: Scope) -> None:
    """Raise `InvalidQuery` when an operation without parameters is given some."""
    given = parameters(scope)
    if given:
        raise unknown_parameters([name for name, _ in given], ())


def read_parameters(scope: Scope, kind: type[StructT]) -> StructT:
    """The query string as a `kind`, whose fields are its parameters. Raises `InvalidQuery` and `InvalidBody`."""
    given = dict(parameters(scope))
    members = {member.encode_name: member for member in msgspec.structs.fields(kind)}
    if unknown := [name for name in given if name not in members]:
        raise unknown_parameters(unknown, tuple(members))
    values, errors = {}, []
    for name, text in given.items():
        try:
            values[name] = msgspec.convert(text, members[name].type, strict=False)
        except msgspec.ValidationError as error:
            message = f'"{name}" is not valid: {error}'
            allowed = choices(members[name].type, text)
            errors.append(field_error("value_error", message, ("query", name), value=text, allowed=allowed))
    if errors:
        raise rejected(errors)
    return kind(**values)


def _malformed(message: str) -> InvalidQuery:
    return InvalidQuery(f"Invalid query: {message}", errors=[FieldError(type="malformed", loc=("query",), msg=message)])
