"""The PostgreSQL engine: no connection leaks, no session leaks, and clear words when the server does not answer."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextvars import Context
from typing import Any

import asyncpg
import pytest

from domain.errors import Conflict, Misconfigured, Unavailable
from infra.database import postgres_opening as engine_module
from infra.database.postgres import PostgresEngine
from infra.database.url import PostgresUrl
from tests.infra.database.engines import add, numbers, opened, with_numbers
from tests.servers import PostgresServer, postgres


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server these tests may stop, start and lock people out of."""
    with postgres() as server:
        yield server


def idle_and_all(engine: Any) -> tuple[int, int]:
    assert isinstance(engine, PostgresEngine)
    assert engine._pool is not None
    return engine._pool.get_idle_size(), engine._pool.get_size()


async def setting(engine: Any, name: str) -> str:
    [(value,)] = await engine.fetch("SELECT current_setting($1)", name)
    return str(value)


# Sessions


async def test_a_session_is_reset_when_it_ends(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine:
        assert isinstance(engine, PostgresEngine)
        async with engine.session() as connection:
            await connection.execute("SET work_mem = '1234kB'")
            await connection.execute("SELECT pg_advisory_lock(7)")
        assert await setting(engine, "work_mem") != "1234kB"
        assert await engine.fetch("SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []


async def test_ordinary_use_sends_nothing_to_reset_the_session(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine:
        # Set behind the engine's back, it survives: nobody resets what nobody is known to have changed.
        await engine.fetch("SELECT set_config('work_mem', '1234kB', false)")
        async with engine.transaction():
            await engine.execute("SELECT 1")
        assert await setting(engine, "work_mem") == "1234kB"


async def test_a_set_by_way_of_piccolo_is_reset(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine:
        await engine.run_ddl("SET work_mem = '1234kB'")
        assert await setting(engine, "work_mem") != "1234kB"


async def test_a_session_has_what_a_service_needs(postgres_url: str) -> None:
    async with opened(postgres_url, statement_timeout_seconds=7) as engine:
        assert await setting(engine, "timezone") == "UTC"
        assert await setting(engine, "statement_timeout") == "7s"
        assert await setting(engine, "idle_in_transaction_session_timeout") == "30s"
        assert await setting(engine, "application_name") == "millrace test"
        assert await engine.get_version() >= engine_module.OLDEST
        assert engine.get_version_sync() == engine_module.OLDEST
        await engine.prep_database()
        await engine.ping()
    async with opened(postgres_url, statement_timeout_seconds=0) as engine:
        assert await setting(engine, "statement_timeout") == "0"


# Limits


async def test_a_statement_that_takes_too_long_is_stopped_and_the_connection_works_on(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0, statement_timeout_seconds=0.1) as engine:
        await with_numbers(engine)
        with pytest.raises(Unavailable, match="statement timeout") as caught:
            await engine.fetch("SELECT pg_sleep(60)")
        assert caught.value.extensions == {"retry_after": 1}

        async def change() -> None:
            async with engine.transaction():
                await add(engine, 1)
                await engine.execute("SELECT pg_sleep(60)")

        with pytest.raises(Unavailable, match="statement timeout"):
            await change()
        await add(engine, 2)
        assert await numbers(engine) == [2]


async def test_a_transaction_in_which_nothing_happens_loses_its_locks(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        await with_numbers(engine, 1)

        async def stand_still() -> None:
            async with engine.transaction():
                await engine.execute("SET LOCAL idle_in_transaction_session_timeout = 100")
                await engine.execute("UPDATE numbers SET value = 1")
                # Waits for the lock until the server has ended the session that has it.
                change = asyncio.create_task(engine.execute("UPDATE numbers SET value = 2"), context=Context())
                await change
                await add(engine, 2)

        with pytest.raises(Unavailable):
            await stand_still()
        assert await engine.fetch("SELECT id, value FROM numbers") == [(1, 2)]


async def test_who_finds_every_connection_busy_is_told_how_many_there_are(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=2, acquire_timeout_seconds=0.1) as engine:
        assert isinstance(engine, PostgresEngine)
        async with engine.session(), engine.session(), engine.session():
            with pytest.raises(Unavailable, match=r"All 3 database connections were busy for 0\.1 s") as caught:
                await engine.fetch("SELECT 1")
            assert caught.value.extensions == {"retry_after": 1}
        assert await engine.fetch("SELECT 1") == [(1,)]


async def test_a_burst_of_work_leaves_every_connection_idle(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        await with_numbers(engine, 1)

        async def change(id: int) -> None:
            async with engine.transaction():
                await add(engine, id % 10)

        tasks = [asyncio.create_task(change(id)) for id in range(40)]
        tasks[7].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Conflict | asyncio.CancelledError | None) for result in results)
        idle, size = idle_and_all(engine)
        assert idle == size <= 4


async def test_a_read_cancelled_on_the_way_gives_its_connection_back(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await engine.fetch("SELECT pg_sleep(60)")
        assert await engine.fetch("SELECT 1") == [(1,)]
        assert idle_and_all(engine) == (1, 1)


# Servers that go away


async def test_a_read_is_asked_again_after_the_server_was_restarted(own_server: PostgresServer) -> None:
    async with opened(own_server.url, pool_size=2, max_overflow=0) as engine:
        await engine.fetch("SELECT 1")
        # Without a turn of the event loop, the engine cannot have noticed.
        own_server.stop()
        own_server.start()
        assert await engine.fetch("SELECT 1") == [(1,)]
        assert await asyncio.gather(*(engine.fetch("SELECT 2") for _ in range(4))) == [[(2,)]] * 4


async def test_a_write_is_not_asked_again_but_the_next_one_works(own_server: PostgresServer) -> None:
    async with opened(own_server.url, pool_size=1, max_overflow=0) as engine:
        await engine.execute("CREATE TEMPORARY TABLE gone (id integer)")
        own_server.stop()
        own_server.start()
        with pytest.raises(Unavailable, match="does not answer"):
            await engine.execute("SELECT 1")
        await engine.execute("SELECT 1")


async def test_a_statement_that_may_write_is_not_asked_again(own_server: PostgresServer) -> None:
    async with opened(own_server.url, pool_size=1, max_overflow=0) as engine:
        await engine.execute("CREATE TABLE IF NOT EXISTS written (id integer)")
        own_server.stop()
        own_server.start()
        writes = "WITH new AS (INSERT INTO written VALUES (1) RETURNING id) SELECT id FROM new"
        with pytest.raises(Unavailable, match="does not answer"):
            await engine.fetch(writes)
        assert await engine.fetch(writes) == [(1,)]


async def test_a_server_that_is_gone_is_unavailable_and_may_come_back(own_server: PostgresServer) -> None:
    async with opened(own_server.url, pool_size=1, max_overflow=0, acquire_timeout_seconds=1) as engine:
        own_server.stop()
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                await engine.ping()
        own_server.start()
        await engine.ping()


async def test_a_connection_killed_inside_of_a_transaction_is_unavailable(postgres_url: str) -> None:
    async with opened(postgres_url) as engine, opened(postgres_url) as other:
        await with_numbers(engine)

        async def change() -> None:
            async with engine.transaction():
                await add(engine, 1)
                [(pid,)] = await engine.fetch("SELECT pg_backend_pid()")
                await other.fetch("SELECT pg_terminate_backend($1)", pid)
                await add(engine, 2)

        with pytest.raises(Unavailable):
            await change()
        assert await numbers(other) == []
        await add(engine, 3)
        idle, size = idle_and_all(engine)
        assert idle == size


async def test_a_connection_killed_inside_of_a_session_goes_back_all_the_same(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine, opened(postgres_url) as other:
        assert isinstance(engine, PostgresEngine)
        async with engine.session() as connection:
            await other.fetch("SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()"))
            while connection._con is not None:  # type: ignore[attr-defined]  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
        assert await engine.fetch("SELECT 1") == [(1,)]
        assert idle_and_all(engine) == (1, 1)


async def test_no_request_pays_for_closing_a_connection_that_was_used_often(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, max_overflow=0) as engine:
        assert isinstance(engine, PostgresEngine)
        async with engine.session() as connection:
            assert connection._holder._max_queries > 10**12  # type: ignore[attr-defined]


async def test_a_connection_killed_just_before_the_commit_is_unavailable(postgres_url: str) -> None:
    async with opened(postgres_url) as engine, opened(postgres_url) as other:

        async def change() -> None:
            async with engine.transaction():
                [(pid,)] = await engine.fetch("SELECT pg_backend_pid()")
                await other.fetch("SELECT pg_terminate_backend($1)", pid)

        with pytest.raises(Unavailable):
            await change()
        await engine.ping()


async def test_a_start_waits_for_the_server(own_server: PostgresServer) -> None:
    own_server.stop()
    engine = PostgresEngine(PostgresUrl(own_server.url), pool_size=1, connect_timeout_seconds=20)
    starting = asyncio.create_task(engine.start())
    # One refused attempt; then the server comes up.
    await asyncio.sleep(0)
    own_server.start()
    await starting
    await engine.ping()
    await engine.stop()


async def test_a_stop_lets_work_in_progress_finish(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        await with_numbers(engine)
        working = asyncio.create_task(engine.fetch("SELECT 1 FROM pg_sleep(0.2)"))
        while idle_and_all(engine)[0] == idle_and_all(engine)[1]:  # noqa: ASYNC110 - the pool has no event for it
            await asyncio.sleep(0)
        begun = time.monotonic()
        await engine.stop()
        assert time.monotonic() - begun < 4
        assert await working == [(1,)]
        with pytest.raises(Unavailable, match="not open"):
            await engine.fetch("SELECT 1")


# Starting


def url_with(server: PostgresServer, *, user: str = "postgres", name: str = "postgres") -> str:
    return f"postgresql://{user}@127.0.0.1:{server.port}/{name}"


@pytest.mark.parametrize(
    "user, name, message",
    [
        ("postgres", "nowhere", 'database "nowhere" does not exist'),
        ("nobody_known", "postgres", 'role "nobody_known" does not exist'),
        ("locked:secret", "postgres", 'password authentication failed for user "locked"'),
        ("locked", "postgres", "password"),
    ],
)
async def test_a_start_that_can_never_work_fails_at_once_with_the_reason(
    own_server: PostgresServer, user: str, name: str, message: str
) -> None:
    rules = own_server.directory / "data" / "pg_hba.conf"
    if "locked" not in rules.read_text():
        rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        async with opened(own_server.url) as engine:
            await engine.execute("CREATE ROLE locked LOGIN PASSWORD 'correct'")
            await engine.fetch("SELECT pg_reload_conf()")
            own_server.stop()
            own_server.start()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=message) as caught:
        await PostgresEngine(PostgresUrl(url_with(own_server, user=user, name=name))).start()
    assert time.monotonic() - begun < 5
    assert str(caught.value).startswith(f"Cannot reach the database postgresql://{user.split(':')[0]}@127.0.0.1:")
    assert "secret" not in str(caught.value)


async def test_a_start_gives_up_after_its_time(unused_port: int) -> None:
    engine = PostgresEngine(PostgresUrl(f"postgresql://127.0.0.1:{unused_port}/x"), connect_timeout_seconds=0.1)
    with pytest.raises(Unavailable, match="Cannot reach the database"):
        await engine.start()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_server_that_accepts_and_says_nothing_is_unavailable() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = PostgresEngine(PostgresUrl(f"postgresql://127.0.0.1:{port}/x"), connect_timeout_seconds=0.1)
    with pytest.raises(Unavailable, match="did not answer in time"):
        await engine.start()
    server.close()


async def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "OLDEST", 99)
    engine = PostgresEngine(PostgresUrl(postgres_url))
    with pytest.raises(Misconfigured, match="is too old: 99 or newer is needed"):
        await engine.start()
    with pytest.raises(Unavailable, match="not open"):
        await engine.fetch("SELECT 1")


async def test_an_engine_that_is_not_open_is_unavailable(postgres_url: str) -> None:
    engine = PostgresEngine(PostgresUrl(postgres_url))
    with pytest.raises(Unavailable, match="not open"):
        await engine.ping()
    with pytest.raises(Unavailable, match="not open"):
        await engine.execute("SELECT 1")
    await engine.stop()


async def test_two_changes_that_wait_for_each_other_end_in_a_conflict(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        await with_numbers(engine, 1, 2)
        met = asyncio.Barrier(2)

        async def change(first: int, second: int) -> None:
            async with engine.transaction():
                await engine.execute("SET LOCAL deadlock_timeout = '10ms'")
                await engine.execute("UPDATE numbers SET value = 1 WHERE id = $1", first)
                await met.wait()
                await engine.execute("UPDATE numbers SET value = 1 WHERE id = $1", second)

        results = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
        [conflict] = [result for result in results if result is not None]
        assert isinstance(conflict, Conflict)
        assert "try again" in str(conflict)


async def test_a_serializable_change_that_comes_second_is_a_conflict(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        await with_numbers(engine, 1)
        met = asyncio.Barrier(2)

        async def change() -> None:
            async with engine.transaction(isolation="serializable"):
                await engine.fetch("SELECT value FROM numbers")
                await met.wait()
                await engine.execute("UPDATE numbers SET value = value + 1 WHERE id = 1")

        results = await asyncio.gather(change(), change(), return_exceptions=True)
        assert [type(result) for result in results if result] == [Conflict]


async def test_rows_go_in_by_copy_all_or_none(postgres_url: str) -> None:
    async with opened(postgres_url) as engine:
        assert isinstance(engine, PostgresEngine)
        await with_numbers(engine)
        await engine.copy("numbers", None, ["id", "value"], [(1, 1), (2, 2)])
        with pytest.raises(Conflict) as caught:
            await engine.copy("numbers", None, ["id", "value"], [(3, 1), (2, 2)])
        assert caught.value.extensions == {"constraint": "unique", "fields": ["id"]}
        assert await numbers(engine) == [1, 2]
        await engine.execute_many("INSERT INTO numbers (id) VALUES ($1)", [(3,), (4,)])
        assert await numbers(engine) == [1, 2, 3, 4]


async def test_an_error_in_our_own_sql_is_not_hidden(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(postgres_url) as engine:
        with caplog.at_level(logging.WARNING), pytest.raises(asyncpg.PostgresSyntaxError):
            await engine.fetch("SELEC 1")
