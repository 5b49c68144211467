"""Compares the tables a service declares with the ones its database has, and adds what is missing."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from piccolo.columns import Column
from piccolo.table import Table, sort_table_classes

from domain.errors import Misconfigured, ServiceError
from infra.database.engine import DatabaseEngine
from infra.database.sqlite import SqliteEngine
from infra.database.table import columns_of

logger = logging.getLogger("millrace.database")

_PG_TYPES: Mapping[str, str] = {
    "VARCHAR": "character varying",
    "TIMESTAMPTZ": "timestamp with time zone",
    "TIMESTAMP": "timestamp without time zone",
    "DECIMAL": "numeric",
    "TIME": "time without time zone",
    "INT": "integer",
    "SERIAL": "integer",
    "BIGSERIAL": "bigint",
}


class StoredColumn(msgspec.Struct, frozen=True):
    """A column as the database has it."""

    name: str
    type: str
    is_nullable: bool
    has_default: bool


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How the database differs from the declared tables."""

    missing_tables: tuple[type[Table], ...] = ()
    missing_columns: tuple[Column, ...] = ()
    faults: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether every declared table and column is there as declared."""
        return not (self.missing_tables or self.missing_columns or self.faults)

    def describe(self) -> str:
        """What is wrong, in one sentence."""
        parts = [f"table {table._meta.tablename} is missing" for table in self.missing_tables]
        parts += [f"column {_full_name(column)} is missing" for column in self.missing_columns]
        return "; ".join([*parts, *self.faults])


async def compare(engine: DatabaseEngine, tables: Sequence[type[Table]]) -> Drift:
    """What the database lacks or has otherwise."""
    missing_tables: list[type[Table]] = []
    missing_columns: list[Column] = []
    faults: list[str] = []
    leftovers: list[str] = []
    for table in tables:
        stored = {column.name: column for column in await stored_columns(engine, table)}
        if not stored:
            missing_tables.append(table)
            continue
        declared = {column._meta.db_column_name: column for column in columns_of(table).values()}
        for name, column in declared.items():
            if name not in stored:
                missing_columns.append(column)
            else:
                faults += _faults(engine, column, stored[name])
        for name in stored.keys() - declared.keys():
            leftover = f"{table._meta.tablename}.{name}"
            if not stored[name].is_nullable and not stored[name].has_default:
                faults.append(f"column {leftover} is not declared and needs a value in every row")
            leftovers.append(leftover)
    return Drift(
        missing_tables=tuple(missing_tables),
        missing_columns=tuple(missing_columns),
        faults=tuple(faults),
        leftovers=tuple(leftovers),
    )


async def synchronize(engine: DatabaseEngine, tables: Sequence[type[Table]]) -> Drift:
    """Create missing tables and add missing columns, in the current transaction; never drops or alters anything.

    Returns what was missing. Raises `Misconfigured` for what only a migration can change.
    """
    drift = await compare(engine, tables)
    if drift.faults:
        raise Misconfigured(f"{'; '.join(drift.faults)}: write a migration with `millrace migrations new`")
    for table in sort_table_classes(list(drift.missing_tables)):
        await table.create_table().run()  # type: ignore[no-untyped-call]
    for column in drift.missing_columns:
        try:
            await column._meta.table.alter().add_column(column._meta.name, column).run()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise Misconfigured(
                f"column {_full_name(column)} cannot be added to the rows that exist ({_reason(error)}): "
                "give it null=True, default=None or a constant default, or write a migration"
            ) from error
    for leftover in drift.leftovers:
        logger.warning("column %s is in the database and no longer declared; its data is kept", leftover)
    return drift


async def stored_columns(engine: DatabaseEngine, table: type[Table]) -> list[StoredColumn]:
    """The columns of a table in the database; empty when there is no such table."""
    meta = table._meta
    if isinstance(engine, SqliteEngine):
        rows = await engine.fetch(
            "SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_info(?1)", meta.tablename
        )
        return [
            StoredColumn(name, kind, not required, default is not None) for name, kind, required, default, _ in rows
        ]
    rows = await engine.fetch(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, a.atthasdef FROM pg_attribute a "
        "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        meta.get_formatted_tablename(),
    )
    return [StoredColumn(*row) for row in rows]


def _faults(engine: DatabaseEngine, column: Column, stored: StoredColumn) -> list[str]:
    name = _full_name(column)
    faults = []
    declared = _declared_type(engine, column)
    if declared != stored.type.lower():
        faults.append(f"column {name} is {stored.type.lower()} and declared as {declared}")
    if column._meta.null != stored.is_nullable and not column._meta.primary_key:
        has, wants = ("allows", "forbids") if stored.is_nullable else ("forbids", "allows")
        faults.append(f"column {name} {has} nulls and its declaration {wants} them")
    return faults


def _declared_type(engine: DatabaseEngine, column: Column) -> str:
    kind: str = column.column_type.split(" COLLATE")[0]
    if isinstance(engine, SqliteEngine):
        return kind.lower()
    # A list of lists has the type of a list: PostgreSQL does not remember how deep it was declared.
    kind = kind.replace("[][]", "[]")
    base, bracket, rest = kind.partition("(") if "(" in kind else (kind.rstrip("[]"), "", "")
    suffix = f"{bracket}{rest}" if bracket else "[]" * kind.count("[]")
    digits = suffix.replace(" ", "")
    return f"{_PG_TYPES.get(base.strip().upper(), base.strip().lower())}{digits}"


def _full_name(column: Column) -> str:
    return f"{column._meta.table._meta.tablename}.{column._meta.db_column_name}"


def _reason(error: Any) -> str:
    return error.detail if isinstance(error, ServiceError) else str(error)
