"""What a query means, in plain Python: the reference that both databases must agree with."""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

from domain.query import AllOf, AnyOf, Comparison, FilterSpec, Keyset, Negation, Operator, Paged, QueryOptions, Sort
from tests.sample import ITEMS, Item


def answer(rows: Sequence[Item], query: QueryOptions) -> tuple[list[Item], int]:
    """The rows a query shows, and how many it has in all."""
    found = [row for row in rows if (query.filter is None or holds(row, query.filter)) and has_terms(row, query.search)]
    found.sort(
        key=cmp_to_key(lambda one, other: compare(values(one, query.sort), values(other, query.sort), query.sort))
    )
    window, shown = query.window, found
    if isinstance(window, Paged):
        shown = found[(window.page - 1) * window.size : window.page * window.size]
    elif isinstance(window, Keyset):
        after = window.after
        if after is not None:
            shown = [row for row in found if compare(values(row, query.sort), after, query.sort) > 0]
        shown = shown[: window.limit]
    return shown, len(found)


def holds(row: Item, spec: FilterSpec) -> bool:
    """Whether a row satisfies a filter; there are two truth values only."""
    match spec:
        case AllOf(parts):
            return all(holds(row, part) for part in parts)
        case AnyOf(parts):
            return any(holds(row, part) for part in parts)
        case Negation(part):
            return not holds(row, part)
    return compares(plain(getattr(row, spec.field)), spec)


# What a value that is not null is to an operand.
OPERATORS: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.IN: lambda value, operand: value in operand,
    Operator.NIN: lambda value, operand: value not in operand,
    Operator.BETWEEN: lambda value, operand: operand[0] <= value <= operand[1],
    Operator.NULL: lambda value, operand: not operand,
    Operator.HAS: operator.contains,
    Operator.CONTAINS: operator.contains,
    Operator.ICONTAINS: lambda value, operand: fold(operand) in fold(value),
    Operator.STARTS: str.startswith,
    Operator.ISTARTS: lambda value, operand: fold(value).startswith(fold(operand)),
    Operator.ENDS: str.endswith,
}


def compares(value: Any, spec: Comparison) -> bool:
    """Whether a value satisfies a comparison. A null is different from everything, and otherwise nothing at all."""
    if value is None:
        return spec.operator in {Operator.NE, Operator.NIN} or (spec.operator is Operator.NULL and spec.value)
    return OPERATORS[spec.operator](value, spec.value)


def has_terms(row: Item, terms: Sequence[str]) -> bool:
    """Whether each term stands in one of the searchable texts, whatever its case."""
    texts = [fold(text) for name in ITEMS.searchable if (text := getattr(row, name)) is not None]
    return all(any(fold(term) in text for text in texts) for term in terms)


def fold(text: str) -> str:
    """Simple case folding: each character alone, and none becomes two."""
    return "".join("i" if c == "İ" else c.lower() for c in text)


def values(row: Item, sort: Sequence[Sort]) -> tuple[Any, ...]:
    return tuple(plain(getattr(row, key.field)) for key in sort)


def compare(one: Sequence[Any], other: Sequence[Any], sort: Sequence[Sort]) -> int:
    """The order of two tuples of sort values: nulls last in both directions, text by code point."""
    for left, right, key in zip(one, other, sort, strict=True):
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        return 1 if (left > right) != key.is_descending else -1
    return 0


def plain(value: Any) -> Any:
    """An Enum member as its value."""
    return getattr(value, "value", value)
