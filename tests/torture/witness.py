"""What tasks say of their own runs, in a table that only grows; what the jobs say of themselves is held against it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from domain.entity import new_id
from domain.errors import Unavailable
from domain.tasks import RunningJob
from infra.database.engine import DatabaseEngine, DatabaseOptions, create_engine
from infra.database.query import Arguments
from tests.processes import PATIENCE_SECONDS, ROOT

TABLE = "torture_witness"
START, END, FAILED = "start", "end", "failed"
_NUMBER = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgres": "BIGSERIAL PRIMARY KEY"}
_MOMENT = {"sqlite": "TEXT", "postgres": "TIMESTAMPTZ"}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[DatabaseEngine]:
    """A connection to the database."""
    engine = create_engine(DatabaseOptions(url=url, pool_size=1, max_overflow=2), home=ROOT, name="torture")
    await _start(engine)
    try:
        yield engine
    finally:
        await engine.stop()


async def _start(engine: DatabaseEngine) -> None:
    give_up = time.monotonic() + 2 * PATIENCE_SECONDS
    while True:
        try:
            await engine.start()
            return
        except Unavailable:
            # Its server may go away once more while it is being connected to.
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.1)


async def create(engine: DatabaseEngine) -> None:
    """Make the table."""
    name = engine.dialect.name
    await engine.execute(
        f"CREATE TABLE {TABLE} (sequence {_NUMBER[name]}, run_id TEXT NOT NULL, moment TEXT NOT NULL, "
        "job_id TEXT NOT NULL, kind TEXT NOT NULL, attempt INTEGER NOT NULL, pid INTEGER NOT NULL, "
        f"at {_MOMENT[name]} NOT NULL, UNIQUE (run_id, moment))"
    )
    await engine.execute(f"CREATE INDEX {TABLE}_job ON {TABLE} (job_id)")


@asynccontextmanager
async def seen(engine: Any, job: RunningJob) -> AsyncIterator[None]:
    """Write down when the block begins, and how it ends; of one that is broken off there is only the beginning."""
    run = new_id()
    await _say(engine, run, START, job)
    try:
        yield
    except Exception:
        await _say(engine, run, FAILED, job)
        raise
    await _say(engine, run, END, job)


async def failures(engine: Any, job: RunningJob) -> int:
    """How many runs of a job have failed."""
    arguments = Arguments(engine.dialect)
    sql = f"SELECT count(*) FROM {TABLE} WHERE job_id = {arguments.bind(job.id)} AND moment = '{FAILED}'"
    while True:
        try:
            [(count,)] = await engine.fetch(sql, *arguments.values)
            return int(count)
        except Unavailable:
            await asyncio.sleep(0.1)


async def _say(engine: Any, run: str, moment: str, job: RunningJob) -> None:
    """A line that is committed when this returns, however often the database has to be asked.

    It says when that was which it tells of, by the database's clock.
    """
    began = time.monotonic()
    while True:
        arguments = Arguments(engine.dialect)
        values = (run, moment, job.id, job.kind, job.attempt, os.getpid())
        bound = ", ".join(arguments.bind(value) for value in values)
        ago = arguments.bind(began - time.monotonic())
        try:
            await engine.execute(
                f"INSERT INTO {TABLE} (run_id, moment, job_id, kind, attempt, pid, at) "
                f"VALUES ({bound}, {engine.dialect.later(ago)}) ON CONFLICT DO NOTHING",
                *arguments.values,
            )
            return
        except Unavailable:
            await asyncio.sleep(0.1)
