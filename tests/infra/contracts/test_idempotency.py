"""What the database promises about replies to requests with a key: one has it at a time, and it is kept for so long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from domain.idempotency import KeptReply, RequestInFlight
from infra.database.engine import DatabaseEngine
from infra.database.idempotency import IdempotencyKeys, ReplyDatabase
from infra.database.jobs.store import JobDatabase
from infra.database.schema import synchronize
from tests.infra.database.engines import opened

DAY = 86_400.0
KEY, OTHER = "ab" * 32, "ff" * 32
REPLY = KeptReply(
    fingerprint="f" * 64, status=201, headers=[("content-type", "text/plain"), ("x-own", "Ã©")], body=b"\x00\xff body"
)


class Undo(Exception):
    """What a block raises to have its change undone."""


@pytest.fixture
async def engine(any_database_url: str) -> AsyncIterator[DatabaseEngine]:
    async with opened(any_database_url) as engine:
        await engine.execute("DROP TABLE IF EXISTS millrace_idempotency")
        await synchronize(engine, [IdempotencyKeys])
        yield engine


@pytest.fixture
def replies(engine: DatabaseEngine) -> ReplyDatabase:
    return ReplyDatabase(engine)


async def keep(replies: ReplyDatabase, key: str, reply: KeptReply = REPLY, *, ttl_seconds: float = DAY) -> None:
    async with replies.answering(key):
        await replies.keep(key, reply, ttl_seconds=ttl_seconds)


async def keys(engine: DatabaseEngine) -> int:
    [(count,)] = await engine.fetch("SELECT count(*) FROM millrace_idempotency")
    return int(count)


@pytest.mark.parametrize("body", [b"", b"\x00\xff body", None])
async def test_a_reply_is_found_as_it_was_kept(replies: ReplyDatabase, body: bytes | None) -> None:
    reply = msgspec.structs.replace(REPLY, body=body)
    assert await replies.find(KEY) is None
    await keep(replies, KEY, reply)
    assert await replies.find(KEY) == reply
    assert await replies.find(OTHER) is None


async def test_a_reply_goes_with_its_transaction(replies: ReplyDatabase) -> None:
    async def undone() -> None:
        async with replies.answering(KEY) as kept:
            assert kept is None
            await replies.keep(KEY, REPLY, ttl_seconds=DAY)
            assert await replies.find(KEY) == REPLY
            raise Undo

    with pytest.raises(Undo):
        await undone()
    assert await replies.find(KEY) is None
    await keep(replies, KEY)
    assert await replies.find(KEY) == REPLY


async def test_what_is_kept_is_not_replaced(replies: ReplyDatabase) -> None:
    await keep(replies, KEY)
    with pytest.raises(RequestInFlight) as caught:
        await keep(replies, KEY, msgspec.structs.replace(REPLY, status=200))
    assert caught.value.extensions == {"retry_after": 1}
    assert await replies.find(KEY) == REPLY


async def test_what_was_kept_for_long_enough_is_not_found_and_replaced(replies: ReplyDatabase) -> None:
    await keep(replies, KEY, ttl_seconds=0.0)
    assert await replies.find(KEY) is None
    later = msgspec.structs.replace(REPLY, status=200)
    await keep(replies, KEY, later, ttl_seconds=60.0)
    assert await replies.find(KEY) == later


async def test_what_is_outdated_goes_with_what_comes(replies: ReplyDatabase, engine: DatabaseEngine) -> None:
    for number in range(200):
        await keep(replies, f"{number:064x}", ttl_seconds=0.0 if number < 150 else DAY)
    # By now it may be less, for the first of them went while the later came.
    assert await keys(engine) < 150
    for number in range(200, 264):
        await keep(replies, f"{number:064x}")
    assert await keys(engine) == 50 + 64


async def test_workers_remove_what_is_outdated(jobs: JobDatabase) -> None:
    replies = ReplyDatabase(jobs.engine)
    await jobs.engine.execute("DELETE FROM millrace_idempotency")
    await keep(replies, KEY, ttl_seconds=0.0)
    await keep(replies, OTHER)
    await jobs.forget_replies()
    assert await keys(jobs.engine) == 1
    assert await replies.find(OTHER) == REPLY


async def test_what_was_replied_is_known_to_many_at_once(replies: ReplyDatabase) -> None:
    await keep(replies, KEY)
    async with replies.answering(KEY) as first, replies.answering(KEY) as second:
        assert first == second == REPLY


async def test_a_key_is_had_by_one_at_a_time(replies: ReplyDatabase) -> None:
    is_begun, is_over = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with replies.answering(KEY) as kept:
            assert kept is None
            is_begun.set()
            await is_over.wait()
            await replies.keep(KEY, REPLY, ttl_seconds=DAY)

    answering = asyncio.create_task(first())
    await is_begun.wait()
    with pytest.raises(RequestInFlight):
        await keep(replies, KEY)
    is_over.set()
    await answering
    async with replies.answering(KEY) as kept:
        assert kept == REPLY


async def test_of_several_services_one_has_a_key(any_database_url: str, replies: ReplyDatabase) -> None:
    if any_database_url.endswith(":memory:"):
        pytest.skip("it belongs to one service")

    async def attempt(others: ReplyDatabase, number: int) -> bool:
        try:
            async with others.answering(KEY) as kept:
                if kept is not None:
                    return False
                await asyncio.sleep(0.01)
                reply = msgspec.structs.replace(REPLY, status=200 + number)
                await others.keep(KEY, reply, ttl_seconds=DAY)
                return True
        except RequestInFlight:
            return False

    async with AsyncExitStack() as stack:
        services = [ReplyDatabase(await stack.enter_async_context(opened(any_database_url))) for _ in range(3)]
        results = await asyncio.gather(*(attempt(services[number % 3], number) for number in range(9)))
    assert results.count(True) == 1
    found = await replies.find(KEY)
    assert found is not None
    assert found.status == 200 + results.index(True)


async def test_who_comes_too_late_for_the_lock_changes_nothing(replies: ReplyDatabase, engine: DatabaseEngine) -> None:
    async def late() -> None:
        async with engine.transaction():
            await replies.keep(OTHER, REPLY, ttl_seconds=DAY)
            await replies.keep(KEY, msgspec.structs.replace(REPLY, status=200), ttl_seconds=DAY)

    await keep(replies, KEY)
    with pytest.raises(RequestInFlight):
        await late()
    assert await replies.find(KEY) == REPLY
    assert await replies.find(OTHER) is None
