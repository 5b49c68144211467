"""The SQLite engine: nobody ever sees a locked database, readers wait for nobody, and everything can be stopped."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Misconfigured, Unavailable
from infra.database import sqlite
from infra.database.sqlite import SqliteEngine
from tests.infra.database.engines import add, numbers, with_numbers

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "numbers.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(path)
    await engine.start()
    await with_numbers(engine, 1)
    yield engine
    await engine.stop()


async def increment(engine: SqliteEngine) -> None:
    """Read, give others a chance, write: loses updates unless the transaction keeps others out."""
    async with engine.transaction():
        [(value,)] = await engine.fetch("SELECT value FROM numbers WHERE id = 1")
        await asyncio.sleep(0)
        await engine.execute("UPDATE numbers SET value = ?1 WHERE id = 1", value + 1)


async def value(engine: SqliteEngine) -> int:
    [(found,)] = await engine.fetch("SELECT value FROM numbers WHERE id = 1")
    return int(found)


async def test_fifty_writers_lose_no_update(engine: SqliteEngine) -> None:
    await asyncio.gather(*(increment(engine) for _ in range(50)))
    assert await value(engine) == 50


async def test_two_engines_write_to_one_file_at_once(engine: SqliteEngine, path: Path) -> None:
    other = SqliteEngine(path)
    await other.start()
    await asyncio.gather(*(increment(each) for _ in range(50) for each in (engine, other)))
    assert await value(engine) == await value(other) == 100
    await other.stop()


async def test_two_engines_may_create_one_file_at_once(tmp_path: Path) -> None:
    engines = [SqliteEngine(tmp_path / "new.db") for _ in range(4)]
    await asyncio.gather(*(engine.start() for engine in engines))
    await engines[0].execute("CREATE TABLE t (a integer)")
    assert await engines[3].fetch("SELECT * FROM t") == []
    await asyncio.gather(*(engine.stop() for engine in engines))


async def test_readers_do_not_wait_for_an_open_change(engine: SqliteEngine) -> None:
    async with engine.transaction():
        await add(engine, 2)
        assert await numbers(engine) == [1, 2]

        async def read_outside() -> list[int]:
            engine.current_transaction.set(None)
            return await numbers(engine)

        async with asyncio.timeout(5):
            assert await asyncio.gather(*(asyncio.create_task(read_outside()) for _ in range(10))) == [[1]] * 10


async def test_a_database_in_memory_keeps_its_tables_and_is_its_own() -> None:
    one, other = SqliteEngine(None), SqliteEngine(None)
    await one.start()
    await other.start()
    await with_numbers(one, 1)
    await with_numbers(other, 2)
    await asyncio.gather(*(increment(one) for _ in range(20)))
    assert await numbers(one) == [1]
    assert await value(one) == 20
    assert await numbers(other) == [2]
    await one.stop()
    assert await numbers(other) == [2]
    await other.stop()
    await one.start()
    assert await one.fetch("SELECT name FROM sqlite_master") == []
    await one.stop()


@pytest.mark.parametrize("is_file", [True, False])
async def test_a_statement_that_takes_too_long_is_stopped_and_the_engine_works_on(path: Path, is_file: bool) -> None:
    engine = SqliteEngine(path if is_file else None, readers=1, statement_timeout_seconds=0.1)
    await engine.start()
    await with_numbers(engine)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="statement timeout"):
        await engine.fetch("SELECT count(*) FROM (" + ENDLESS + ")")
    assert time.monotonic() - begun < 5
    await add(engine, 1)
    assert await numbers(engine) == [1]

    async def change() -> None:
        async with engine.transaction():
            await add(engine, 2)
            await engine.execute(f"INSERT INTO numbers (id) {ENDLESS}")

    with pytest.raises(Unavailable, match="statement timeout"):
        await change()
    await add(engine, 3)
    assert await numbers(engine) == [1, 3]
    await engine.stop()


async def test_a_transaction_that_sqlite_itself_has_undone_takes_no_more_statements(path: Path) -> None:
    engine = SqliteEngine(path, readers=1, statement_timeout_seconds=0.1)
    await engine.start()
    await with_numbers(engine)

    async def write(*, is_nested: bool) -> None:
        async with engine.transaction() if is_nested else contextlib.nullcontext():
            await engine.execute(f"INSERT INTO numbers (id) {ENDLESS}")

    async def change(*, is_nested: bool) -> None:
        async with engine.transaction():
            await add(engine, 1)
            with pytest.raises(Unavailable, match="statement timeout"):
                await write(is_nested=is_nested)
            with pytest.raises(Unavailable, match="has undone this transaction"):
                await add(engine, 2)

    for is_nested in (False, True):
        # Nor is it taken for committed.
        with pytest.raises(Unavailable, match="has undone this transaction"):
            await change(is_nested=is_nested)
    assert await numbers(engine) == []
    await engine.stop()


async def test_the_limit_of_a_statement_outlives_its_caller(path: Path) -> None:
    engine = SqliteEngine(path, readers=1, statement_timeout_seconds=0.3)
    await engine.start()
    await with_numbers(engine)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await engine.execute(f"INSERT INTO numbers (id) {ENDLESS}")
    async with asyncio.timeout(5), engine.transaction():
        await add(engine, 1)
    assert await numbers(engine) == [1]
    await engine.stop()


async def test_a_read_nobody_waits_for_any_more_is_stopped(path: Path) -> None:
    engine = SqliteEngine(path, readers=1, statement_timeout_seconds=0)
    await engine.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await engine.fetch("SELECT count(*) FROM (" + ENDLESS + ")")
    async with asyncio.timeout(5):
        assert await engine.fetch("SELECT 1") == [(1,)]
    await engine.stop()


async def test_a_change_cancelled_while_it_waits_for_another_process_leaves_the_engine_usable(
    engine: SqliteEngine, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(increment(engine))
    # A read on the writer's thread would wait; one on a reader's tells that the loop has come around.
    for _ in range(3):
        await engine.fetch("SELECT 1")
    task.cancel()
    await engine.fetch("SELECT 1")
    other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await increment(engine)
    assert await value(engine) == 1
    other.close()


async def test_a_lock_that_is_never_given_back_is_reported(engine: SqliteEngine, path: Path) -> None:
    impatient = SqliteEngine(path, busy_seconds=0.1)
    await impatient.start()
    async with engine.transaction():
        await add(engine, 2)
        engine.current_transaction.set(None)
        with pytest.raises(Unavailable, match="locked"):
            await increment(impatient)
    await increment(impatient)
    assert await value(impatient) == 1
    await impatient.stop()


async def test_connections_are_set_up_for_a_service(engine: SqliteEngine) -> None:
    async def pragma(name: str) -> list[Any]:
        [(on_reader,)] = await engine.fetch(f"SELECT * FROM pragma_{name}")
        async with engine.transaction():
            [(on_writer,)] = await engine.fetch(f"SELECT * FROM pragma_{name}")
        return [on_reader, on_writer]

    assert await pragma("foreign_keys") == [1, 1]
    assert await pragma("journal_mode") == ["wal", "wal"]
    assert await pragma("busy_timeout") == [30000, 30000]
    assert await pragma("synchronous") == [1, 1]
    assert await pragma("query_only") == [1, 0]


async def test_nothing_is_left_beside_the_file_after_a_clean_stop(path: Path) -> None:
    engine = SqliteEngine(path)
    await engine.start()
    await with_numbers(engine, 1)
    await engine.stop()
    assert [file.name for file in path.parent.iterdir()] == ["numbers.db"]
    await engine.start()
    assert await numbers(engine) == [1]
    await engine.stop()


async def test_an_engine_that_is_not_open_is_unavailable(path: Path) -> None:
    engine = SqliteEngine(path)
    for _ in range(2):
        with pytest.raises(Unavailable, match="not open"):
            await asyncio.wait_for(engine.execute("SELECT 1"), 5)
        with pytest.raises(Unavailable, match="not open"):
            await asyncio.wait_for(engine.ping(), 5)
        with pytest.raises(Unavailable, match="not open"):
            await asyncio.wait_for(increment(engine), 5)
        await engine.start()
        await engine.ping()
        await engine.stop()


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        await SqliteEngine(tmp_path / "file").start()
    with pytest.raises(Misconfigured, match="MILLRACE_HOME"):
        await SqliteEngine(tmp_path / "file" / "below" / "x.db").start()
    with pytest.raises(Unavailable, match="unable to open"):
        await SqliteEngine(tmp_path).start()


async def test_a_start_that_fails_leaves_no_thread_behind(tmp_path: Path) -> None:
    import threading

    (tmp_path / "file").write_text("not a database" * 100)
    engine = SqliteEngine(tmp_path / "file")
    with pytest.raises(Unavailable):
        await engine.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("millrace-sqlite")]


async def test_a_start_that_is_cancelled_leaves_no_thread_behind(path: Path) -> None:
    import threading

    engine = SqliteEngine(path)
    starting = asyncio.create_task(engine.start())
    while not engine._open:  # noqa: ASYNC110 - until the first connection is half open
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("millrace-sqlite")]


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(Misconfigured, match=r"3\.35\.0 or newer is needed"):
        await SqliteEngine(path).start()
    assert await SqliteEngine(path).get_version() == 3.34
    assert sqlite.OLDEST == (3, 35, 0)


async def test_rows_of_several_statements_are_written_together_or_not_at_all(engine: SqliteEngine) -> None:
    await engine.execute_many("INSERT INTO numbers (id) VALUES (?1)", iter([(2,), (3,)]))
    with pytest.raises(Exception, match="already taken"):
        await engine.execute_many("INSERT INTO numbers (id) VALUES (?1)", [(4,), (3,)])
    assert await numbers(engine) == [1, 2, 3]


async def test_tables_get_timestamps_of_one_width(engine: SqliteEngine) -> None:
    from piccolo.columns import Integer, Timestamptz
    from piccolo.table import Table

    class Moments(Table, db=engine):
        id = Integer(primary_key=True)
        at = Timestamptz()

    await Moments.create_table()
    moment = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    await Moments.insert(Moments(id=1, at=moment), Moments(id=2, at=moment + timedelta(microseconds=1)))
    assert await engine.fetch("SELECT CAST(at AS TEXT) FROM moments ORDER BY id") == [
        ("2026-01-01T00:00:00.000000Z",),
        ("2026-01-01T00:00:00.000001Z",),
    ]
    assert await Moments.select().where(Moments.at > moment) == [{"id": 2, "at": datetime(2026, 1, 1, 0, 0, 0, 1, UTC)}]
    await engine.prep_database()


async def test_more_readers_than_connections_take_turns(path: Path) -> None:
    engine = SqliteEngine(path, readers=2)
    await engine.start()
    await with_numbers(engine, 1)
    assert await asyncio.gather(*(numbers(engine) for _ in range(100))) == [[1]] * 100
    await engine.stop()


async def test_work_that_a_stop_overtakes_is_unavailable(path: Path) -> None:
    engine = SqliteEngine(path, readers=1)
    await engine.start()
    started, leave = asyncio.Event(), asyncio.Event()

    async def read_slowly() -> None:
        async with engine.transaction(read_only=True):
            await engine.fetch("SELECT 1")
            started.set()
            await leave.wait()

    slow = asyncio.create_task(read_slowly())
    await started.wait()
    waiting = asyncio.create_task(engine.fetch("SELECT 1"))
    await asyncio.sleep(0)
    await engine.stop()
    leave.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(slow, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
