"""Generations: how often each table has changed, counted by the database in the transaction of every change."""

from collections.abc import Iterable, Sequence

from piccolo.columns import BigInt, Varchar
from piccolo.table import Table

from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine


class Counts(Table, tablename="millrace_generations", db=CURRENT_ENGINE):
    """The generation behind a name is the sum of its rows.

    PostgreSQL has a row for each of its processes that has changed something: with a single one, every change of a
    table would wait for the end of all others.
    """

    key = Varchar(length=150, primary_key=True)
    name = Varchar(length=100)
    generation = BigInt()


SELECT = "SELECT name, CAST(sum(generation) AS BIGINT) FROM millrace_generations GROUP BY name"

_POSTGRES_BUMP = """
    INSERT INTO millrace_generations AS counts (key, name, generation)
    VALUES ({name} || '/' || pg_backend_pid(), {name}, 1)
    ON CONFLICT (key) DO UPDATE SET generation = counts.generation + 1
"""
_SQLITE_BUMP = """
    INSERT INTO millrace_generations (key, name, generation) VALUES (?1, ?1, 1)
    ON CONFLICT (key) DO UPDATE SET generation = generation + 1
"""
_COUNT = f"""
CREATE OR REPLACE FUNCTION millrace_count_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {_POSTGRES_BUMP.format(name="TG_ARGV[0]")};
    RETURN NULL;
END $$
"""
_FOLD = """
WITH gone AS (
    DELETE FROM millrace_generations
    WHERE key <> name AND substring(key from '[^/]*$') NOT IN (SELECT pid::text FROM pg_stat_activity)
    RETURNING name, generation
)
INSERT INTO millrace_generations AS counts (key, name, generation)
SELECT name, name, sum(generation) FROM gone GROUP BY name ORDER BY name
ON CONFLICT (key) DO UPDATE SET generation = counts.generation + EXCLUDED.generation
"""
_EVENTS = ("INSERT", "UPDATE", "DELETE")
# Any number does, as long as nobody else in the database takes it for something else.
_FOLDING = 0x6D72666F6C64


def tables_named(tables: Iterable[type[Table]]) -> tuple[str, ...]:
    """The names by which the generations of tables are known."""
    return tuple(table._meta.tablename for table in tables)


async def watch(engine: DatabaseEngine, tables: Sequence[type[Table]]) -> list[str]:
    """Have the database count the changes of these tables; returns a line for each that was not counted before.

    Belongs into a transaction that one process at a time is in.
    """
    new = await unwatched(engine, tables)
    for statement in counting(engine, new):
        await engine.execute(statement)
    return [f"counting the changes of {name}" for name in tables_named(new)]


def counting(engine: DatabaseEngine, tables: Sequence[type[Table]]) -> list[str]:
    """The statements that have the database count the changes of these tables."""
    statements = []
    if tables and isinstance(engine, PostgresEngine):
        statements.append(_COUNT)
    for table in tables:
        name = table._meta.tablename
        where = table._meta.get_formatted_tablename()
        if isinstance(engine, PostgresEngine):
            statements.append(
                f"CREATE TRIGGER millrace_generation AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {where} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION millrace_count_change('{name}')"
            )
        else:
            statements.append(_SQLITE_BUMP.replace("?1", f"'{name}'"))
            statements += [
                f'CREATE TRIGGER IF NOT EXISTS "{_sqlite_name(name, event)}" AFTER {event} ON {where} BEGIN '
                f"UPDATE millrace_generations SET generation = generation + 1 WHERE key = '{name}'; END"
                for event in _EVENTS
            ]
    return statements


async def unwatched(engine: DatabaseEngine, tables: Sequence[type[Table]]) -> list[type[Table]]:
    """Those of the tables whose changes the database does not count."""
    if not tables:
        return []
    if isinstance(engine, PostgresEngine):
        rows = await engine.fetch(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'millrace_generation' AND tgenabled <> 'D'"
        )
        found = {str(row[0]).replace('"', "") for row in rows}
        return [table for table in tables if table._meta.get_formatted_tablename().replace('"', "") not in found]
    rows = await engine.fetch("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    found = {row[0] for row in rows}
    return [
        table
        for table in tables
        if not found.issuperset(_sqlite_name(table._meta.tablename, event) for event in _EVENTS)
    ]


async def fold(engine: PostgresEngine) -> None:
    """Bring together the counts of PostgreSQL's processes that have ended; the sums stay."""
    async with engine.transaction():
        [(is_alone,)] = await engine.fetch("SELECT pg_try_advisory_xact_lock($1)", _FOLDING)
        if is_alone:
            await engine.execute(_FOLD)


async def bump(engine: DatabaseEngine, names: Sequence[str]) -> None:
    """Count a change of what is behind these names by hand."""
    sql = _POSTGRES_BUMP.format(name="$1::text") if isinstance(engine, PostgresEngine) else _SQLITE_BUMP
    for name in sorted(set(names)):
        await engine.execute(sql, name)


def _sqlite_name(table: str, event: str) -> str:
    return f"millrace_generation_{table}_{event.lower()}"
