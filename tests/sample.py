"""A resource with a field of every kind, and a way to talk to an app without a server."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import httpx
import msgspec
from msgspec import Meta
from piccolo.columns import (
    JSONB,
    Array,
    BigInt,
    Boolean,
    Date,
    DoublePrecision,
    Integer,
    Numeric,
    Text,
    Time,
    Timestamptz,
    Varchar,
)
from piccolo.columns import UUID as UUIDColumn

from domain.entity import Entity
from domain.query import Resource
from domain.registration import ServiceInfo
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.http.application import Service
from service.settings import Settings


class Color(enum.StrEnum):
    """An enum field's values."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Detail(msgspec.Struct, forbid_unknown_fields=True):
    """A nested object."""

    width: int
    unit: str = "cm"


class Item(Entity, kw_only=True):
    """A field of every kind."""

    name: Annotated[str, Meta(min_length=1, max_length=50)]
    note: str | None = None
    color: Color = Color.RED
    size: int = 0
    big: int | None = None
    ratio: float | None = None
    price: Decimal | None = None
    is_new: bool | None = None
    seen_at: datetime | None = None
    day: date | None = None
    clock: time | None = None
    reference: UUID | None = None
    labels: list[str] = []
    numbers: list[int] = []
    meta: dict[str, Any] = {}
    detail: Detail | None = None


class Items(EntityTable, tablename="items"):
    """Where items are kept."""

    name = Varchar(length=50)
    note = Text(null=True, default=None)
    color = Varchar(length=10)
    size = Integer()
    big = BigInt(null=True, default=None)
    ratio = DoublePrecision(null=True, default=None)
    price = Numeric(digits=(12, 2), null=True, default=None)
    is_new = Boolean(null=True, default=None)
    seen_at = Timestamptz(null=True, default=None)
    day = Date(null=True, default=None)
    clock = Time(null=True, default=None)
    reference = UUIDColumn(null=True, default=None)
    labels = Array(base_column=Text())
    numbers = JSONB(default="[]")
    meta = JSONB()
    detail = JSONB(null=True, default=None)


ITEMS = Resource(Item, "items")


def builder(url: str) -> ServiceBuilder:
    """A service with items on the database at `url`."""
    return (
        ServiceBuilder(info=ServiceInfo(id="sample", display_name="Sample"))
        .with_database(url, pool_size=2, max_overflow=2)
        .with_crud(ITEMS, table=Items)
        .with_health()
        .with_system()
    )


@asynccontextmanager
async def serving(app: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app`, started for the block."""
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://sample.test") as client,
    ):
        yield client


def settings(**values: Any) -> Settings:
    """Settings that do not depend on the environment of the test run."""
    return Settings(**values)


def http_scope(
    method: str, path: str, *, query: bytes = b"", content_type: bytes = b"application/json"
) -> dict[str, Any]:
    """The scope of a request, for tests that are its server themselves."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"content-type", content_type), (b"host", b"sample.test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "asgi": {"version": "3.0"},
        "state": {},
    }
