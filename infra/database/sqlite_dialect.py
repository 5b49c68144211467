"""How SQLite spells things, and the functions that our connections add to it."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from domain.query import Field, Kind
from domain.wire import timestamp_text
from infra.database.dialects import Dialect, plain

# SQLite takes at most 127 arguments per function call, two for each member of an object.
_MEMBERS_PER_CALL = 60
_encode_json = msgspec.json.Encoder().encode


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
