"""Reads the order, the fields and the search of a query."""

import re
from typing import Any

from domain.query.fields import WrongValue, storable_text
from domain.query.filters import Problems
from domain.query.options import NEWEST_FIRST, Sort
from domain.query.resource import Resource, suggestion

_TERM = re.compile(r'"([^"]+)"|(\S+)')

_MAX_SEARCH_TERMS = 8

_MAX_SORTS = 8


def _names(problems: Problems, value: Any, parameter: str, *, origin: str) -> list[str]:
    """The entries of a comma-separated text, or of a JSON list in a body."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip(" ") for part in value.split(",")]
    if origin == "body" and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return [part.strip(" ") for part in value]
    problems.add("type", f'"{parameter}" takes names, separated by commas', (origin, parameter), value=value)
    return []


def read_sort(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[Sort, ...]:
    if value is None and resource.is_newest_first:
        return NEWEST_FIRST.sort
    keys: list[Sort] = []
    parts = _names(problems, value, "sort", origin=origin)
    if len(parts) > _MAX_SORTS:
        problems.add("too_many", f'"sort" has {len(parts)} keys; at most {_MAX_SORTS}', (origin, "sort"), value=value)
        parts = []
    for part in parts:
        # A "+" in a URL arrives as a space, so "+name", " name" and "name" all mean ascending.
        name = part.lstrip("+- ")
        if name not in resource.sortable or part not in {name, f"+{name}", f"-{name}"}:
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
    if not any(key.field == "id" for key in keys):
        keys.append(Sort("id"))
    return tuple(keys)


def read_fields(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = _names(problems, value, "fields", origin=origin)
    most = len(resource.fields)
    if len(names) > most:
        problems.add("too_many", f'"fields" names {len(names)} fields; at most {most}', (origin, "fields"), value=value)
        return None
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


def read_search(resource: Resource[Any], problems: Problems, value: Any, *, origin: str) -> tuple[str, ...]:
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
