"""Reads the parameters of a list request, or the body of `$query`, into `QueryOptions`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domain.errors import InvalidBody, InvalidPage, InvalidQuery
from domain.query.cursor import BadCursor, CursorMismatch, decode_cursor
from domain.query.fields import WrongValue, storable_text
from domain.query.filters import BadJson, FilterReader, Problems, decode_json
from domain.query.options import (
    BY_ID,
    AllOf,
    Count,
    FilterSpec,
    Keyset,
    Paged,
    QueryOptions,
    Sort,
    Whole,
    Window,
)
from domain.query.resource import Resource, suggestion

PARAMETERS = ("filter", "sort", "fields", "search", "page", "size", "limit", "cursor", "count")
_BRACKETED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_TERM = re.compile(r'"([^"]+)"|(\S+)')
_MAX_SEARCH_TERMS = 8
_MAX_SORTS = 8


def parse_parameters(resource: Resource[Any], parameters: Sequence[tuple[str, str]], *, key: bytes) -> QueryOptions:
    """The query that the decoded pairs of a query string ask for; `key` signs cursors.

    Raises `InvalidQuery` with every error found (`InvalidPage` when only `page` or `size` are out of range).
    """
    if not parameters:
        return BY_ID
    problems = Problems()
    values: dict[str, Any] = {}
    specs: list[FilterSpec] = []
    for name, text in parameters:
        if name in PARAMETERS:
            if name in values:
                problems.add("repeated", f'"{name}" stands twice', ("query", name), value=text)
            values[name] = text
        else:
            spec = _comparison(resource, problems, name, text, parameters)
            if spec is not None:
                specs.append(spec)
    if "filter" in values:
        spec = _filter_text(resource, problems, values.pop("filter"))
        if spec is not None:
            specs.append(spec)
    if len(specs) > resource.limits.nodes:
        message = f"the query has {len(specs)} comparisons; at most {resource.limits.nodes}"
        problems.add("too_many_nodes", message, ("query",))
    query = _assemble(resource, problems, values, specs, origin="query", key=key)
    if problems.errors:
        raise _failure(problems)
    return query


def parse_body(resource: Resource[Any], body: Any, *, key: bytes) -> QueryOptions:
    """The query that the decoded JSON body of `$query` asks for. Raises `InvalidBody` with every error found."""
    problems = Problems()
    if not isinstance(body, dict):
        problems.add("type", "the body must be a JSON object", ("body",), value=body, allowed=PARAMETERS)
        raise _rejected(problems)
    values = dict(body)
    for name in [name for name in values if name not in PARAMETERS]:
        problems.add(
            "unknown_parameter",
            f'"{name}" is not part of a query{suggestion(name, PARAMETERS)}',
            ("body", name),
            value=values.pop(name),
            allowed=PARAMETERS,
        )
    specs: list[FilterSpec] = []
    if values.get("filter") is not None:
        reader = FilterReader(resource, problems, origin=("body", "filter"), max_choices=resource.limits.choices * 25)
        spec = reader.read(values.pop("filter"))
        if spec is not None:
            specs.append(spec)
    query = _assemble(resource, problems, values, specs, origin="body", key=key)
    if problems.errors:
        raise _rejected(problems)
    return query


def parse_fields(resource: Resource[Any], text: str) -> tuple[str, ...]:
    """The fields a single read asks for. Raises `InvalidQuery`."""
    problems = Problems()
    fields = _fields(resource, problems, text, origin="query")
    if problems.errors or fields is None:
        raise _failure(problems)
    return fields


def unknown_parameters(names: Iterable[str], allowed: tuple[str, ...]) -> InvalidQuery:
    """The error for parameters that an operation does not have."""
    problems = Problems()
    for name in names:
        takes = f"allowed: {', '.join(allowed)}" if allowed else "this operation takes none"
        problems.add("unknown_parameter", f'unknown parameter "{name}"; {takes}', ("query", name), allowed=allowed)
    return InvalidQuery(_summary(problems), errors=problems.errors)


def _comparison(
    resource: Resource[Any],
    problems: Problems,
    name: str,
    text: str,
    parameters: Sequence[tuple[str, str]],
) -> FilterSpec | None:
    bracketed = _BRACKETED.fullmatch(name)
    field, operator = bracketed.groups() if bracketed else (name, None)
    if field not in resource.filterable:
        allowed = (*PARAMETERS, *resource.filterable)
        problems.add(
            "unknown_parameter",
            f'unknown parameter "{name}"{suggestion(field, allowed)}',
            ("query", name),
            value=text,
            allowed=allowed,
        )
        return None
    if operator is None:
        operator = "has" if "has" in resource.fields[field].operators else "eq"
    if operator != "has" and sum(other == name for other, _ in parameters) > 1:
        problems.add(
            "repeated", f'"{name}" stands twice; for several values write {field}[in]=a,b', ("query", name), value=text
        )
        return None
    reader = FilterReader(resource, problems, origin=("query", name))
    return reader.compare(field, operator, text)


def _filter_text(resource: Resource[Any], problems: Problems, text: str) -> FilterSpec | None:
    limit = resource.limits.filter_bytes
    if len(text.encode()) > limit:
        problems.add(
            "too_long",
            f'"filter" is longer than {limit} bytes; send it as the body of POST {resource.path}/$query',
            ("query", "filter"),
            value=text,
        )
        return None
    try:
        decoded = decode_json(text)
    except BadJson as error:
        problems.add("json_invalid", f'"filter" {error}', ("query", "filter"), value=text, at=error.at)
        return None
    return FilterReader(resource, problems, origin=("query", "filter"), source=text).read(decoded)


def _assemble(
    resource: Resource[Any],
    problems: Problems,
    values: Mapping[str, Any],
    specs: list[FilterSpec],
    *,
    origin: str,
    key: bytes,
) -> QueryOptions:
    sort = _sort(resource, problems, values.get("sort"), origin=origin)
    fields = _fields(resource, problems, values.get("fields"), origin=origin)
    search = _search(resource, problems, values.get("search"), origin=origin)
    window = _window(resource, problems, values, origin=origin)
    count = _count(problems, values.get("count"), window, origin=origin)
    spec = None if not specs else specs[0] if len(specs) == 1 else AllOf(tuple(specs))
    query = QueryOptions(sort=sort, filter=spec, search=search, fields=fields, window=window, count=count)
    if isinstance(window, Keyset) and values.get("cursor") is not None and not problems.errors:
        query = _resume(resource, problems, query, window, values["cursor"], origin=origin, key=key)
    return query


def _resume(
    resource: Resource[Any],
    problems: Problems,
    query: QueryOptions,
    window: Keyset,
    cursor: Any,
    *,
    origin: str,
    key: bytes,
) -> QueryOptions:
    try:
        after = decode_cursor(resource, query, cursor if isinstance(cursor, str) else "", key)
    except CursorMismatch:
        message = '"cursor" belongs to another sort, filter or search; repeat those or start without a cursor'
        problems.add("cursor_mismatch", message, (origin, "cursor"), value=cursor)
        return query
    except (BadCursor, ValueError):
        message = '"cursor" was not made by this service; use the next_cursor of a reply unchanged'
        problems.add("cursor_invalid", message, (origin, "cursor"), value=cursor)
        return query
    return QueryOptions(
        sort=query.sort,
        filter=query.filter,
        search=query.search,
        fields=query.fields,
        window=Keyset(window.limit, after),
        count=query.count,
    )


def _names(problems: Problems, value: Any, parameter: str, *, origin: str) -> list[str]:
    """The entries of a comma-separated text, or of a JSON list in a body."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip(" ") for part in value.split(",")]
    if origin == "body" and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    problems.add("type", f'"{parameter}" takes names, separated by commas', (origin, parameter), value=value)
    return []


def _sort(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[Sort, ...]:
    keys: list[Sort] = []
    for part in _names(problems, value, "sort", origin=origin):
        # A "+" in a URL arrives as a space, so "+name", " name" and "name" all mean ascending.
        name = part.lstrip("+- ")
        if name not in resource.sortable or part.lstrip(" ") not in {name, f"+{name}", f"-{name}"}:
            problems.add(
                "unknown_field",
                f'"sort" cannot use "{part}"{suggestion(name, resource.sortable)}',
                (origin, "sort"),
                value=part,
                allowed=resource.sortable,
            )
        elif any(key.field == name for key in keys):
            problems.add("repeated", f'"sort" names "{name}" twice', (origin, "sort"), value=value)
        else:
            keys.append(Sort(name, part.startswith("-")))
    if len(keys) > _MAX_SORTS:
        problems.add("too_many", f'"sort" has {len(keys)} keys; at most {_MAX_SORTS}', (origin, "sort"))
    if not any(key.field == "id" for key in keys):
        keys.append(Sort("id"))
    return tuple(keys)


def _fields(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = _names(problems, value, "fields", origin=origin)
    for name in names:
        if name not in resource.readable:
            problems.add(
                "unknown_field",
                f'"fields" cannot name "{name}"{suggestion(name, resource.readable)}',
                (origin, "fields"),
                value=name,
                allowed=resource.readable,
            )
    return tuple(dict.fromkeys(names))


def _search(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[str, ...]:
    if value is None:
        return ()
    where = (origin, "search")
    if not resource.searchable:
        problems.add("unknown_parameter", f"{resource.name} has no searchable fields", where, value=value)
        return ()
    if not isinstance(value, str) or not value.strip():
        problems.add("wrong_value", '"search" takes some words', where, value=value)
        return ()
    try:
        storable_text(value, resource.limits.text_length)
    except WrongValue as error:
        problems.add("wrong_value", f'"search" {error}', where, value=value)
        return ()
    terms = _terms(value)
    if len(terms) > _MAX_SEARCH_TERMS:
        problems.add("too_many", f'"search" has {len(terms)} terms; at most {_MAX_SEARCH_TERMS}', where, value=value)
    return terms


def _terms(text: str) -> tuple[str, ...]:
    """The words of a search; double quotes keep a phrase together, an unpaired one is an ordinary character."""
    return tuple(phrase or word for phrase, word in _TERM.findall(text))


def _window(resource: Resource[Any], problems: Problems, values: Mapping[str, Any], *, origin: str) -> Window:
    limits = resource.limits
    page, size, limit, cursor = (values.get(name) for name in ("page", "size", "limit", "cursor"))
    if (page is not None or size is not None) and (limit is not None or cursor is not None):
        problems.add(
            "conflict", 'use either "page" and "size" or "limit" and "cursor", not both', (origin, "page"), value=page
        )
        return Whole()
    if limit is not None or cursor is not None:
        bound = _integer(problems, limit, "limit", limits.keyset_size, origin) if limit is not None else None
        return Keyset(bound or limits.default_keyset_size)
    numbers = [
        _integer(problems, value, name, high, origin) if value is not None else None
        for name, value, high in (("page", page, None), ("size", size, limits.page_size))
    ]
    # One of the two alone means the bare list: existing clients rely on it.
    return Paged(numbers[0] or 1, numbers[1] or 1) if page is not None and size is not None else Whole()


def _integer(problems: Problems, value: Any, name: str, high: int | None, origin: str) -> int | None:
    ceiling = high or 2**31 - 1
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and origin == "query" and re.fullmatch(r"[0-9]{1,10}", value):
        number = int(value)
    if number is not None and 1 <= number <= ceiling:
        return number
    problems.add("out_of_range", f'"{name}" must be a whole number from 1 to {ceiling}', (origin, name), value=value)
    return None


def _count(problems: Problems, value: Any, window: Window, *, origin: str) -> Count:
    if value is None:
        return Count.EXACT if isinstance(window, Paged) else Count.NONE
    try:
        return Count(value)
    except ValueError:
        allowed = tuple(Count)
        problems.add(
            "wrong_value",
            f'"count" must be one of {", ".join(allowed)}',
            (origin, "count"),
            value=value,
            allowed=allowed,
        )
        return Count.NONE


def _summary(problems: Problems) -> str:
    first, *others = problems.errors
    place = f" (character {first.position})" if first.position is not None else ""
    more = f" (and {len(others)} more)" if others else ""
    return f"Invalid query: {first.msg}{place}{more}"


def _failure(problems: Problems) -> InvalidQuery | InvalidPage:
    if all(
        error.loc in {("query", "page"), ("query", "size")} and error.type == "out_of_range"
        for error in problems.errors
    ):
        return InvalidPage(f"Request validation failed: {problems.errors[0].msg}", errors=problems.errors)
    return InvalidQuery(_summary(problems), errors=problems.errors)


def _rejected(problems: Problems) -> InvalidBody:
    return InvalidBody(f"Request validation failed: {problems.errors[0].msg}", errors=problems.errors)
