"""The query language: what a list request may ask for, parsed and checked without touching a database."""

from domain.query.fields import Field, Kind, Operator
from domain.query.options import (
    BY_ID,
    NEWEST_FIRST,
    AllOf,
    AnyOf,
    Comparison,
    Count,
    FilterSpec,
    Keyset,
    Negation,
    Paged,
    QueryOptions,
    Sort,
    Whole,
)
from domain.query.parse import parse_body, parse_parameters
from domain.query.resource import QueryLimits, Resource

__all__ = [
    "BY_ID",
    "NEWEST_FIRST",
    "AllOf",
    "AnyOf",
    "Comparison",
    "Count",
    "Field",
    "FilterSpec",
    "Keyset",
    "Kind",
    "Negation",
    "Operator",
    "Paged",
    "QueryLimits",
    "QueryOptions",
    "Resource",
    "Sort",
    "Whole",
    "parse_body",
    "parse_parameters",
]
