"""Reads which part of a list is asked for, and whether it is counted."""

import re
from collections.abc import Mapping
from typing import Any

from domain.query.filters import Problems
from domain.query.options import Count, Keyset, Paged, Whole, Window
from domain.query.resource import Resource


def read_window(resource: Resource[Any], problems: Problems, values: Mapping[str, Any], *, origin: str) -> Window:
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


def read_count(problems: Problems, value: Any, window: Window, *, origin: str) -> Count:
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
