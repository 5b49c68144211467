"""The doorbell over Redis: what it leaves there, and what it survives."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from domain.redis_url import parse_redis_url
from infra.queue.arq import MOST_RINGS, ArqDoorbell
from infra.queue.connection import Client
from tests.infra.queue.wakes import Wakes, until
from tests.servers import RedisServer, redis

QUEUE = "millrace:test:mail"
BELL = f"{QUEUE}:bell"
BROKEN, WORKS = "the doorbell is broken", "the doorbell works again"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that is this test's own."""
    with redis() as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[Any]:
    """Somebody else's connection to it."""
    async with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(autouse=True)
def former_level() -> Iterator[None]:
    """What arq logs, as it was before."""
    logger = logging.getLogger("arq")
    level = logger.level
    yield
    logger.setLevel(level)


@asynccontextmanager
async def opened(url: str, worker_id: str | None = None) -> AsyncIterator[ArqDoorbell]:
    doorbell = ArqDoorbell(url, namespace="test", worker_id=worker_id)
    try:
        yield doorbell
    finally:
        await doorbell.close()


@pytest.fixture
async def doorbell(server: RedisServer) -> AsyncIterator[ArqDoorbell]:
    async with opened(server.url) as doorbell:
        yield doorbell


async def flushed(doorbell: ArqDoorbell) -> None:
    """Wait until nothing is on its way any more."""
    await until(lambda: doorbell._rings == 0)


async def woken_by_a_ring(doorbell: ArqDoorbell, wakes: Wakes) -> bool:
    """Whether it still works: ring until somebody is woken."""

    async def ring() -> bool:
        doorbell.ring("mail", "1")
        return wakes.count > before

    before = wakes.count
    await until(ring)
    return True


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been logged about doorbells."""
    return [record.getMessage() for record in caplog.records if record.name == "millrace.queue"]


# What it leaves in Redis


async def test_a_ring_is_json_and_does_not_stay(doorbell: ArqDoorbell, store: Any) -> None:
    doorbell.ring("mail", "job-1")
    await flushed(doorbell)
    (id,) = await store.zrange(QUEUE, 0, -1)
    assert json.loads(await store.get(b"arq:job:" + id))["a"] == ["job-1"]
    assert await store.lrange(BELL, 0, -1) == [id]
    for key in await store.keys():
        assert 0 < await store.ttl(key) <= 60


async def test_rings_that_come_while_one_is_on_its_way_become_one(doorbell: ArqDoorbell, store: Any) -> None:
    await store.client_pause(200, all=False)
    doorbell.ring("mail", "first")
    await until(lambda: not doorbell._rung)
    for number in range(1000):
        doorbell.ring("mail", str(number))
    doorbell.ring("reports", "other")
    await flushed(doorbell)
    assert await store.zcard(QUEUE) == 2
    kept = [json.loads(await store.get(b"arq:job:" + id))["a"] for id in await store.zrange(QUEUE, 0, -1)]
    assert sorted(kept) == [["999"], ["first"]]
    assert await store.zcard("millrace:test:reports") == 1
    assert doorbell.lost_rings == 0


async def test_rings_that_nobody_answers_do_not_pile_up(doorbell: ArqDoorbell, store: Any) -> None:
    for number in range(MOST_RINGS + 20):
        doorbell.ring("mail", str(number))
        await flushed(doorbell)
    assert await store.zcard(QUEUE) == await store.llen(BELL) == MOST_RINGS
    (newest,) = await store.zrange(QUEUE, -1, -1)
    assert await store.exists(b"arq:job:" + newest)


async def test_what_dead_workers_have_left_is_gone_at_once(
    doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await store.zadd(QUEUE, {f"{QUEUE}:{number}": number + 1 for number in range(10_000)})
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await until(lambda: _is_empty(store))
    assert 1 <= wakes.count <= 2
    assert await store.keys("arq:*") == []
    # Their payloads have expired, and nobody needs to know.
    assert not caplog.records


async def _is_empty(store: Any) -> bool:
    return not await store.exists(QUEUE)


async def test_a_job_without_a_bell_wakes_too(server: RedisServer, doorbell: ArqDoorbell) -> None:
    wakes = Wakes()
    client = Client(parse_redis_url(server.url))
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        await client.enqueue_job("wake", "job-1", _queue_name=QUEUE)
        await wakes.reach(2)
    await client.disconnect()


async def test_a_ring_that_a_worker_died_with_wakes_another(
    server: RedisServer, doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url) as other:
        other.ring("mail", "1")
    (id,) = await store.zrange(QUEUE, 0, -1)
    await store.incr(b"arq:retry:" + id)
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(3)
    assert await store.keys() == []
    assert caplog.records == []


async def test_rings_leave_nothing_behind_and_say_nothing(
    doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        for number in range(20):
            await wakes.reach(number + 1)
            doorbell.ring("mail", str(number))
        await until(lambda: _counts(store.keys(), 1))
    assert await store.keys() == []
    assert caplog.records == []


async def test_a_level_that_somebody_has_chosen_for_arq_is_kept(doorbell: ArqDoorbell) -> None:
    logging.getLogger("arq").setLevel(logging.ERROR)
    async with doorbell.answered(["mail"], Wakes()):
        assert logging.getLogger("arq").level == logging.ERROR


async def test_every_worker_has_a_health_record_while_it_answers(server: RedisServer, store: Any) -> None:
    async def records() -> list[bytes]:
        return sorted(await store.keys("*health-check*"))

    first, second = (f"{QUEUE}:health-check:{name}".encode() for name in ("one", "two"))
    async with opened(server.url, "one") as one, opened(server.url, "two") as two, opened(server.url) as unnamed:
        async with one.answered(["mail"], Wakes()):
            async with two.answered(["mail"], Wakes()):
                await until(lambda: _equal(records(), [first, second]))
                assert 0 < await store.ttl(first) <= 11
            assert await records() == [first]
        assert await records() == []
        async with unnamed.answered(["mail"], Wakes()), unnamed.answered(["reports"], Wakes()):
            await until(lambda: _counts(records(), 2))


async def _equal(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)


async def _counts(found: Awaitable[Any], wanted: int) -> bool:
    return len(await found) == wanted


# Leaving


async def test_leaving_stops_everything(server: RedisServer, store: Any) -> None:
    async def connections() -> int:
        return len(await store.client_list())

    await store.ping()
    tasks = asyncio.all_tasks()
    async with opened(server.url) as doorbell:
        for _ in range(20):
            wakes = Wakes()
            async with doorbell.answered(["mail", "reports"], wakes):
                await wakes.reach(2)
                doorbell.ring("mail", "1")
                await wakes.reach(3)
            await flushed(doorbell)
            assert asyncio.all_tasks() == tasks
    await until(lambda: _equal(connections(), 1))


async def test_leaving_does_not_wait_for_a_redis_that_hangs(server: RedisServer, doorbell: ArqDoorbell) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        os.kill(server.pid, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGCONT)


async def test_an_error_in_the_block_is_the_callers(doorbell: ArqDoorbell) -> None:
    with pytest.raises(LookupError):
        async with doorbell.answered(["mail"], Wakes()):
            raise LookupError


async def test_what_is_rung_last_is_sent_before_closing(server: RedisServer, store: Any) -> None:
    async with opened(server.url) as doorbell:
        doorbell.ring("mail", "1")
    assert await store.zcard(QUEUE) == 1
    doorbell.ring("mail", "2")
    assert doorbell.lost_rings == 1
    await doorbell.close()


async def test_closing_does_not_wait_for_a_redis_that_hangs(server: RedisServer) -> None:
    async with opened(server.url) as doorbell:
        os.kill(server.pid, signal.SIGSTOP)
        doorbell.ring("mail", "1")
        await until(lambda: not doorbell._rung)
        doorbell.ring("mail", "2")
    assert doorbell.lost_rings == 2
    os.kill(server.pid, signal.SIGCONT)


# Trouble


async def test_a_redis_that_restarts_is_lost_once_and_found_again(
    server: RedisServer, doorbell: ArqDoorbell, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail", "reports"], wakes):
        await wakes.reach(2)
        server.stop()
        await until(lambda: bool(messages(caplog)))
        for number in range(3):
            doorbell.ring("mail", str(number))
        await until(lambda: doorbell.lost_rings == 3)
        before = wakes.count
        server.start()
        # Rings were lost, so both are woken.
        await wakes.reach(before + 2)
        assert await woken_by_a_ring(doorbell, wakes)
    first, second = messages(caplog)
    assert first.startswith(BROKEN)
    assert second == WORKS


async def test_a_redis_that_comes_later_is_found(
    server: RedisServer, doorbell: ArqDoorbell, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    doorbell.ring("mail", "1")
    await until(lambda: doorbell.lost_rings == 1)
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        doorbell.ring("mail", "2")
        await until(lambda: doorbell.lost_rings == 2)
        server.start()
        await wakes.reach(1)
        assert await woken_by_a_ring(doorbell, wakes)
    first, second = messages(caplog)
    assert first.startswith(BROKEN)
    assert second == WORKS


async def test_a_ring_that_waits_for_redis_is_sent_when_it_is_back(server: RedisServer, doorbell: ArqDoorbell) -> None:
    server.stop()
    doorbell.ring("mail", "1")
    await until(lambda: doorbell.lost_rings == 1)
    doorbell.ring("mail", "2")
    server.start()
    await flushed(doorbell)
    async with Redis.from_url(server.url) as store:
        assert doorbell.lost_rings + await store.zcard(QUEUE) == 2


async def test_a_redis_that_forgets_everything_is_no_trouble(
    doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        for _ in range(50):
            assert await woken_by_a_ring(doorbell, wakes)
            await store.flushall()
    assert doorbell.lost_rings == 0
    assert messages(caplog) == []


async def test_connections_that_break_are_made_again(
    doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def kill() -> bool:
        await store.client_kill_filter(_type="normal", skipme=True)
        return len(messages(caplog)) > before

    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        for _ in range(3):
            before = len(messages(caplog))
            # One that breaks between two commands is not even noticed.
            await until(kill)
            await until(lambda: messages(caplog)[-1] == WORKS)
            assert await woken_by_a_ring(doorbell, wakes)
    assert [text == WORKS for text in messages(caplog)] == [False, True] * 3


async def test_a_redis_that_hangs_is_given_up_and_found_again(
    server: RedisServer, doorbell: ArqDoorbell, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        os.kill(server.pid, signal.SIGSTOP)
        doorbell.ring("mail", "1")
        await until(lambda: doorbell.lost_rings == 1 and bool(messages(caplog)))
        os.kill(server.pid, signal.SIGCONT)
        assert await woken_by_a_ring(doorbell, wakes)


async def test_more_queues_than_there_are_take_no_memory(server: RedisServer, doorbell: ArqDoorbell) -> None:
    server.stop()
    for number in range(MOST_RINGS + 5):
        doorbell.ring(str(number), "1")
        doorbell.ring("0", "2")
    assert len(doorbell._rung) == MOST_RINGS
    assert doorbell.lost_rings == 5


async def test_what_others_write_into_the_queue_ends_no_worker(
    doorbell: ArqDoorbell, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        await store.zadd(QUEUE, {b"\xff": 1})
        await until(lambda: bool(messages(caplog)))
        await store.delete(QUEUE)
        await until(lambda: messages(caplog)[-1] == WORKS)
        await store.set(QUEUE, "of another kind")
        await until(lambda: messages(caplog)[-1].startswith(BROKEN))
        await store.delete(QUEUE)
        assert await woken_by_a_ring(doorbell, wakes)
    # What nobody expects comes with its traceback.
    assert "UnicodeDecodeError" in caplog.text


async def test_an_unreadable_or_unknown_job_is_dropped(doorbell: ArqDoorbell, store: Any) -> None:
    wakes = Wakes()
    async with doorbell.answered(["mail"], wakes):
        await wakes.reach(1)
        unknown = json.dumps({"t": None, "f": "other", "a": [], "k": {}, "et": 1})
        for name, payload in {"pickled": b"\x80\x04.", "unknown": unknown}.items():
            await store.set(f"arq:job:{name}", payload)
            await store.zadd(QUEUE, {name: 1})
            await until(lambda: _is_empty(store))
        assert await store.keys("arq:*") == []
        assert await woken_by_a_ring(doorbell, wakes)


async def test_a_worker_that_cannot_be_woken_is_asked_again(
    doorbell: ArqDoorbell, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()

    def wake() -> None:
        wakes()
        if wakes.count in (1, 3):
            raise LookupError("nobody there")

    async with doorbell.answered(["mail"], wake):
        await wakes.reach(2)
        doorbell.ring("mail", "1")
        await wakes.reach(4)
    assert "LookupError: nobody there" in caplog.text
