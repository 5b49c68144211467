"""Reads the parameters of a list request, or the body of `$query`, into `QueryOptions`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domain.errors import InvalidBody, InvalidPage, InvalidQuery
from domain.query.cursor import BadCursor, CursorMismatch, decode_cursor
from domain.query.filters import BadJson, FilterReader, Problems, decode_json
from domain.query.names import read_fields, read_search, read_sort
from domain.query.options import (
    BY_ID,
    NEWEST_FIRST,
    AllOf,
    FilterSpec,
    Keyset,
    QueryOptions,
)
from domain.query.resource import Resource, suggestion
from domain.query.windows import read_count, read_window

PARAMETERS = ("filter", "sort", "fields", "search", "page", "size", "limit", "cursor", "count")
_BRACKETED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


def parse_parameters(resource: Resource[Any], parameters: Sequence[tuple[str, str]], *, key: bytes) -> QueryOptions:
    """The query that the decoded pairs of a query string ask for; `key` signs cursors.

    Raises `InvalidQuery` with every error found (`InvalidPage` when only `page` or `size` are out of range).
    """
    if not parameters:
        return NEWEST_FIRST if resource.is_newest_first else BY_ID
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
    fields = read_fields(resource, problems, text, origin="query")
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
    sort = read_sort(resource, problems, values.get("sort"), origin=origin)
    fields = read_fields(resource, problems, values.get("fields"), origin=origin)
    search = read_search(resource, problems, values.get("search"), origin=origin)
    window = read_window(resource, problems, values, origin=origin)
    count = read_count(problems, values.get("count"), window, origin=origin)
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
