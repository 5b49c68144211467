"""The database is compared with the declared tables; what is missing is added, and nothing is ever taken away."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from piccolo.columns import (
    JSON,
    JSONB,
    Array,
    BigInt,
    Boolean,
    DoublePrecision,
    ForeignKey,
    Integer,
    Interval,
    Numeric,
    SmallInt,
    Text,
    Timestamp,
    Varchar,
)
from piccolo.table import Table

from domain.errors import Misconfigured
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.schema import Drift, compare, stored_columns, synchronize
from infra.database.table import EntityTable
from tests.infra.database.engines import opened
from tests.sample import Items


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[DatabaseEngine]:
    async with opened(database_url) as engine:
        yield engine


def things(**columns: Any) -> type[EntityTable]:
    """A table `things` with these columns beyond those of every entity."""
    return type("Things", (EntityTable,), {"__module__": __name__, **columns}, tablename="things")


class Wide(EntityTable, tablename="wide"):
    """A column of every kind we write."""

    small = SmallInt()
    big = BigInt()
    amount = Numeric(digits=(10, 3))
    ratio = DoublePrecision()
    flag = Boolean()
    names = Array(base_column=Varchar(length=7))
    texts = Array(base_column=Text())
    counts = Array(base_column=Integer())
    lists = Array(base_column=Array(base_column=BigInt()))
    document = JSON()
    binary = JSONB()
    moment = Timestamp()
    span = Interval()


async def test_a_database_has_the_tables_it_was_given(engine: DatabaseEngine) -> None:
    before = await compare(engine, [Items, Wide])
    assert before.missing_tables == (Items, Wide)
    assert not before.is_clean
    assert before.describe() == "table items is missing; table wide is missing"
    assert (await synchronize(engine, [Items, Wide])).missing_tables == (Items, Wide)
    assert await compare(engine, [Items, Wide]) == Drift()
    assert (await synchronize(engine, [Items, Wide])).is_clean


async def test_tables_are_created_in_the_order_of_their_references(engine: DatabaseEngine) -> None:
    class Parents(EntityTable, tablename="parents"):
        pass

    class Children(EntityTable, tablename="children"):
        parent = ForeignKey(references=Parents)

    await synchronize(engine, [Children, Parents])
    assert (await compare(engine, [Children, Parents])).is_clean


async def test_a_missing_column_is_added_to_the_rows_that_exist(engine: DatabaseEngine) -> None:
    await synchronize(engine, [things()])
    await engine.execute(
        f"INSERT INTO things (id, created_at, updated_at, tags) VALUES ('{'0' * 26}', CURRENT_TIMESTAMP, "
        f"CURRENT_TIMESTAMP, '{'{}' if isinstance(engine, PostgresEngine) else '[]'}')"
    )
    extended = things(note=Text(null=True, default=None), size=Integer(default=7))
    drift = await compare(engine, [extended])
    assert drift.describe() == "column things.note is missing; column things.size is missing"
    await synchronize(engine, [extended])
    assert (await compare(engine, [extended])).is_clean
    assert [tuple(row) for row in await engine.fetch("SELECT note, size FROM things")] == [(None, 7)]


async def test_a_column_that_existing_rows_cannot_have_is_refused(engine: DatabaseEngine) -> None:
    await synchronize(engine, [things()])
    await engine.execute(
        f"INSERT INTO things (id, created_at, updated_at, tags) VALUES ('{'0' * 26}', CURRENT_TIMESTAMP, "
        f"CURRENT_TIMESTAMP, '{'{}' if isinstance(engine, PostgresEngine) else '[]'}')"
    )
    with pytest.raises(Misconfigured, match=r"column things\.size cannot be added .* give it null=True"):
        async with engine.transaction():
            await synchronize(engine, [things(size=Integer(default=None))])
    assert "size" not in {column.name for column in await stored_columns(engine, things())}


async def test_another_type_or_null_rule_is_refused_and_nothing_is_changed(engine: DatabaseEngine) -> None:
    await synchronize(engine, [things(a=Integer(), b=Text(), c=Text(null=True), d=Varchar(length=5))])
    changed = things(a=Text(), b=Text(null=True), c=Text(), d=Varchar(length=6), e=Text())
    with pytest.raises(Misconfigured, match="write a migration with `millrace migrations new`") as caught:
        await synchronize(engine, [changed])
    kind = "character varying" if isinstance(engine, PostgresEngine) else "varchar"
    assert str(caught.value).split(": ")[0].split("; ") == [
        "column things.a is integer and declared as text",
        "column things.b forbids nulls and its declaration allows them",
        "column things.c allows nulls and its declaration forbids them",
        f"column things.d is {kind}(5) and declared as {kind}(6)",
    ]
    assert "e" not in {column.name for column in await stored_columns(engine, changed)}


async def test_a_column_that_is_left_over_is_kept_and_mentioned(
    engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    await synchronize(engine, [things(old=Text(null=True), older=Text(default="x"))])
    drift = await compare(engine, [things()])
    assert drift.is_clean
    assert sorted(drift.leftovers) == ["things.old", "things.older"]
    with caplog.at_level(logging.WARNING, "millrace.database"):
        await synchronize(engine, [things()])
    assert sorted(record.getMessage() for record in caplog.records) == [
        "column things.old is in the database and no longer declared; its data is kept",
        "column things.older is in the database and no longer declared; its data is kept",
    ]


async def test_a_left_over_column_that_every_row_needs_is_refused(engine: DatabaseEngine) -> None:
    await synchronize(engine, [things()])
    await engine.execute("CREATE TABLE others (id integer PRIMARY KEY, needed integer NOT NULL)")

    class Others(Table, tablename="others", db=engine):
        id = Integer(primary_key=True)

    with pytest.raises(Misconfigured, match=r"column others\.needed is not declared and needs a value in every row"):
        await synchronize(engine, [Others])


async def test_a_table_may_live_in_a_schema_of_its_own(postgres_url: str) -> None:
    class Apart(EntityTable, tablename="apart", schema="away"):
        name = Varchar(length=5)

    async with opened(postgres_url) as engine:
        await engine.execute("CREATE SCHEMA away")
        await synchronize(engine, [Apart])
        assert (await compare(engine, [Apart])).is_clean
        [(found,)] = await engine.fetch("SELECT count(*) FROM away.apart")
        assert found == 0
