"""How PostgreSQL spells things."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from domain.query import Field, Kind
from infra.database.dialects import Dialect, plain

_encode_json = msgspec.json.Encoder().encode


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
