"""The keeper of leases: whatever the worker's loop does, what it holds stays its own, and what it lost it hears of."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain.entity import new_id
from domain.jobs import Job, JobState
from domain.workers import WorkerInfo
from infra.database.engine import DatabaseEngine, DatabaseOptions, create_engine
from infra.database.jobs.leases import LeaseKeeper
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import WORKER, claim, expire, finish, get, new, open_jobs
from tests.servers import postgres

Told = tuple[str, str, JobState | None]
INFO = WorkerInfo(id=WORKER, host="here", pid=1, queues=("default",), kinds=("work",), concurrency=9)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that another thread does."""

    async def met() -> bool:
        return bool(condition())

    await until_it_is(met)


async def until_it_is(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that is to be found in the database."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - a database has no event
            await asyncio.sleep(0.01)


class Line:
    """A line to a server, over which at some time nothing goes any more, without anybody being told."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._is_dead = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Line":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def die(self) -> None:
        """Let nothing through any more on what is connected; new connections work."""
        self._is_dead = True
        self._dead = set(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        try:
            while data := await source.read(65536):
                if self._is_dead and me in self._dead:
                    continue
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


def engine_of(url: str, **options: Any) -> DatabaseEngine:
    return create_engine(DatabaseOptions(url=url, pool_size=1, **options), home=Path("unused"), name="leases")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "millrace-leases"]


@asynccontextmanager
async def keeping(
    jobs: JobDatabase, url: str | None, *, lease_seconds: float = 1.5, **options: Any
) -> AsyncIterator[tuple[LeaseKeeper, list[Told]]]:
    """A keeper that works, and what it has told so far; without `url` it shares the engine."""
    told: list[Told] = []
    keeper = LeaseKeeper(
        jobs.engine,
        None if url is None else lambda: engine_of(url, **options),
        lease_seconds=lease_seconds,
        info=lambda: INFO,
        told=lambda id, token, state: told.append((id, token, state)),
    )
    keeper.start()
    try:
        yield keeper, told
    finally:
        await keeper.stop()
        assert threads() == []


async def held(jobs: JobDatabase, keeper: LeaseKeeper, number: int = 1) -> list[Job]:
    """New jobs whose leases are kept."""
    await jobs.insert([new() for _ in range(number)])
    claimed = await claim(jobs, lease_seconds=keeper.lease_seconds)
    for job in claimed:
        keeper.hold(job.id, job.lease_token or "")
    return claimed


async def test_leases_are_kept_while_the_loop_is_blocked(jobs: JobDatabase, jobs_url: str) -> None:
    async with keeping(jobs, jobs_url) as (keeper, told):
        claimed = await held(jobs, keeper, 3)
        for _ in range(2):
            # Not to wait for something: this is what a task must not do, and some do.
            time.sleep(1.3)  # noqa: ASYNC251
        assert (await jobs.reap(3)).jobs == []
        assert told == []
        assert len((await finish(jobs, *claimed)).jobs) == 3
        assert [info.id for info in await jobs.workers(within_seconds=60.0)] == [WORKER]


async def test_a_worker_hears_of_what_was_canceled_and_of_what_is_not_its_own_any_more(
    jobs: JobDatabase, jobs_url: str
) -> None:
    async with keeping(jobs, jobs_url, lease_seconds=60.0) as (keeper, told):
        canceled, deleted, stolen, kept = await held(jobs, keeper, 4)
        tokens = {job.id: job.lease_token for job in (canceled, deleted, stolen)}
        await jobs.cancel([canceled.id])
        await jobs.delete([deleted.id])
        # In one go, before the keeper can save it.
        async with jobs.transaction():
            await expire(jobs, stolen.id)
            await jobs.reap(3)
            [again] = await claim(jobs, worker_id=new_id())
        keeper.look()
        await until(lambda: {id for id, _, _ in told} >= tokens.keys())
        assert {(id, token, state) for id, token, state in told} == {
            (canceled.id, tokens[canceled.id], JobState.CANCELING),
            (deleted.id, tokens[deleted.id], None),
            (stolen.id, tokens[stolen.id], None),
        }
        assert (again.id, again.lease_token) == (stolen.id, (await get(jobs, stolen.id)).lease_token)
        for job in (canceled, deleted, stolen):
            keeper.drop(job.id)
        assert keeper.leases() == [(kept.id, kept.lease_token)]
        # The same job, claimed again by this worker: what was true of the old lease is not of the new one.
        told.clear()
        keeper.hold(stolen.id, again.lease_token or "")
        await jobs.cancel([kept.id])
        keeper.look()
        await until(lambda: told)
        assert told[0] == (kept.id, kept.lease_token, JobState.CANCELING)


async def test_what_was_dropped_runs_out(jobs: JobDatabase, jobs_url: str) -> None:
    async with keeping(jobs, jobs_url) as (keeper, told):
        dropped, kept = await held(jobs, keeper, 2)
        keeper.drop(dropped.id)
        keeper.drop(new_id())
        lost: list[Job] = []

        async def is_lost() -> bool:
            lost.extend((await jobs.reap(3)).jobs)
            return bool(lost)

        await until_it_is(is_lost)
        assert [job.id for job in lost] == [dropped.id]
        assert (await get(jobs, kept.id)).state is JobState.RUNNING
        assert told == []


async def test_without_jobs_a_worker_is_still_heard_of(jobs: JobDatabase, jobs_url: str) -> None:
    moments: set[str] = set()

    async def is_seen_again() -> bool:
        moments.update(str(moment) for (moment,) in await jobs.engine.fetch("SELECT seen_at FROM millrace_workers"))
        return len(moments) == 3

    async with keeping(jobs, jobs_url, lease_seconds=1.0):
        await until_it_is(is_seen_again)


async def test_a_database_in_memory_is_shared_with_the_loop() -> None:
    async with open_jobs("sqlite:///:memory:") as jobs, keeping(jobs, None, lease_seconds=1.0) as (keeper, told):
        canceled, kept = await held(jobs, keeper, 2)
        assert threads() == []
        await jobs.cancel([canceled.id])
        keeper.look()
        await until(lambda: told)
        assert told[0] == (canceled.id, canceled.lease_token, JobState.CANCELING)
        await expire(jobs, kept.id)

        async def is_renewed() -> bool:
            sql = f"SELECT 1 FROM millrace_jobs WHERE id = ?1 AND lease_until > {jobs.dialect.now}"
            return bool(await jobs.engine.fetch(sql, kept.id))

        await until_it_is(is_renewed)
    # Its loop is gone; nothing happens.
    keeper.look()


async def test_whatever_goes_wrong_the_keeper_goes_on(
    jobs: JobDatabase, jobs_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(jobs, jobs_url) as (keeper, told):
        [job] = await held(jobs, keeper)
        await until(lambda: keeper.leases())
        await jobs.engine.execute("ALTER TABLE millrace_workers RENAME TO elsewhere")
        try:
            await until(lambda: "cannot be renewed" in caplog.text)
        finally:
            await jobs.engine.execute("ALTER TABLE elsewhere RENAME TO millrace_workers")
        await until(lambda: "leases are renewed again" in caplog.text)
        assert (await jobs.reap(3)).jobs == []
        assert told == []
        assert [ended.id for ended in (await finish(jobs, job)).jobs] == [job.id]
    [failing, *_] = caplog.records
    assert failing.exc_info is not None


async def test_leases_are_kept_across_a_restart_of_the_database(caplog: pytest.LogCaptureFixture) -> None:
    with postgres() as server:
        url = server.create_database("leases")
        async with open_jobs(url) as jobs, keeping(jobs, url, lease_seconds=3.0) as (keeper, told):
            [job] = await held(jobs, keeper)
            server.stop()
            await until(lambda: "cannot be renewed at the moment" in caplog.text)
            server.start()
            await until(lambda: "leases are renewed again" in caplog.text)
            assert told == []
            assert [ended.id for ended in (await finish(jobs, job)).jobs] == [job.id]
    assert [record.exc_info for record in caplog.records if record.name == "millrace.jobs"] == [None, None]


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_keeper_stops_also_when_its_database_is_away(is_known: bool) -> None:
    with postgres() as server:
        url = server.create_database("leases")
        async with open_jobs(url) as jobs:
            if not is_known:
                server.stop()
            began = time.monotonic()
            async with keeping(jobs, url, connect_timeout_seconds=60.0) as (keeper, _):
                if is_known:
                    await held(jobs, keeper)
                    server.stop()
            assert time.monotonic() - began < 20
            await keeper.stop()


async def test_leases_are_kept_although_a_connection_has_died_without_a_word(jobs: JobDatabase, jobs_url: str) -> None:
    if not jobs_url.startswith("postgresql"):
        pytest.skip("there is no network between a service and SQLite")
    parts = urlsplit(jobs_url)
    assert parts.hostname is not None
    assert parts.port is not None
    renewed: set[str] = set()

    async def is_renewed() -> bool:
        rows = await jobs.engine.fetch("SELECT lease_until FROM millrace_jobs WHERE id = $1", job.id)
        renewed.update(str(moment) for (moment,) in rows)
        return len(renewed) == 3

    async with Line(parts.hostname, parts.port) as line:
        url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{line.port}")).geturl()
        async with keeping(jobs, url, lease_seconds=3.0) as (keeper, told):
            [job] = await held(jobs, keeper)
            await until_it_is(is_renewed)
            line.die()
            renewed.clear()
            await until_it_is(is_renewed)
            assert told == []
            assert (await jobs.reap(3)).jobs == []
