"""Where the two databases spell things differently: placeholders, JSON, text matching and stored values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from domain.query import Field, Kind


class Dialect(Protocol):
    """The differences, one method each. `column` arguments are quoted identifiers, never text from a client."""

    name: str = ""
    row_lock: str = ""
    free_row_lock: str = ""
    text_order: str = ""
    now: str = ""
    began: str = ""

    def placeholder(self, number: int) -> str:
        """The marker of the `number`th argument, counted from 1."""
        ...

    def row_json(self, members: Sequence[tuple[str, str, Field]]) -> str:
        """An expression for a row as a JSON object; members are (name, column, field)."""
        ...

    def list_json(self, inner: str) -> str:
        """A statement for the column `j` of all rows of `inner` as one JSON array of bytes, and how many there are."""
        ...

    def ordered(self, column: str, field: Field) -> str:
        """The column in an order both databases agree on: text by code point."""
        is_text = field.kind is Kind.TEXT or (field.kind is Kind.ENUM and isinstance((field.choices or ("",))[0], str))
        return f"{column}{self.text_order}" if is_text else column

    def key(self, column: str, field: Field) -> str:
        """The column as a sort key that travels in a cursor."""
        ...

    def later(self, seconds: str) -> str:
        """The moment so many seconds (an expression) after the database's now."""
        ...

    def ago(self, seconds: str) -> str:
        """The moment so many seconds before the statement `began`: an index can be searched by it."""
        ...

    def seconds_from_now(self, moment: str) -> str:
        """How many seconds lie between the database's now and a moment (an expression)."""
        ...

    def rows(self, marker: str, columns: Mapping[str, str]) -> str:
        """The objects of a JSON array as a table `r`; `columns` are names and PostgreSQL's types."""
        ...

    def by_index(self, name: str) -> str:
        """What stands behind a table that is to be read by an index, where the database would not see it by itself."""
        ...

    def any_of(self, column: str, values: Sequence[Any], bind: Callable[[Any], str]) -> str:
        """Whether the column is one of `values`."""
        ...

    def differs(self, column: str, marker: str) -> str:
        """Whether the column is not the value, a null being different from every value."""
        ...

    def contains(self, column: str, marker: str) -> str:
        """Whether the text holds the value, case counting."""
        ...

    def starts(self, column: str, marker: str) -> str:
        """Whether the text begins with the value, case counting."""
        ...

    def ends(self, column: str, marker: str) -> str:
        """Whether the text ends with the value, case counting."""
        ...

    def folded(self, column: str) -> str:
        """The text in lower case, for matching without case."""
        ...

    def has(self, column: str, value: Any, item: Field, bind: Callable[[Any], str], *, is_json: bool) -> str:
        """Whether the list, whose members are `item`s, holds the value."""
        ...

    def stored(self, field: Field, value: Any, *, is_json: bool) -> Any:
        """A Python value as the driver takes it."""
        ...

    def is_plain(self, field: Field) -> bool:
        """Whether the driver takes the field's values as they are."""
        ...


def plain(value: Any) -> Any:
    """An Enum member as its value, anything else as it is."""
    # Several times as fast as `value`.
    return getattr(value, "_value_", value)
