"""Keeps the entities of a resource in a Table. The database writes the JSON; Structs are read from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from piccolo.table import Table

from domain.entity import Entity
from domain.errors import Conflict
from domain.ports import Document, Listing
from domain.query import Count, Keyset, Kind, Paged, QueryOptions, Resource, Sort
from domain.query.fields import Field
from infra.database.bulk import BulkStatements
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments, Compiler

EntityT = TypeVar("EntityT", bound=Entity)


class PiccoloRepository(Generic[EntityT]):
    """`domain.ports.Repository` over a Piccolo Table, on either database."""

    def __init__(self, resource: Resource[EntityT], table: type[Table], engine: DatabaseEngine) -> None:
        self.resource = resource
        self.engine = engine
        self.compiler = compiler = Compiler(resource, table, engine.dialect)
        self._table = table
        self._bulk: BulkStatements[EntityT] = BulkStatements(compiler, table, engine)
        self._names = tuple(resource.fields)
        self._decode = msgspec.json.Decoder(resource.entity).decode
        self._decode_many = msgspec.json.Decoder(list[resource.entity]).decode  # type: ignore[name-defined]
        self._document = compiler.one(resource.readable)
        self._find = compiler.one(self._names)
        self._find_locked = compiler.one(self._names, lock=True)
        self._values = compiler.row_of(self._names)
        marker = engine.dialect.placeholder
        names = ", ".join(compiler.columns[name] for name in self._names)
        markers = ", ".join(marker(number + 1) for number in range(len(self._names)))
        self._insert = f"INSERT INTO {compiler.table} ({names}) VALUES ({markers})"
        self._exists = f"SELECT 1 FROM {compiler.table} WHERE {compiler.columns['id']} = {marker(1)}"

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document | None:
        sql = self._document if fields is None else self.compiler.one(fields)
        rows = await self.engine.fetch(sql, id)
        if not rows:
            return None
        text, version = rows[0]
        return Document(text.encode(), version)

    async def documents(self, ids: Sequence[str]) -> list[bytes]:
        return [row[0].encode() for row in await self._many(self.resource.readable, ids)]

    async def page(self, query: QueryOptions) -> Listing:
        if isinstance(query.window, Keyset):
            return await self._keyset(query, query.window)
        if isinstance(query.window, Paged):
            size = query.window.size
            return await self._rows(query, size, (query.window.page - 1) * size)
        bound = self.resource.limits.list_length
        listing = await self._rows(query, bound)
        if bound is None or listing.size < bound:
            return listing
        rows = await self.engine.fetch(*_flat(self.compiler.keys_at(query, bound - 1)))
        # Only with a further row behind the last one was anything cut off.
        next_ = self._key_values(query.sort, rows[0]) if len(rows) == 2 else None
        return msgspec.structs.replace(listing, next=next_)

    async def _rows(self, query: QueryOptions, limit: int | None, offset: int = 0) -> Listing:
        [(items, size, *counted)] = await self.engine.fetch(*_flat(self.compiler.many(query, limit, offset)))
        total, is_at_least = self._total(query, counted[0]) if counted else (None, False)
        return Listing(items=items, size=size, total=total, is_at_least=is_at_least)

    async def _keyset(self, query: QueryOptions, window: Keyset) -> Listing:
        rows = await self.engine.fetch(*_flat(self.compiler.keyset(query, window)))
        shown = rows[: window.limit]
        total, is_at_least = None, False
        if query.count is not Count.NONE:
            total, is_at_least = self._total(query, await self._counted(query))
        return Listing(
            items=f"[{','.join([row[0] for row in shown])}]".encode(),
            size=len(shown),
            total=total,
            is_at_least=is_at_least,
            next=self._key_values(query.sort, tuple(shown[-1])[1:]) if len(rows) > window.limit else None,
        )

    def _key_values(self, sort: Sequence[Sort], row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(_key_value(self.resource.fields[key.field], value) for key, value in zip(sort, row, strict=True))

    def _total(self, query: QueryOptions, counted: int) -> tuple[int, bool]:
        ceiling = self.resource.limits.count_ceiling
        return (ceiling, True) if query.count is Count.CAPPED and counted > ceiling else (counted, False)

    async def _counted(self, query: QueryOptions) -> int:
        [(number,)] = await self.engine.fetch(*_flat(self.compiler.count(query)))
        return int(number)

    async def find(self, id: str, *, lock: bool = False) -> EntityT | None:
        rows = await self.engine.fetch(self._find_locked if lock else self._find, id)
        return self._entity(rows[0][0]) if rows else None

    async def find_all(self, query: QueryOptions) -> list[EntityT]:
        whole = msgspec.structs.replace(query, fields=self._names, count=Count.NONE)
        [(items, _)] = await self.engine.fetch(*_flat(self.compiler.many(whole, None)))
        try:
            return self._decode_many(items)
        except msgspec.ValidationError as error:
            raise self._unreadable(error) from error

    async def find_many(self, ids: Sequence[str], *, lock: bool = False) -> list[EntityT]:
        return [self._entity(row[0]) for row in await self._many(self._names, ids, lock=lock)]

    async def _many(self, names: Sequence[str], ids: Sequence[str], *, lock: bool = False) -> list[Any]:
        arguments = Arguments(self.engine.dialect)
        found = self.engine.dialect.any_of(self.compiler.columns["id"], ids, arguments.bind) if ids else "1 = 0"
        sql = (
            f"SELECT {self.compiler.row_json(names)} FROM {self.compiler.table} WHERE {found}"
            f" ORDER BY {self.compiler.columns['id']}{self.engine.dialect.row_lock if lock else ''}"
        )
        return list(await self.engine.fetch(sql, *arguments.values))

    def _entity(self, text: str) -> EntityT:
        try:
            return self._decode(text)
        except msgspec.ValidationError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> Conflict:
        name = self.resource.entity.__name__
        return Conflict(f"A stored {name} no longer satisfies its declaration ({error}); migrate the data")

    async def count(self, query: QueryOptions) -> int:
        return await self._counted(query)

    async def exists(self, id: str) -> bool:
        return bool(await self.engine.fetch(self._exists, id))

    async def insert(self, entity: EntityT) -> None:
        await self.engine.execute(self._insert, *self._values(entity))

    async def insert_all(self, entities: Sequence[EntityT]) -> None:
        rows = [self._values(entity) for entity in entities]
        if isinstance(self.engine, PostgresEngine):
            meta = self._table._meta
            columns = [self.compiler.columns[name].strip('"') for name in self._names]
            await self.engine.copy(meta.tablename, meta.schema, columns, rows)
        else:
            await self.engine.execute_many(self._insert, rows)

    async def update(self, id: str, values: Mapping[str, Any]) -> None:
        arguments = Arguments(self.engine.dialect)
        changes = ", ".join(
            f"{self.compiler.columns[name]} = {arguments.bind(self.compiler.stored(name, value))}"
            for name, value in values.items()
        )
        sql = f"UPDATE {self.compiler.table} SET {changes} WHERE {self.compiler.columns['id']} = {arguments.bind(id)}"
        await self.engine.execute(sql, *arguments.values)

    async def insert_free(self, entities: Sequence[EntityT]) -> set[str]:
        return await self._bulk.insert_free(entities)

    async def taken(self, entities: Sequence[EntityT]) -> dict[str, list[str]]:
        return await self._bulk.taken(entities)

    async def update_all(self, entities: Sequence[EntityT], names: Sequence[str]) -> None:
        await self._bulk.update_all(entities, names)

    async def delete(self, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        arguments = Arguments(self.engine.dialect)
        found = self.engine.dialect.any_of(self.compiler.columns["id"], ids, arguments.bind)
        sql = f"DELETE FROM {self.compiler.table} WHERE {found} RETURNING 1"
        return len(await self.engine.fetch(sql, *arguments.values))


def _flat(compiled: tuple[str, list[Any]]) -> tuple[Any, ...]:
    return compiled[0], *compiled[1]


def _key_value(field: Field, value: Any) -> Any:
    # SQLite's booleans are numbers; everything else already has the type it has in JSON.
    return bool(value) if field.kind is Kind.BOOLEAN and value is not None else value
