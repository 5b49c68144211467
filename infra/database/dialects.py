"""Where the two databases spell things differently: placeholders, JSON, text matching and stored values."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.query import Field, Kind
from domain.wire import timestamp_text

# SQLite takes at most 127 arguments per function call, two for each member of an object.
_MEMBERS_PER_CALL = 60
_encode_json = msgspec.json.Encoder().encode


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


class PostgresDialect(Dialect):
    """PostgreSQL. `collation` and `folding` are COLLATE clauses where the database's own order is another."""

    name = "postgres"
    row_lock = " FOR UPDATE"
    free_row_lock = " FOR UPDATE SKIP LOCKED"
    # Not now(), which stands still for as long as a transaction lasts.
    now = "clock_timestamp()"
    # The same moment for all rows of a statement, else no index helps to compare with it.
    began = "statement_timestamp()"

    def __init__(self, collation: str = "", folding: str = "") -> None:
        self.text_order = collation
        self._folding = folding

    def placeholder(self, number: int) -> str:
        return f"${number}"

    def row_json(self, members: Sequence[tuple[str, str, Field]]) -> str:
        inner = ", ".join(f'{_pg_member(column, field)} AS "{name}"' for name, column, field in members)
        # No field can have the name "$", so it means the whole row.
        return f'(SELECT row_to_json("$") FROM (SELECT {inner}) "$")::text'

    def list_json(self, inner: str) -> str:
        return f"SELECT convert_to('[' || coalesce(string_agg(j, ','), '') || ']', 'UTF8'), count(*) FROM ({inner}) q"

    def key(self, column: str, field: Field) -> str:
        if field.kind in {Kind.DATETIME, Kind.DATE}:
            return _pg_member(column, field)
        return f"{column}::text" if field.kind in {Kind.DECIMAL, Kind.UUID, Kind.TIME} else column

    def later(self, seconds: str) -> str:
        return f"(clock_timestamp() + make_interval(secs => {seconds}))"

    def ago(self, seconds: str) -> str:
        return f"(statement_timestamp() - make_interval(secs => {seconds}))"

    def seconds_from_now(self, moment: str) -> str:
        return f"extract(epoch FROM {moment} - clock_timestamp())::float8"

    def rows(self, marker: str, columns: Mapping[str, str]) -> str:
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        return f"jsonb_to_recordset({marker}::jsonb) AS r({typed})"

    def by_index(self, name: str) -> str:
        return ""

    def any_of(self, column: str, values: Sequence[Any], bind: Callable[[Any], str]) -> str:
        return f"{column} = ANY({bind(list(values))})"

    def differs(self, column: str, marker: str) -> str:
        return f"{column} IS DISTINCT FROM {marker}"

    # strpos and its like know no wildcards, so nothing a client sends needs escaping.
    def contains(self, column: str, marker: str) -> str:
        return f"strpos({column}, {marker}) > 0"

    def starts(self, column: str, marker: str) -> str:
        return f"starts_with({column}, {marker})"

    def ends(self, column: str, marker: str) -> str:
        return f"right({column}, length({marker})) = {marker}"

    def folded(self, column: str) -> str:
        return f"lower({column}{self._folding})"

    def has(self, column: str, value: Any, item: Field, bind: Callable[[Any], str], *, is_json: bool) -> str:
        if is_json:
            return f"{column}::jsonb @> {bind(self.stored(item, [value], is_json=True))}::jsonb"
        return f"{bind(self.stored(item, value, is_json=False))} = ANY({column})"

    def stored(self, field: Field, value: Any, *, is_json: bool) -> Any:
        if value is None:
            return None
        if is_json:
            return _encode_json(value).decode()
        if field.kind is Kind.LIST:
            return [plain(item) for item in value]
        return plain(value)

    def is_plain(self, field: Field) -> bool:
        return field.kind not in {Kind.ENUM, Kind.LIST, Kind.JSON}


class SqliteDialect(Dialect):
    """SQLite, with the two functions that our connections add."""

    name = "sqlite"
    # Of the width that a timestamp has on the wire; SQLite's clock has milliseconds.
    now = began = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

    def placeholder(self, number: int) -> str:
        return f"?{number}"

    def row_json(self, members: Sequence[tuple[str, str, Field]]) -> str:
        pieces = [
            "json_object("
            + ", ".join(f"'{name}', {_lite_member(column, field)}" for name, column, field in piece)
            + ")"
            for piece in (
                members[start : start + _MEMBERS_PER_CALL] for start in range(0, len(members), _MEMBERS_PER_CALL)
            )
        ]
        if len(pieces) == 1:
            return pieces[0]
        bare = " || ',' || ".join(f"substr({piece}, 2, length({piece}) - 2)" for piece in pieces)
        return f"'{{' || {bare} || '}}'"

    def list_json(self, inner: str) -> str:
        return f"SELECT CAST('[' || coalesce(group_concat(j, ','), '') || ']' AS BLOB), count(*) FROM ({inner}) q"

    def key(self, column: str, field: Field) -> str:
        # The plus keeps the driver from converting the value by the column's declared type.
        return f"CAST({column} AS TEXT)" if field.kind is Kind.DECIMAL else f"+{column}"

    def later(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ({seconds}) || ' seconds')"

    def ago(self, seconds: str) -> str:
        return self.later(f"-({seconds})")

    def seconds_from_now(self, moment: str) -> str:
        return f"((julianday({moment}) - julianday('now')) * 86400.0)"

    def rows(self, marker: str, columns: Mapping[str, str]) -> str:
        typed = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {typed} FROM json_each({marker})) AS r"

    def by_index(self, name: str) -> str:
        # Without statistics, which nobody gathers, it takes any index for as good as any other.
        return f" INDEXED BY {name}"

    def any_of(self, column: str, values: Sequence[Any], bind: Callable[[Any], str]) -> str:
        if all(type(value) in {str, int} for value in values):
            # One argument, however many there are. JSON would not keep every float exactly.
            return f"{column} IN (SELECT value FROM json_each({bind(_encode_json(values).decode())}))"
        return f"{column} IN ({', '.join(bind(value) for value in values)})"

    def differs(self, column: str, marker: str) -> str:
        return f"{column} IS NOT {marker}"

    def contains(self, column: str, marker: str) -> str:
        return f"instr({column}, {marker}) > 0"

    def starts(self, column: str, marker: str) -> str:
        return f"substr({column}, 1, length({marker})) = {marker}"

    def ends(self, column: str, marker: str) -> str:
        # substr(x, -0) would be the whole text, so the empty ending needs its own answer.
        tail = f"substr({column}, -length({marker})) = {marker}"
        return f"CASE WHEN length({marker}) = 0 THEN {column} IS NOT NULL ELSE {tail} END"

    def folded(self, column: str) -> str:
        return f"fold_case({column})"

    def has(self, column: str, value: Any, item: Field, bind: Callable[[Any], str], *, is_json: bool) -> str:
        # A list in JSON keeps timestamps and the like as the text they are encoded to.
        member = value if isinstance(value, bool | int | float | str) else _encode_json(value).decode().strip('"')
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = {bind(member)})"

    def stored(self, field: Field, value: Any, *, is_json: bool) -> Any:
        if value is None:
            return None
        if is_json or field.kind is Kind.LIST:
            return _encode_json(value).decode()
        value = plain(value)
        if isinstance(value, datetime):
            # Rows that are written together have their moments in common.
            return _utc_text(value) if value.tzinfo is UTC else timestamp_text(value)
        if isinstance(value, date | time):
            return value.isoformat()
        if isinstance(value, Decimal | UUID):
            return str(value)
        return value

    def is_plain(self, field: Field) -> bool:
        return field.kind in {Kind.ID, Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN}


_utc_text = lru_cache(maxsize=256)(timestamp_text)


def plain(value: Any) -> Any:
    """An Enum member as its value, anything else as it is."""
    # Several times as fast as `value`.
    return getattr(value, "_value_", value)


def _pg_member(column: str, field: Field) -> str:
    if field.kind is Kind.DATETIME:
        # Always six digits: the width of a timestamp on the wire is fixed (see domain.wire).
        text = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        return _pg_finite(column, text, "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z")
    if field.kind is Kind.DATE:
        return _pg_finite(column, f"{column}::text", "0001-01-01", "9999-12-31")
    if field.kind is Kind.DECIMAL:
        return f"{column}::text"
    if field.kind is Kind.NUMBER:
        return f"CASE WHEN {column} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {column} END"
    return column


def _pg_finite(column: str, text: str, first: str, last: str) -> str:
    # asyncpg stores Python's first and last moment as infinities.
    return f"CASE {column} WHEN '-infinity' THEN '{first}' WHEN 'infinity' THEN '{last}' ELSE {text} END"


def _lite_member(column: str, field: Field) -> str:
    if field.kind is Kind.BOOLEAN:
        return f"json(CASE {column} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)"
    if field.kind in {Kind.LIST, Kind.JSON}:
        return f"json({column})"
    if field.kind is Kind.NUMBER:
        # SQLite itself would write 15 digits, which is not the number that was stored.
        return f"json(number_text({column}))"
    if field.kind is Kind.DECIMAL:
        return f"CASE WHEN {column} IS NOT NULL THEN printf('%.{field.scale or 0}f', {column}) END"
    return column


def fold_case(text: Any) -> Any:
    """Lower case one character at a time, as PostgreSQL's `lower` does it: the length never changes."""
    if not isinstance(text, str):
        return text
    if text.isascii():
        return text.lower()
    return "".join([folded if len(folded := c.lower()) == 1 else "i" if c == "İ" else c for c in text])


def number_text(value: Any) -> str | None:
    """The shortest JSON text that reads back as the same number; None for what is no number in JSON."""
    return None if value is None or not math.isfinite(value) else repr(value)


SQLITE = SqliteDialect()
