"""A query once it is understood: filter tree, order, fields and window, all typed and checked."""

import enum
from typing import Any

import msgspec

from domain.query.fields import Operator


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """A leaf: one field against a typed value (a tuple for `in`, `nin` and `between`)."""

    field: str
    operator: Operator
    value: Any


class AllOf(msgspec.Struct, frozen=True, tag="and"):
    """True when every part is; an empty one is true."""

    parts: tuple["FilterSpec", ...]


class AnyOf(msgspec.Struct, frozen=True, tag="or"):
    """True when some part is; an empty one is false."""

    parts: tuple["FilterSpec", ...]


class Negation(msgspec.Struct, frozen=True, tag="not"):
    """True exactly when its part is not: the language knows two truth values, a null compares as false."""

    part: "FilterSpec"


FilterSpec = Comparison | AllOf | AnyOf | Negation


class Sort(msgspec.Struct, frozen=True):
    """One key of the order. Nulls come last in both directions."""

    field: str
    is_descending: bool = False


class Count(enum.StrEnum):
    """How the total is found: not at all, exactly, or exactly up to a ceiling."""

    NONE = "none"
    EXACT = "exact"
    CAPPED = "capped"


class Whole(msgspec.Struct, frozen=True):
    """The bare list, from its start up to the resource's bound."""


class Paged(msgspec.Struct, frozen=True):
    """A numbered page; `page` starts at 1."""

    page: int
    size: int


class Keyset(msgspec.Struct, frozen=True):
    """Up to `limit` rows that come after the row with the sort values `after`."""

    limit: int
    after: tuple[Any, ...] | None = None


Window = Whole | Paged | Keyset


class QueryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one list request asks for. `sort` always ends in `id`, so the order is total.

    `fields` None means all readable ones; `search` holds the terms that must all be found.
    """

    sort: tuple[Sort, ...]
    filter: FilterSpec | None = None
    search: tuple[str, ...] = ()
    fields: tuple[str, ...] | None = None
    window: Window = Whole()
    count: Count = Count.NONE


BY_ID = QueryOptions(sort=(Sort("id"),))
"""All entities in the order of their ids."""

NEWEST_FIRST = QueryOptions(sort=(Sort("id", is_descending=True),))
"""All entities, the latest first: ids grow with time."""
