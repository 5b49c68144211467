"""Migrations: each in one transaction with its record, exactly once, and undone when they fail."""

import asyncio
import contextlib
import logging
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from piccolo.columns import Integer, Text, Varchar
from piccolo.table import Table

from domain.errors import Invalid, Misconfigured, Unavailable
from infra.database import migrate
from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.generations.counts import unwatched
from infra.database.migrate import Step, down, plan, status, up
from infra.database.migration_files import new
from infra.database.piccolo_app import PRODUCT
from infra.database.piccolo_environment import MigrationApp
from infra.database.schema import compare, stored_columns
from infra.database.secrets import Secrets
from infra.database.table import EntityTable
from tests.infra.database.engines import opened


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[DatabaseEngine]:
    async with opened(database_url) as engine:
        yield engine


OWN = len(list((Path(PRODUCT.directory or ".")).glob("millrace_*.py")))
"""How many migrations the product has of its own."""


def things(**columns: Any) -> type[EntityTable]:
    return type("Things", (EntityTable,), {"__module__": __name__, **columns}, tablename="things")


def app(folder: Path | None, *tables: type[Table]) -> MigrationApp:
    return MigrationApp(name="my-service", tables=tables, directory=folder)


def write(folder: Path, id: str, body: str, description: str = "by hand") -> None:
    """A migration written by hand: `body` is what its functions are."""
    folder.mkdir(exist_ok=True)
    (folder / f"{id.replace(':', '_').replace('-', '_')}.py").write_text(
        "from piccolo.apps.migrations.auto.migration_manager import MigrationManager\n"
        "from infra.database.secrets import Secrets\n"
        f'ID, VERSION, DESCRIPTION = "{id}", "1.38.0", "{description}"\n{body}'
    )


async def tables_of(engine: DatabaseEngine, *tables: type[Table]) -> list[bool]:
    """Which tables there are."""
    return [bool(await stored_columns(engine, table)) for table in tables]


async def test_a_migration_is_written_applied_and_undone(engine: DatabaseEngine, tmp_path: Path) -> None:
    first, folder = things(name=Varchar(length=5)), tmp_path / "migrations"
    apps = [PRODUCT, app(folder, first)]
    file = await new(apps[1], apps, description="things")
    assert file is not None
    assert file.parent == folder
    assert await new(apps[1], apps, description="nothing") is None
    assert [step.is_applied for step in await status(engine, apps)] == [False] * (OWN + 1)

    statements = await plan(engine, apps)
    assert any(statement.startswith("CREATE TABLE") and "things" in statement for statement in statements)
    assert await tables_of(engine, first, Secrets) == [False, False]

    done = await up(engine, apps)
    assert [line.split(": ")[0] for line in done] == ["millrace"] * OWN + ["my-service"]
    assert done[-1].endswith(" things")
    assert await tables_of(engine, first, Secrets) == [True, True]
    assert await up(engine, apps) == []
    assert await plan(engine, apps) == []
    steps = await status(engine, apps)
    assert steps[-1] == Step(app="my-service", id=steps[-1].id, description="things", is_applied=True)

    second = things(name=Varchar(length=5), note=Text(null=True, default=None))
    apps = [PRODUCT, app(folder, second)]
    assert await new(apps[1], apps, description="a note") is not None
    assert len(await up(engine, apps)) == 1
    assert (await compare(engine, [second])).is_clean

    undone = await down(engine, apps)
    assert undone == [(await status(engine, apps))[-1].id]
    assert "note" not in {column.name for column in await stored_columns(engine, second)}
    await down(engine, apps, steps=5)
    assert await tables_of(engine, second, Secrets) == [False, True]
    await down(engine, apps, steps=OWN)
    assert await tables_of(engine, Secrets) == [False]
    with pytest.raises(Invalid, match="no migration to undo"):
        await down(engine, apps)


async def test_a_plan_says_that_changes_are_counted_and_how(engine: DatabaseEngine) -> None:
    table = things(name=Varchar(length=5))
    watched = MigrationApp(name="my-service", tables=(table,), watched=(table,))
    await up(engine, [PRODUCT])
    statements = await plan(engine, [PRODUCT, watched])
    assert any("CREATE TRIGGER" in statement for statement in statements)
    assert await unwatched(engine, [table]) == [table]
    for statement in statements:
        await engine.execute(statement)
    assert await unwatched(engine, [table]) == []
    assert await plan(engine, [PRODUCT, watched]) == await up(engine, [PRODUCT, watched]) == []


async def test_undoing_does_not_drop_a_table_with_rows_unless_told_to(engine: DatabaseEngine, tmp_path: Path) -> None:
    table = things(name=Varchar(length=5))
    # Made by a start without migrations, and only recorded later.
    await up(engine, [app(None, table)])
    apps = [app(tmp_path / "migrations", table)]
    await new(apps[0], apps, description="things")
    assert "only recorded" in (await up(engine, apps))[0]
    await table.insert(table(name="kept"))
    with pytest.raises(Invalid, match="drops table things with its 1 rows: add --drop-data"):
        await down(engine, apps)
    assert await table.count() == 1
    assert len(await down(engine, apps, is_dropping_data=True)) == 1
    assert await tables_of(engine, table) == [False]


async def test_no_empty_folder_is_left_when_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    apps = [app(tmp_path / "migrations")]
    assert await new(apps[0], apps, description="nothing") is None
    assert not (tmp_path / "migrations").exists()


async def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    apps = [app(tmp_path / "file" / "migrations", things(name=Varchar(length=5)))]
    with pytest.raises(Misconfigured, match="cannot write into"):
        await new(apps[0], apps, description="things")


async def test_a_failed_migration_leaves_the_database_as_it_was(engine: DatabaseEngine, tmp_path: Path) -> None:
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", CREATES)
    write(
        tmp_path / "m",
        "2025-01-02T00:00:00:000000",
        doing("CREATE TABLE half (a integer)", "INSERT INTO made VALUES (7)", "INSERT INTO nowhere VALUES (7)"),
    )
    apps = [app(tmp_path / "m")]
    with pytest.raises(Misconfigured, match="migration 2025-01-02T00:00:00:000000 of my-service failed and was undone"):
        await up(engine, apps)
    assert [step.is_applied for step in await status(engine, apps)] == [True, False]
    assert await engine.fetch("SELECT * FROM made") == []
    with pytest.raises(Exception, match="half"):
        await engine.fetch("SELECT * FROM half")
    with pytest.raises(Misconfigured, match="failed and was undone"):
        await up(engine, apps)


def doing(*statements: str, undo: str = "SELECT 1") -> str:
    """The body of a migration that runs SQL by hand."""
    return (
        "async def forwards():\n"
        f"    manager = MigrationManager(migration_id=ID, app_name='', description=DESCRIPTION)\n"
        "    async def run():\n"
        f"        for statement in {statements!r}:\n"
        "            await Secrets.raw(statement)\n"
        "    async def back():\n"
        f"        await Secrets.raw({undo!r})\n"
        "    manager.add_raw(run)\n"
        "    manager.add_raw_backwards(back)\n"
        "    return manager\n"
    )


CREATES = doing("CREATE TABLE made (a integer PRIMARY KEY)", undo="DROP TABLE made")


async def test_a_migration_may_run_sql_by_hand(engine: DatabaseEngine, tmp_path: Path) -> None:
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", CREATES, description="")
    (tmp_path / "m" / "notes.py").write_text("words = 'no migration at all'\n")
    apps = [app(tmp_path / "m")]
    assert await up(engine, apps) == ["my-service: 2025-01-01T00:00:00:000000"]
    await engine.execute("INSERT INTO made VALUES (1)")
    assert await down(engine, apps) == ["2025-01-01T00:00:00:000000"]
    with pytest.raises(Exception, match="made"):
        await engine.fetch("SELECT * FROM made")
    assert [step.is_applied for step in await status(engine, apps)] == [False]


async def test_a_migration_that_acts_instead_of_telling_what_to_do_is_refused_and_undone(
    engine: DatabaseEngine, tmp_path: Path
) -> None:
    body = "async def forwards():\n    await Secrets.raw('CREATE TABLE made (a integer)')\n"
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", body)
    apps = [app(tmp_path / "m")]
    for work in (plan, up):
        with pytest.raises(Misconfigured, match="does not return a MigrationManager"):
            await work(engine, apps)
        with pytest.raises(Exception, match="made"):
            await engine.fetch("SELECT * FROM made")


async def test_a_migration_may_take_longer_than_a_statement_of_a_request(database_url: str, tmp_path: Path) -> None:
    # Counts long enough on either database, whose limit for a statement is less than a tenth of that.
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT max(i) FROM n"
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", doing("CREATE TABLE made (a integer)", slow, undo=slow))
    apps = [app(tmp_path / "m")]
    async with opened(database_url, statement_timeout_seconds=0.1) as engine:
        with pytest.raises(Unavailable, match="statement timeout"):
            await engine.fetch(slow)
        assert len(await up(engine, apps)) == 1
        assert len(await down(engine, apps)) == 1
        with pytest.raises(Unavailable, match="statement timeout"):
            await engine.fetch(slow)


async def test_what_another_process_has_undone_meanwhile_is_not_undone_again(
    engine: DatabaseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", CREATES)
    write(tmp_path / "m", "2025-01-02T00:00:00:000000", doing("SELECT 1", undo="INSERT INTO made VALUES (1)"))
    apps = [app(tmp_path / "m")]
    await up(engine, apps)
    locked, is_first = migrate._locked, True

    @asynccontextmanager
    async def overtaken(engine: DatabaseEngine) -> AsyncIterator[None]:
        """The lock, which another process had just before."""
        nonlocal is_first
        if is_first:
            is_first = False
            # As it happens elsewhere, it knows nothing of the modules that are there for this process.
            monkeypatch.setattr(migrate, "piccolo_environment", lambda apps: contextlib.nullcontext())
            assert await down(engine, apps) == ["2025-01-02T00:00:00:000000"]
        async with locked(engine):
            yield

    monkeypatch.setattr(migrate, "_locked", overtaken)
    assert await down(engine, apps) == []
    assert await engine.fetch("SELECT a FROM made") == [(1,)]


async def test_a_migration_that_went_missing_cannot_be_undone(engine: DatabaseEngine, tmp_path: Path) -> None:
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", CREATES)
    apps = [app(tmp_path / "m")]
    await up(engine, apps)
    next((tmp_path / "m").glob("*.py")).unlink()
    with pytest.raises(Invalid, match=r"has run, and its file is not in"):
        await down(engine, apps)


async def test_tables_that_no_migration_made_are_named(engine: DatabaseEngine, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(Misconfigured, match="table things is missing: write a migration"):
        await up(engine, [app(tmp_path / "m", things())])


async def test_without_a_folder_tables_are_made_as_declared(engine: DatabaseEngine) -> None:
    first, second = things(), things(note=Text(null=True, default=None))
    assert len(await plan(engine, [app(None, first)])) == 1
    assert await up(engine, [app(None, first)]) == ["my-service: created table things"]
    assert len(await plan(engine, [app(None, second)])) == 1
    assert await up(engine, [app(None, second)]) == ["my-service: added column things.note"]
    assert await up(engine, [app(None, second)]) == []
    assert await plan(engine, [app(None, second)]) == []
    assert await status(engine, [app(None, second)]) == []
    with pytest.raises(Misconfigured, match="name a folder"):
        await new(app(None, first), [app(None, first)], description="x")


async def test_tables_made_without_migrations_are_adopted_by_the_first(engine: DatabaseEngine, tmp_path: Path) -> None:
    table, folder = things(name=Varchar(length=5)), tmp_path / "m"
    await up(engine, [app(None, table)])
    apps = [app(folder, table)]
    await new(apps[0], apps, description="adopted")
    assert [line.endswith("adopted (only recorded)") for line in await plan(engine, apps)] == [True]
    [line] = await up(engine, apps)
    assert line.endswith("(the tables were there already and match; only recorded)")
    assert await up(engine, apps) == []


async def test_tables_that_differ_are_not_adopted(engine: DatabaseEngine, tmp_path: Path) -> None:
    await up(engine, [app(None, things(name=Varchar(length=5)))])
    apps = [app(tmp_path / "m", things(name=Varchar(length=6)))]
    await new(apps[0], apps, description="other")
    with pytest.raises(Misconfigured, match="failed and was undone"):
        await up(engine, apps)


async def test_an_empty_migration_waits_for_its_words(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    apps = [app(folder, things())]
    file = await new(apps[0], apps, description="it's \\ a\nstory", is_empty=True)
    assert file is not None
    assert runpy.run_path(str(file))["DESCRIPTION"] == "it's \\ a story"


SCRIPT = """
import asyncio, sys
from pathlib import Path
from infra.database.migrate import up
from infra.database.piccolo_environment import MigrationApp
from tests.infra.database.engines import opened

async def main(url, folder):
    async with opened(url, pool_size=1, max_overflow=0) as engine:
        print(len(await up(engine, [MigrationApp(name="counting", tables=(), directory=Path(folder))])))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_each_migration_runs_once_however_many_processes_start(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    write(folder, "2025-01-01T00:00:00:000000", CREATES)
    for number in range(2, 6):
        write(folder, f"2025-01-0{number}T00:00:00:000000", doing(f"INSERT INTO made VALUES ({number})"))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, database_url, str(folder), cwd=Path(__file__).parents[3], stdout=-1, stderr=-1
        )
        for _ in range(3)
    ]
    finished = [await process.communicate() for process in processes]
    assert sum(int(out) for out, _ in finished) == 5, [error.decode()[-2000:] for _, error in finished]
    async with opened(database_url) as engine:
        assert [row[0] for row in await engine.fetch("SELECT a FROM made ORDER BY a")] == [2, 3, 4, 5]


async def test_each_migration_runs_once_however_many_apps_start_in_one_process(
    database_url: str, tmp_path: Path
) -> None:
    folder, table = tmp_path / "m", things(name=Varchar(length=5))
    apps = [PRODUCT, app(folder, table)]
    await new(apps[1], apps, description="things")

    async def start() -> list[str]:
        async with opened(database_url, pool_size=1, max_overflow=0) as engine:
            return await up(engine, apps)

    done = await asyncio.gather(*(start() for _ in range(5)))
    assert sorted(len(lines) for lines in done if lines)
    assert sum(len(lines) for lines in done) == OWN + 1
    async with opened(database_url) as engine:
        assert all(step.is_applied for step in await status(engine, apps))


async def test_a_change_to_the_tables_of_another_app_is_no_business_of_ours(
    engine: DatabaseEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Numbers(Table, db=CURRENT_ENGINE):
        id = Integer(primary_key=True)

    await engine.execute("CREATE TABLE others (id integer)")
    with caplog.at_level(logging.WARNING):
        await up(engine, [app(None, Numbers)])
    assert caplog.records == []
    assert (await compare(engine, [Numbers])).is_clean


async def test_apps_with_databases_of_their_own_may_migrate_at_once(tmp_path: Path) -> None:
    async def start(number: int) -> list[str]:
        table = things(**{f"x{place}": Integer() for place in range(number)})
        apps = [PRODUCT, MigrationApp(name=f"app-{number}", tables=(table,), directory=tmp_path / str(number))]
        async with opened(f"sqlite:///{tmp_path / str(number)}.db") as engine:
            await new(apps[1], apps, description="first")
            await asyncio.sleep(0)
            done = await up(engine, apps)
            return [*done, *await down(engine, apps), *await up(engine, apps)]

    assert [len(done) for done in await asyncio.gather(*(start(number) for number in range(1, 6)))] == [OWN + 3] * 5


async def test_a_broken_rule_undoes_a_migration_too(engine: DatabaseEngine, tmp_path: Path) -> None:
    twice = "INSERT INTO made VALUES (1)"
    write(tmp_path / "m", "2025-01-01T00:00:00:000000", doing("CREATE TABLE made (a integer UNIQUE)", twice, twice))
    with pytest.raises(Misconfigured, match=r'failed and was undone: The value of "a" is already taken'):
        await up(engine, [app(tmp_path / "m")])


async def test_a_column_goes_with_its_index(engine: DatabaseEngine, tmp_path: Path) -> None:
    plain, indexed = things(), things(note=Text(null=True, default=None, index=True))
    for table in (plain, indexed, plain):
        apps = [app(tmp_path / "m", table)]
        assert await new(apps[0], apps, description="next") is not None
        await up(engine, apps)
    assert "note" not in {column.name for column in await stored_columns(engine, plain)}
    await down(engine, apps)
    assert "note" in {column.name for column in await stored_columns(engine, plain)}
    await down(engine, apps)
    assert "note" not in {column.name for column in await stored_columns(engine, plain)}


@pytest.mark.parametrize("is_renamed", [True, False])
async def test_a_name_that_goes_and_one_that_comes_may_be_the_same(tmp_path: Path, is_renamed: bool) -> None:
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return is_renamed

    before = [app(tmp_path / "m", things(old=Integer()))]
    after = [app(tmp_path / "m", things(fresh=Integer()))]
    await new(before[0], before, description="first")
    with pytest.raises(Misconfigured, match="--renamed or --not-renamed"):
        await new(after[0], after, description="second")
    file = await new(after[0], after, description="second", ask=ask)
    assert file is not None
    assert ("rename_column" in file.read_text()) == is_renamed
    assert len(asked) == 1
    assert "old" in asked[0]
