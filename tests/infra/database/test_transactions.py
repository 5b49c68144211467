"""Transactions, on either database: all or nothing, savepoints, callbacks, and tasks that share one."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.errors import Conflict, ServiceError
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from tests.infra.database.engines import add, numbers, opened, with_numbers


class Undo(Exception):
    """What a block raises to have its change undone."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[DatabaseEngine]:
    async with opened(database_url) as engine:
        await with_numbers(engine)
        yield engine


@asynccontextmanager
async def undone(engine: DatabaseEngine) -> AsyncIterator[None]:
    """A transaction that fails at the end of the block."""
    with contextlib.suppress(Undo):
        async with engine.transaction():
            yield
            raise Undo


async def test_a_transaction_keeps_all_or_nothing(engine: DatabaseEngine) -> None:
    async with engine.transaction():
        await add(engine, 1)
        await add(engine, 2)
        assert await numbers(engine) == [1, 2]
    async with undone(engine):
        await add(engine, 3)
        await add(engine, 4)
    assert await numbers(engine) == [1, 2]


async def test_others_see_a_change_only_when_it_is_committed(engine: DatabaseEngine, database_url: str) -> None:
    async with opened(database_url) as other:
        async with engine.transaction():
            await add(engine, 1)
            assert await numbers(other) == []
        assert await numbers(other) == [1]


async def test_a_caught_failure_is_never_a_silent_loss(engine: DatabaseEngine) -> None:
    """PostgreSQL keeps nothing of a transaction after a failed statement and answers COMMIT all the same."""
    is_postgres = isinstance(engine, PostgresEngine)
    told = pytest.raises(Conflict, match="nested transaction") if is_postgres else contextlib.nullcontext()
    with told:
        async with engine.transaction():
            await add(engine, 1)
            with contextlib.suppress(Exception):
                await engine.fetch("SELECT * FROM nowhere")
    assert await numbers(engine) == ([] if is_postgres else [1])


async def test_an_inner_failure_keeps_the_outer_change(engine: DatabaseEngine) -> None:
    async with engine.transaction():
        await add(engine, 1)
        async with undone(engine):
            await add(engine, 2)
        async with engine.transaction():
            await add(engine, 3)
            async with undone(engine):
                await add(engine, 4)
            await add(engine, 5)
        await add(engine, 6)
    assert await numbers(engine) == [1, 3, 5, 6]


async def test_an_outer_failure_undoes_the_inner_change(engine: DatabaseEngine) -> None:
    async with undone(engine), engine.transaction():
        await add(engine, 1)
    assert await numbers(engine) == []


async def test_a_failed_statement_in_a_savepoint_leaves_the_transaction_usable(engine: DatabaseEngine) -> None:
    async with engine.transaction():
        await add(engine, 1)
        with pytest.raises(Conflict):
            async with engine.transaction():
                await add(engine, 1)
        await add(engine, 2)
    assert await numbers(engine) == [1, 2]


async def test_callbacks_run_in_order_after_the_commit_and_only_then(engine: DatabaseEngine) -> None:
    seen: list[Any] = []

    def noting(name: str) -> Any:
        async def callback() -> None:
            assert engine.current_transaction.get() is None
            seen.append((name, await numbers(engine)))

        return callback

    async with engine.transaction():
        await engine.on_commit(noting("first"))
        await add(engine, 1)
        async with engine.transaction():
            await engine.on_commit(noting("inner"))
            await add(engine, 2)
        async with undone(engine):
            async with engine.transaction():
                await engine.on_commit(noting("rolled back"))
            await engine.on_commit(noting("rolled back"))
        await engine.on_commit(noting("last"))
        assert seen == []
    assert seen == [("first", [1, 2]), ("inner", [1, 2]), ("last", [1, 2])]

    async with undone(engine):
        await engine.on_commit(noting("rolled back"))
    await engine.on_commit(noting("at once"))
    assert [name for name, _ in seen] == ["first", "inner", "last", "at once"]


async def test_a_failing_callback_is_logged_and_the_others_run(
    engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def fail() -> None:
        raise Undo

    async def note() -> None:
        seen.append("ran")

    with caplog.at_level(logging.ERROR, "millrace.database"):
        async with engine.transaction():
            await engine.on_commit(fail)
            await engine.on_commit(note)
            await add(engine, 1)
        await engine.on_commit(fail)
    assert seen == ["ran"]
    assert await numbers(engine) == [1]
    assert [record.message for record in caplog.records] == [
        "a callback failed after its transaction was committed"
    ] * 2


# Tasks


async def test_tasks_gathered_inside_of_a_transaction_belong_to_it(engine: DatabaseEngine) -> None:
    async with undone(engine):
        await asyncio.gather(*(add(engine, id) for id in range(20)))
        assert await numbers(engine) == list(range(20))
    assert await numbers(engine) == []


async def test_gathered_tasks_may_each_have_a_savepoint(engine: DatabaseEngine) -> None:
    committed: list[int] = []

    async def change(id: int) -> None:
        async with engine.transaction():
            await add(engine, id)
            await asyncio.gather(*(nested(id, number) for number in range(1, 4)))

            async def note() -> None:
                committed.append(id)

            await engine.on_commit(note)
            if id % 3 == 0:
                raise Undo

    async def nested(id: int, number: int) -> None:
        async with engine.transaction():
            await add(engine, 100 * number + id)

    async with engine.transaction():
        results = await asyncio.gather(*(change(id) for id in range(10)), return_exceptions=True)
    assert [id for id, result in enumerate(results) if isinstance(result, Undo)] == [0, 3, 6, 9]
    kept = [1, 2, 4, 5, 7, 8]
    assert await numbers(engine) == [100 * number + id for number in range(4) for id in kept]
    assert sorted(committed) == kept


async def test_a_task_that_outlives_its_transaction_writes_on_its_own(engine: DatabaseEngine) -> None:
    leave = asyncio.Event()

    async def later() -> None:
        await leave.wait()
        await add(engine, 2)
        async with engine.transaction():
            await add(engine, 3)

    async with undone(engine):
        await add(engine, 1)
        task = asyncio.create_task(later())
    leave.set()
    await task
    assert await numbers(engine) == [2, 3]


async def test_a_task_that_outlives_a_savepoint_still_belongs_to_the_transaction(engine: DatabaseEngine) -> None:
    leave = asyncio.Event()

    async def later() -> None:
        await leave.wait()
        await add(engine, 2)

    async with undone(engine):
        async with engine.transaction():
            task = asyncio.create_task(later())
        leave.set()
        await task
        assert await numbers(engine) == [2]
    assert await numbers(engine) == []


class Slow:
    """Changes in savepoints, which stay open until they may `leave`."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self.engine = engine
        self.started, self.leave = asyncio.Event(), asyncio.Event()

    async def change(self, id: int) -> None:
        async with self.engine.transaction():
            await add(self.engine, id)
            self.started.set()
            await self.leave.wait()
            await add(self.engine, id + 100)


async def test_a_savepoint_does_not_outlive_its_transaction(engine: DatabaseEngine) -> None:
    async def other() -> None:
        async with engine.transaction():
            await add(engine, 7)
            slow.leave.set()
            await asyncio.wait(tasks, timeout=2)

    slow = Slow(engine)
    async with undone(engine):
        # One is inside of its savepoint when the transaction ends, the others wait for it.
        tasks = [asyncio.create_task(slow.change(id)) for id in range(1, 4)]
        await slow.started.wait()
    await other()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Conflict] * 3
    assert await numbers(engine) == [7]


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_transaction_that_ends_while_a_part_of_it_is_under_way_is_undone(
    engine: DatabaseEngine, depth: int
) -> None:
    async def transact(depth: int) -> None:
        async with engine.transaction():
            await add(engine, 10 * depth)
            if depth > 1:
                with pytest.raises(Conflict, match="under way"):
                    await transact(depth - 1)
                return
            tasks.append(asyncio.create_task(slow.change(1)))
            await slow.started.wait()

    slow = Slow(engine)
    tasks: list[asyncio.Task[None]] = []
    if depth == 1:
        with pytest.raises(Conflict, match="under way"):
            await transact(1)
    else:
        await transact(2)
    slow.leave.set()
    [result] = await asyncio.gather(*tasks, return_exceptions=True)
    assert type(result) is Conflict
    assert await numbers(engine) == ([20] if depth > 1 else [])


async def test_a_transaction_waits_for_a_part_of_it_that_is_nearly_done(engine: DatabaseEngine) -> None:
    slow = Slow(engine)
    async with engine.transaction():
        await add(engine, 7)
        tasks = [asyncio.create_task(slow.change(id)) for id in (1, 2)]
        await slow.started.wait()
        asyncio.get_running_loop().call_later(0.1, slow.leave.set)
    await asyncio.gather(*tasks)
    assert await numbers(engine) == [1, 2, 7, 101, 102]


async def test_a_generator_that_is_closed_elsewhere_undoes_its_transaction(engine: DatabaseEngine) -> None:
    async def made() -> AsyncGenerator[None, None]:
        async with engine.transaction():
            await add(engine, 1)
            yield

    async def close() -> None:
        await generator.aclose()

    generator = made()
    await anext(generator)
    # As the event loop does with those that nobody has finished.
    await asyncio.create_task(close())
    assert await numbers(engine) == []
    await add(engine, 2)
    assert await numbers(engine) == [2]


async def test_a_failed_task_takes_the_savepoints_of_its_siblings_along(engine: DatabaseEngine) -> None:
    async def change(id: int) -> None:
        async with engine.transaction():
            await add(engine, id)
            if id == 1:
                raise Undo
            await add(engine, id + 100)

    tasks: list[asyncio.Task[None]] = []
    with contextlib.suppress(Undo):
        async with engine.transaction():
            await add(engine, 0)
            tasks = [asyncio.create_task(change(id)) for id in range(1, 4)]
            await asyncio.gather(*tasks)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await numbers(engine) == []


async def test_statements_nobody_waited_for_never_join_the_transaction_of_another(engine: DatabaseEngine) -> None:
    """They run either in the transaction they were started in or on their own."""
    has_begun = asyncio.Event()

    async def add_two(id: int) -> None:
        await add(engine, id)
        has_begun.set()
        await add(engine, id + 1000)

    async with engine.transaction():
        stragglers = [asyncio.create_task(add_two(id)) for id in range(1, 21)]
        # Now the first of them has had the connection and the others wait for it.
        await has_begun.wait()
    async with undone(engine):
        await add(engine, 100)
        await add(engine, 101)
        await add(engine, 102)
    await asyncio.gather(*stragglers)
    assert await numbers(engine) == [*range(1, 21), *range(1001, 1021)]


async def test_a_cancelled_transaction_is_undone_and_the_next_one_works(engine: DatabaseEngine) -> None:
    async def change(started: asyncio.Event) -> None:
        async with engine.transaction():
            await add(engine, 1)
            started.set()
            await asyncio.Event().wait()

    for _ in range(5):
        started = asyncio.Event()
        task = asyncio.create_task(change(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await numbers(engine) == []
    async with engine.transaction():
        await add(engine, 1)
    assert await numbers(engine) == [1]


@pytest.mark.parametrize("patience", range(12))
async def test_a_change_cancelled_at_any_point_leaves_the_engine_usable(engine: DatabaseEngine, patience: int) -> None:
    async def change(id: int) -> None:
        async with engine.transaction():
            await add(engine, id)
            async with engine.transaction():
                await add(engine, id + 100)

    tasks = [asyncio.create_task(change(id)) for id in range(8)]
    for _ in range(patience * patience):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    present = await numbers(engine)
    assert [id + 100 for id in present if id < 100] == [id for id in present if id >= 100]
    async with asyncio.timeout(5), engine.transaction():
        await add(engine, 1000)
    assert (await numbers(engine))[-1] == 1000
    if isinstance(engine, PostgresEngine):
        assert engine._pool is not None
        assert engine._pool.get_size() == engine._pool.get_idle_size()


# Commits


async def test_a_commit_that_fails_is_a_conflict_and_undoes_everything(engine: DatabaseEngine) -> None:
    await engine.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY, "
        "number integer REFERENCES numbers (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    committed: list[int] = []

    async def note() -> None:
        committed.append(1)

    async def change(id: int) -> None:
        async with engine.transaction():
            await engine.on_commit(note)
            await engine.execute(f"INSERT INTO notes VALUES ({id}, 7)")

    for id in range(10):
        with pytest.raises(Conflict) as caught:
            await change(id)
        assert caught.value.extensions["constraint"] == "foreign_key"
    assert committed == []
    assert await engine.fetch("SELECT * FROM notes") == []
    await add(engine, 7)
    async with engine.transaction():
        await engine.execute("INSERT INTO notes VALUES (1, 7)")
    if isinstance(engine, PostgresEngine):
        assert engine._pool is not None
        assert engine._pool.get_idle_size() == engine._pool.get_size() <= 2


async def test_a_read_only_transaction_reads_one_state_and_writes_nothing(
    engine: DatabaseEngine, database_url: str
) -> None:
    async with opened(database_url) as other, engine.transaction(isolation="repeatable_read", read_only=True):
        assert await numbers(engine) == []
        await add(other, 1)
        assert await numbers(engine) == []
        with pytest.raises(Exception, match="read"):
            await add(engine, 2)
    assert await numbers(engine) == [1]


async def test_atomic_runs_queries_of_tables_in_one_transaction(engine: DatabaseEngine) -> None:
    from piccolo.columns import Integer
    from piccolo.table import Table

    from infra.database.current import CURRENT_ENGINE

    class Numbers(Table, tablename="numbers", db=CURRENT_ENGINE):
        id = Integer(primary_key=True)
        value = Integer()

    atomic = engine.atomic()
    atomic.add(Numbers.insert(Numbers(id=1, value=1)), Numbers.insert(Numbers(id=2, value=1)))
    await atomic
    assert await Numbers.select(Numbers.id).order_by(Numbers.id) == [{"id": 1}, {"id": 2}]

    atomic = engine.atomic()
    atomic.add(Numbers.insert(Numbers(id=3, value=1)), Numbers.insert(Numbers(id=1, value=1)))
    with pytest.raises(Conflict):
        await atomic.run()
    assert await Numbers.count() == 2
    with pytest.raises(NotImplementedError):
        atomic.run_sync()


async def test_what_piccolo_offers_beyond_our_transactions_is_refused_with_words(engine: DatabaseEngine) -> None:
    with pytest.raises(NotImplementedError, match="page through a repository"):
        await engine.batch(None)  # type: ignore[arg-type]
    async with engine.transaction() as transaction:
        with pytest.raises(NotImplementedError, match="nest another"):
            await transaction.savepoint()


async def test_an_error_that_is_no_fault_of_the_database_passes_unchanged(engine: DatabaseEngine) -> None:
    for error in (OSError("disk"), OverflowError("big"), TimeoutError()):
        with pytest.raises(type(error)) as caught:
            async with engine.transaction():
                raise error
        assert not isinstance(caught.value, ServiceError)
