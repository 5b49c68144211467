"""What one field of an entity is to a query: its kind, its operators, and how a given value becomes a typed one."""

import enum
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from domain.entity import parse_id

INT64 = (-(2**63), 2**63 - 1)
DECIMAL_DIGITS = 15
"""How many digits of a decimal both databases keep and compare exactly."""


class Kind(enum.StrEnum):
    """What a field's values are, as far as queries and storage care."""

    ID = "id"
    TEXT = "text"
    ENUM = "enum"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    UUID = "uuid"
    LIST = "list"
    JSON = "json"


class Operator(enum.StrEnum):
    """The comparisons of the query language."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    NIN = "nin"
    BETWEEN = "between"
    NULL = "null"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    STARTS = "starts"
    ISTARTS = "istarts"
    ENDS = "ends"
    HAS = "has"


_EQUALITY = (Operator.EQ, Operator.NE, Operator.IN, Operator.NIN, Operator.NULL)
_ORDERED = (*_EQUALITY, Operator.LT, Operator.LTE, Operator.GT, Operator.GTE, Operator.BETWEEN)
_TEXT = (*_ORDERED, Operator.CONTAINS, Operator.ICONTAINS, Operator.STARTS, Operator.ISTARTS, Operator.ENDS)

OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    Kind.ID: _ORDERED,
    Kind.TEXT: _TEXT,
    Kind.ENUM: _EQUALITY,
    Kind.INTEGER: _ORDERED,
    Kind.NUMBER: _ORDERED,
    Kind.DECIMAL: _ORDERED,
    Kind.BOOLEAN: _EQUALITY,
    Kind.DATETIME: _ORDERED,
    Kind.DATE: _ORDERED,
    Kind.TIME: _ORDERED,
    Kind.UUID: _ORDERED,
    Kind.LIST: (Operator.HAS, Operator.NULL),
    Kind.JSON: (Operator.NULL,),
}


_WORDS: Mapping[Kind, str] = {
    Kind.ID: "a ULID (26 characters of Crockford base32)",
    Kind.TEXT: "text",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.DECIMAL: "a decimal number",
    Kind.BOOLEAN: "true or false",
    Kind.DATETIME: "a date and time such as 2025-01-31T12:00:00Z, or a date",
    Kind.DATE: "a date such as 2025-01-31",
    Kind.TIME: "a time such as 12:30:00",
    Kind.UUID: "a UUID",
}


class WrongValue(ValueError):
    """A value that a field cannot be compared with; the message says what it takes."""

    def __init__(self, message: str, allowed: tuple[Any, ...] | None = None) -> None:
        super().__init__(message)
        self.allowed = allowed


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an entity.

    `value_type` is its type without constraints and without None, `item` the field of a list's members,
    `choices` the values of an enum, `minimum`/`maximum` what the storage of a whole number holds,
    `max_length` how many characters a text column holds, `precision` and `scale` the digits of a decimal in all and
    behind the point.
    """

    name: str
    kind: Kind
    nullable: bool
    value_type: Any
    choices: tuple[str | int, ...] | None = None
    item: "Field | None" = None
    minimum: int | None = None
    maximum: int | None = None
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators this field understands."""
        if self.kind is Kind.LIST and self.item is None:
            return (Operator.NULL,)
        return OPERATORS[self.kind]

    @property
    def is_sortable(self) -> bool:
        """Whether values have an order that both databases agree on."""
        return self.kind not in {Kind.LIST, Kind.JSON}

    @property
    def expected(self) -> str:
        """What a value must look like, in words."""
        if self.choices is not None:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.kind is Kind.INTEGER and self.minimum is not None:
            return f"a whole number from {self.minimum} to {self.maximum}"
        return _WORDS.get(self.kind, "a value")

    def coerce(self, value: Any, *, text: bool, longest: int) -> Any:
        """`value` as this field's Python type; `text` says that it arrived as text and may need to be read.

        Raises `WrongValue` for anything the field cannot be compared with. Text longer than `longest` is refused.
        """
        if isinstance(value, str):
            storable_text(value, longest)
        converted = self._convert(value, text=text)
        return self._normalize(converted)

    def _convert(self, value: Any, *, text: bool) -> Any:
        if self.kind is Kind.DATETIME and isinstance(value, str) and len(value) == 10:
            value = f"{value}T00:00:00Z"
        if self.kind is Kind.NUMBER and isinstance(value, int) and not isinstance(value, bool):
            value = _finite(value)
        # Read leniently, a bare number would be seconds since 1970.
        strict = not text or self.kind is Kind.DATETIME
        try:
            return msgspec.convert(value, self.value_type, strict=strict)
        except (msgspec.ValidationError, OverflowError) as error:
            raise WrongValue(f"must be {self.expected}", self.choices) from error

    def _normalize(self, value: Any) -> Any:
        if self.kind is Kind.ID:
            identifier = parse_id(value)
            if identifier is None:
                raise WrongValue(f"must be {self.expected}")
            return identifier
        if self.kind is Kind.DATETIME:
            return to_utc(value)
        if self.kind is Kind.NUMBER:
            return _finite(value)
        if self.kind is Kind.DECIMAL:
            return _comparable(value)
        if self.kind is Kind.TIME and value.tzinfo is not None:
            raise WrongValue(f"must be {self.expected}, without a time zone")
        if self.kind is Kind.INTEGER:
            low = INT64[0] if self.minimum is None else self.minimum
            high = INT64[1] if self.maximum is None else self.maximum
            if not low <= value <= high:
                raise WrongValue(f"must be {self.expected}")
        return value.value if isinstance(value, enum.Enum) else value


def storable_text(value: str, longest: int) -> None:
    """Raise `WrongValue` for text that is too long or that no database can hold."""
    if len(value) > longest:
        raise WrongValue(f"is longer than {longest} characters")
    if "\0" in value:
        raise WrongValue("holds a NUL character, which cannot be stored")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WrongValue("holds half of a surrogate pair, which is not text") from error


def to_utc(value: datetime) -> datetime:
    """An aware UTC datetime; one without a zone is read as UTC. Raises `WrongValue` outside of the years 1 to 9999."""
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise WrongValue("is outside of the years 1 to 9999 in UTC") from error


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise WrongValue("must be a finite number") from error
    if not math.isfinite(number):
        raise WrongValue("must be a finite number")
    return number


def _comparable(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise WrongValue("must be a finite number")
    whole, fraction = digits_of(value)
    if whole + fraction > DECIMAL_DIGITS:
        raise WrongValue(f"must be a decimal number of at most {DECIMAL_DIGITS} digits")
    return value


def digits_of(value: Decimal) -> tuple[int, int]:
    """How many digits a finite `value` needs before the point and behind it."""
    _, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits))
    significant = text.rstrip("0")
    # By hand: the arithmetic of Decimal rounds to 28 digits, and overflows.
    scale = int(exponent) + len(text) - len(significant)
    if not significant.lstrip("0"):
        return 0, 0
    return max(len(significant.lstrip("0")) + scale, 0), max(-scale, 0)
