"""The limit: a bare ASGI app that does the least there is to do for the replies of the service.

No routing beyond comparing strings, no checks, no query language: the statements stand here as constants.
"""

import asyncio
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec

from bench.accounts import User
from bench.operations import CPU, USERS
from domain.wire import timestamp_text

COLUMNS = "id, created_at, updated_at, tags, name, email, role, is_active, age, last_login_at"
BY_ID = f"SELECT {COLUMNS} FROM users WHERE id = "
PAGE_OF_50 = f"SELECT {COLUMNS} FROM users ORDER BY id LIMIT 50 OFFSET 100"
COUNT = "SELECT count(*) FROM users"
ALL = f"SELECT {COLUMNS} FROM users ORDER BY id LIMIT 10000"
FILTERED = "SELECT id, name, age FROM users WHERE is_active AND age >= 30 ORDER BY age DESC, id LIMIT 10000"
INSERT = f"INSERT INTO users ({COLUMNS}) VALUES "
POOL = 5, 15


class Row(msgspec.Struct):
    """A user as it is stored."""

    id: str
    created_at: Any
    updated_at: Any
    tags: Any
    name: str
    email: str
    role: str
    is_active: Any
    age: int | None
    last_login_at: Any


class Part(msgspec.Struct):
    """What `fields=id,name,age` leaves of one."""

    id: str
    name: str
    age: int


class Page(msgspec.Struct):
    """A numbered page."""

    items: list[Row]
    total: int
    page: int
    size: int
    pages: int


encode = msgspec.json.Encoder().encode
decode_user = msgspec.json.Decoder(User).decode


class Limit(ABC):
    """The app; how it talks to its database is up to the two kinds below."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path, status = scope["path"], 200
        if scope["method"] == "POST":
            message = await receive()
            body, status = await self.create(message["body"]), 201
        elif path != USERS:
            body = await self.find(path[len(USERS) + 1 :]) if path != CPU else encode(time.process_time())
        elif b"page" in scope["query_string"]:
            body = await self.page()
        elif scope["query_string"]:
            body = await self.query()
        else:
            body = await self.find_all()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def create(self, body: bytes) -> bytes:
        user = decode_user(body)
        user.created_at = user.updated_at = datetime.now(UTC)
        await self.insert(user)
        return encode(user)

    async def page(self) -> bytes:
        rows, total = await self.rows_and_count()
        return encode(Page(rows, total, 3, 50, -(-total // 50)))

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    async def find(self, id: str) -> bytes: ...

    @abstractmethod
    async def rows_and_count(self) -> tuple[list[Row], int]: ...

    @abstractmethod
    async def find_all(self) -> bytes: ...

    @abstractmethod
    async def query(self) -> bytes: ...

    @abstractmethod
    async def insert(self, user: User) -> None: ...


class PostgresLimit(Limit):
    """asyncpg as it comes: a pool as large as the service's, whose connections keep their statements prepared."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def start(self) -> None:
        low, high = POOL
        self.pool = await asyncpg.create_pool(self.url, min_size=low, max_size=high)

    async def stop(self) -> None:
        await self.pool.close()

    async def find(self, id: str) -> bytes:
        row = await self.pool.fetchrow(BY_ID + "$1", id)
        assert row is not None
        return encode(Row(*row))

    async def rows_and_count(self) -> tuple[list[Row], int]:
        async with self.pool.acquire() as connection:
            return [Row(*row) for row in await connection.fetch(PAGE_OF_50)], await connection.fetchval(COUNT)

    async def find_all(self) -> bytes:
        return encode([Row(*row) for row in await self.pool.fetch(ALL)])

    async def query(self) -> bytes:
        return encode([Part(*row) for row in await self.pool.fetch(FILTERED)])

    async def insert(self, user: User) -> None:
        values = msgspec.structs.astuple(user)
        await self.pool.execute(INSERT + "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", *values)


class SqliteLimit(Limit):
    """sqlite3 with one thread for writes and a few for reads, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.path = urlsplit(url).path[1:]
        self.local = threading.local()
        self.readers = ThreadPoolExecutor(POOL[0], initializer=self.connect)
        self.writer = ThreadPoolExecutor(1, initializer=self.connect)

    def connect(self) -> None:
        self.local.raw = sqlite3.connect(self.path, isolation_level=None)
        self.local.raw.execute("PRAGMA journal_mode = WAL")
        self.local.raw.execute("PRAGMA synchronous = NORMAL")
        self.local.raw.execute("PRAGMA mmap_size = 134217728")

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        self.readers.shutdown()
        self.writer.shutdown()

    def rows(self, sql: str, *values: Any) -> list[Sequence[Any]]:
        found: list[Sequence[Any]] = self.local.raw.execute(sql, values).fetchall()
        return found

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self.loop.run_in_executor(self.readers, work, *args)

    async def find(self, id: str) -> bytes:
        [row] = await self.read(self.rows, BY_ID + "?", id)
        return encode(user_row(row))

    async def rows_and_count(self) -> tuple[list[Row], int]:
        rows, [(total,)] = await self.read(lambda: (self.rows(PAGE_OF_50), self.rows(COUNT)))
        return [user_row(row) for row in rows], total

    async def find_all(self) -> bytes:
        return encode([user_row(row) for row in await self.read(self.rows, ALL)])

    async def query(self) -> bytes:
        return encode([Part(*row) for row in await self.read(self.rows, FILTERED)])

    async def insert(self, user: User) -> None:
        now = timestamp_text(user.created_at)
        last_login = timestamp_text(user.last_login_at) if user.last_login_at else None
        tags = encode(user.tags).decode()
        values = (user.id, now, now, tags, user.name, user.email, user.role, user.is_active, user.age, last_login)
        await self.loop.run_in_executor(self.writer, self.rows, INSERT + "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)


def user_row(row: Sequence[Any]) -> Row:
    """A row of SQLite, which knows neither lists nor booleans."""
    id, created_at, updated_at, tags, name, email, role, is_active, age, last_login_at = row
    tags = msgspec.Raw(tags)
    return Row(id, created_at, updated_at, tags, name, email, role, bool(is_active), age, last_login_at)


def limit(url: str) -> Limit:
    """The limit for the database at `url`."""
    return SqliteLimit(url) if url.startswith("sqlite") else PostgresLimit(url)
