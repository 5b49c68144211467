"""Tools for tests of one fault: submit jobs, and ask the witness and the history what became of them."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import httpx

from infra.database.engine import DatabaseEngine
from infra.database.sqlite import SqliteEngine
from tests.processes import PATIENCE_SECONDS
from tests.torture.actors import Actor, Server
from tests.torture.record import Record, read

T = TypeVar("T")


def submitted(server: Server, kind: str, args: dict[str, Any] | None = None, **options: Any) -> str:
    """Submit a job; returns its id."""
    url = f"{server.url}/api/v1/tasks/{kind}/$execute"
    reply = httpx.post(url, json={"args": args or {}, **options}, timeout=30, verify=False)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["job_id"])


async def until_all(engine: DatabaseEngine, ids: Sequence[str], question: Callable[[Record, str], Any]) -> Record:
    """Read what there is until the answer is true for all these jobs, and return it."""

    def ask(record: Record) -> Record | None:
        return record if all(question(record, id) for id in ids) else None

    found = await until(engine, ask)
    assert found is not None
    return found


async def until(engine: DatabaseEngine, question: Callable[[Record], T]) -> T:
    """Read what there is until the answer is true, and return it."""

    async def ask() -> T:
        return question(await read(engine))

    return await answered(ask, "the database holds nothing else")


async def answered(question: Callable[[], Awaitable[T]], trouble: str, *, within: float = PATIENCE_SECONDS) -> T:
    """The first true answer; fails with the trouble when there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := await question()):
        assert time.monotonic() < deadline, f"{trouble} within {within:g} s"
        await asyncio.sleep(0.05)
    return answer


async def halt(actor: Actor, engine: DatabaseEngine) -> None:
    """Have an actor stand still: outside of a transaction, for with SQLite nobody could write while it lasts."""
    actor.signal(signal.SIGSTOP)
    while isinstance(engine, SqliteEngine) and _is_locked(engine):
        actor.signal(signal.SIGCONT)
        await asyncio.sleep(0.05)
        actor.signal(signal.SIGSTOP)


def _is_locked(engine: SqliteEngine) -> bool:
    with closing(sqlite3.connect(str(engine.path), timeout=0.2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False
