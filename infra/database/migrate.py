"""Runs Piccolo migrations: each in one transaction together with its record, and each exactly once, however many
processes start at the same time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from textwrap import dedent
from types import ModuleType
from typing import Any

import msgspec
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration

from domain.errors import Invalid, Misconfigured, ServiceError, Unavailable
from infra.database.current import use_engine
from infra.database.engine import DatabaseEngine
from infra.database.generations.counts import counting, unwatched, watch
from infra.database.migration_files import description_of, manager_of, modules_of
from infra.database.piccolo_environment import MigrationApp, piccolo_environment, quietly
from infra.database.postgres import PostgresEngine
from infra.database.schema import Drift, compare, synchronize
from infra.database.sqlite import SqliteEngine

# Any number does, as long as nobody else in the database takes it for something else.
_LOCK = 0x6D696C6C72616365


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One migration and whether it has run."""

    app: str
    id: str
    description: str
    is_applied: bool


async def status(engine: DatabaseEngine, apps: Sequence[MigrationApp]) -> list[Step]:
    """Every known migration, oldest first, app by app."""
    use_engine(engine)
    async with piccolo_environment(apps):
        applied = await _applied(engine)
    return [
        Step(app=app.name, id=id, description=description_of(module), is_applied=(app.name, id) in applied)
        for app in apps
        for id, module in modules_of(app).items()
    ]


async def up(engine: DatabaseEngine, apps: Sequence[MigrationApp]) -> list[str]:
    """Run what has not run yet; returns what was done, a line each.

    Raises `Misconfigured` when a migration fails (everything it did is undone) or when the declared tables still
    differ from the database afterwards.
    """
    use_engine(engine)
    done: list[str] = []
    async with piccolo_environment(apps):
        async with _locked(engine):
            await Migration.create_table(if_not_exists=True).run()  # type: ignore[no-untyped-call]
        for app in apps:
            if app.directory is None:
                async with _locked(engine):
                    done += _synchronized(app, await synchronize(engine, app.tables))
            else:
                for id, module in modules_of(app).items():
                    done += await _run_once(engine, app, id, module)
                drift = await compare(engine, app.tables)
                if not drift.is_clean:
                    raise Misconfigured(f"{drift.describe()}: write a migration with `millrace migrations new`")
            if await unwatched(engine, app.watched):
                async with _locked(engine):
                    done += [f"{app.name}: {line}" for line in await watch(engine, app.watched)]
    return done


async def down(
    engine: DatabaseEngine, apps: Sequence[MigrationApp], *, steps: int = 1, is_dropping_data: bool = False
) -> list[str]:
    """Undo the latest `steps` migrations of the last app that has any; returns the ids of those it has undone.

    Raises `Invalid` where that drops a table with rows, unless `is_dropping_data`.
    """
    use_engine(engine)
    undone: list[str] = []
    async with piccolo_environment(apps):
        applied = await _applied(engine)
        app = next((app for app in reversed(apps) if any(name == app.name for name, _ in applied)), None)
        if app is None:
            raise Invalid("There is no migration to undo")
        modules = modules_of(app)
        latest = sorted((id for name, id in applied if name == app.name), reverse=True)[:steps]
        for id in latest:
            if id not in modules:
                raise Invalid(f"Migration {id} of {app.name} has run, and its file is not in {app.directory}")
            async with _locked(engine), _explained(app, id):
                # Looked up under the lock: another process may have been faster.
                if (app.name, id) not in await _applied(engine):
                    continue
                manager = await manager_of(modules[id])
                if not is_dropping_data:
                    await _check_empty(engine, id, manager)
                await _run(engine, manager, is_backwards=True)
                await Migration.delete().where(Migration.name == id, Migration.app_name == app.name).run()
            undone.append(id)
    return undone


async def _check_empty(engine: DatabaseEngine, id: str, manager: MigrationManager) -> None:
    """Raise `Invalid` when undoing a migration drops a table that holds something."""
    for table in manager.add_tables:
        schema = f'"{table.schema}".' if table.schema else ""
        [(rows,)] = await engine.fetch(f'SELECT count(*) FROM {schema}"{table.tablename}"')
        if rows:
            raise Invalid(
                f"Undoing migration {id} drops table {table.tablename} with its {rows} rows: "
                "add --drop-data when that is what you want"
            )


async def plan(engine: DatabaseEngine, apps: Sequence[MigrationApp]) -> list[str]:
    """The SQL that `up` would run now, a statement each; nothing is changed."""
    use_engine(engine)
    statements: list[str] = []
    async with piccolo_environment(apps):
        applied = await _applied(engine)
        for app in apps:
            if app.directory is None:
                drift = await compare(engine, app.tables)
                statements += [f"{ddl};" for table in drift.missing_tables for ddl in table.create_table().ddl]
                statements += [
                    f"{ddl};"
                    for column in drift.missing_columns
                    for ddl in column._meta.table.alter().add_column(column._meta.name, column).ddl
                ]
            else:
                new = {id: module for id, module in modules_of(app).items() if (app.name, id) not in applied}
                for id, module in new.items():
                    statements += await _planned(engine, app, id, module)
            statements += [f"{dedent(sql).strip()};" for sql in counting(engine, await unwatched(engine, app.watched))]
    return statements


async def _planned(engine: DatabaseEngine, app: MigrationApp, id: str, module: ModuleType) -> list[str]:
    # In a transaction, for a migration that acts instead of telling what to do is refused and undone.
    async with engine.transaction():
        manager = await manager_of(module)
    if await _is_adoptable(engine, app, manager):
        return [f"-- {app.name}: {id} {description_of(module)} (only recorded)"]
    manager.preview = True
    printed = await quietly(manager.run())
    return [line.strip() for line in printed.splitlines() if line.strip().endswith(";")]


async def _run_once(engine: DatabaseEngine, app: MigrationApp, id: str, module: ModuleType) -> list[str]:
    async with _locked(engine), _explained(app, id):
        # Looked up under the lock: another process may have been faster.
        if (app.name, id) in await _applied(engine):
            return []
        manager = await manager_of(module)
        line = f"{app.name}: {id} {description_of(module)}".rstrip()
        if await _is_adoptable(engine, app, manager):
            line += " (the tables were there already and match; only recorded)"
        else:
            await _run(engine, manager)
        await Migration.insert(Migration(name=id, app_name=app.name)).run()
        return [line]


async def _run(engine: DatabaseEngine, manager: MigrationManager, *, is_backwards: bool = False) -> None:
    if isinstance(engine, SqliteEngine):
        # Other than PostgreSQL it does not drop a column's index along with the column.
        going = manager.add_columns.add_columns if is_backwards else manager.drop_columns.drop_columns
        for tablename, column in [(drop.tablename, _stored_name(drop)) for drop in going]:
            for (index,) in await engine.fetch(
                "SELECT l.name FROM pragma_index_list(?1) l JOIN pragma_index_info(l.name) i "
                "WHERE i.name = ?2 AND l.origin = 'c'",
                tablename,
                column,
            ):
                await engine.execute(f'DROP INDEX "{index}"')
    await quietly(manager.run(backwards=is_backwards))


def _stored_name(column: Any) -> str:
    meta = column.column._meta if hasattr(column, "column") else column
    return str(meta.db_column_name)


async def _is_adoptable(engine: DatabaseEngine, app: MigrationApp, manager: MigrationManager) -> bool:
    """Whether a first migration only creates tables that the embedded default has already made as declared."""
    created = {table.tablename for table in manager.add_tables}
    if not created or any(name == app.name for name, _ in await _applied(engine)):
        return False
    tables = [table for table in app.tables if table._meta.tablename in created]
    return len(tables) == len(created) and (await compare(engine, tables)).is_clean


async def _applied(engine: DatabaseEngine) -> set[tuple[str, str]]:
    if not await Migration.table_exists().run():
        return set()
    return {(row["app_name"], row["name"]) for row in await Migration.select(Migration.app_name, Migration.name).run()}


def _synchronized(app: MigrationApp, drift: Drift) -> list[str]:
    lines = [f"{app.name}: created table {table._meta.tablename}" for table in drift.missing_tables]
    return lines + [
        f"{app.name}: added column {column._meta.table._meta.tablename}.{column._meta.db_column_name}"
        for column in drift.missing_columns
    ]


@asynccontextmanager
async def _locked(engine: DatabaseEngine) -> AsyncIterator[None]:
    """A transaction that only one process at a time is in."""
    async with engine.transaction() as transaction:
        # A migration may take as long as it needs; the lock goes with the transaction.
        transaction.is_unlimited = True
        if isinstance(engine, PostgresEngine):
            await engine.execute("SET LOCAL statement_timeout = 0")
            await engine.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await engine.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # On SQLite, BEGIN IMMEDIATE has already waited for the others.
        yield


@asynccontextmanager
async def _explained(app: MigrationApp, id: str) -> AsyncIterator[None]:
    try:
        yield
    except (Misconfigured, Unavailable, Invalid):
        raise
    except ServiceError as error:
        raise Misconfigured(f"migration {id} of {app.name} failed and was undone: {error.detail}") from error
    except Exception as error:
        advice = ""
        if 'near "ALTER"' in str(error):
            advice = "; SQLite cannot change a column that exists: add a new one and copy, or use PostgreSQL"
        raise Misconfigured(f"migration {id} of {app.name} failed and was undone: {error}{advice}") from error
