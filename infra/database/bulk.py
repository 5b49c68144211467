"""Statements that write many rows at once: a recordset on PostgreSQL, one hop into the thread of SQLite."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Generic, TypeVar

import msgspec
from piccolo.table import Table

from domain.entity import Entity
from domain.query import Kind
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments, Compiler
from infra.database.table import columns_of

EntityT = TypeVar("EntityT", bound=Entity)

# Values of these kinds come back from either driver as they were given.
_COMPARABLE = {Kind.ID, Kind.TEXT, Kind.ENUM, Kind.INTEGER}
# What asyncpg stores as infinities.
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


class BulkStatements(Generic[EntityT]):
    """The statements over one Table. Each is one round trip, however many rows there are."""

    def __init__(self, compiler: Compiler, table: type[Table], engine: DatabaseEngine) -> None:
        self._compiler = compiler
        self._engine = engine
        self._names = tuple(compiler.resource.fields)
        self._unique = [
            name
            for name, column in columns_of(table).items()
            if (column._meta.unique or column._meta.primary_key) and compiler.resource.fields[name].kind in _COMPARABLE
        ]

    async def insert_free(self, entities: Sequence[EntityT]) -> set[str]:
        compiler = self._compiler
        columns = ", ".join(compiler.columns[name] for name in self._names)
        into = f"INSERT INTO {compiler.table} ({columns})"
        if isinstance(self._engine, PostgresEngine):
            # In their order, for of two with the same value the first is to be stored.
            rows_of = f"SELECT {columns} FROM {self._recordset()}"
            sql = f"{into} {rows_of} ON CONFLICT DO NOTHING RETURNING {compiler.columns['id']}"
            return {row[0] for row in await self._engine.fetch(sql, self._rows(entities, self._names))}
        markers = ", ".join("?" for _ in self._names)
        rows = list(map(compiler.row_of(self._names), entities))
        counts = await self._engine.execute_each(f"{into} VALUES ({markers}) ON CONFLICT DO NOTHING", rows)
        return {entity.id for entity, count in zip(entities, counts, strict=True) if count}

    async def taken(self, entities: Sequence[EntityT]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._unique:
            values = {entity.id: self._compiler.stored(name, getattr(entity, name)) for entity in entities}
            stored = await self._stored_among(name, {value for value in values.values() if value is not None})
            for id, value in values.items():
                if value in stored:
                    found.setdefault(id, []).append(name)
        return found

    async def _stored_among(self, name: str, values: set[Any]) -> set[Any]:
        if not values:
            return set()
        arguments, column = Arguments(self._engine.dialect), self._compiler.columns[name]
        among = self._engine.dialect.any_of(column, list(values), arguments.bind)
        sql = f"SELECT {column} FROM {self._compiler.table} WHERE {among}"
        return {row[0] for row in await self._engine.fetch(sql, *arguments.values)}

    async def update_all(self, entities: Sequence[EntityT], names: Sequence[str]) -> None:
        compiler = self._compiler
        id, table = compiler.columns["id"], compiler.table
        if isinstance(self._engine, PostgresEngine):
            changes = ", ".join(f"{compiler.columns[name]} = r.{compiler.columns[name]}" for name in names)
            sql = f"UPDATE {table} SET {changes} FROM {self._recordset()} WHERE {table}.{id} = r.{id}"
            await self._engine.execute(sql, self._rows(entities, ["id", *names]))
            return
        changes = ", ".join(f"{compiler.columns[name]} = ?" for name in names)
        rows = list(map(compiler.row_of([*names, "id"]), entities))
        await self._engine.execute_many(f"UPDATE {table} SET {changes} WHERE {id} = ?", rows)

    def _recordset(self) -> str:
        """The rows of the first argument, with the types that the table has."""
        return f"json_populate_recordset(NULL::{self._compiler.table}, $1::json) AS r"

    def _rows(self, entities: Sequence[EntityT], names: Sequence[str]) -> str:
        columns = [self._compiler.columns[name].strip('"') for name in names]
        row_of, is_json = self._compiler.row_of(names), [name in self._compiler.json_columns for name in names]
        rows = [
            {
                column: msgspec.Raw(value.encode()) if is_raw and value is not None else _text(value)
                for column, value, is_raw in zip(columns, row_of(entity), is_json, strict=True)
            }
            for entity in entities
        ]
        return _encode(rows).decode()


def _text(value: Any) -> Any:
    """A value in JSON as PostgreSQL reads it, where that is not how JSON has it."""
    # As asyncpg stores them, so that rows are the same whichever way they came.
    if isinstance(value, datetime):
        return "-infinity" if value == _FIRST else "infinity" if value == _LAST else value
    if isinstance(value, date):
        return "-infinity" if value == date.min else "infinity" if value == date.max else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
