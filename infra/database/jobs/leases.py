"""Keeps the leases of a worker from a thread with a connection of its own, so that nothing it runs delays them."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from domain.errors import ServiceError, Unavailable
from domain.jobs import JobState
from domain.workers import WorkerInfo
from infra.database.engine import DatabaseEngine
from infra.database.jobs.claims import Claims
from infra.database.postgres import PostgresEngine

logger = logging.getLogger("millrace.jobs")

LOOK_SECONDS, LEAST_SECONDS, STOP_SECONDS = 1.0, 0.1, 2.0

Told = Callable[[str, str, JobState | None], None]
"""Called in the worker's loop for a lease (job and token) whose job is canceling, or gone (None)."""


class _Own(NamedTuple):
    """The loop that keeps the leases, what wakes it, and what it does."""

    loop: asyncio.AbstractEventLoop
    woken: asyncio.Event
    task: asyncio.Task[None]


class LeaseKeeper:
    """Renews the leases it is given, every third of their length, and looks once a second what became of the jobs.

    `make_engine` gives the thread an engine of its own. A database in memory has but one engine: then `make_engine` is
    None and the worker's loop does the work.
    """

    def __init__(
        self,
        shared: DatabaseEngine,
        make_engine: Callable[[], DatabaseEngine] | None,
        *,
        lease_seconds: float,
        info: Callable[[], WorkerInfo],
        told: Told,
    ) -> None:
        self._shared = shared
        self._make_engine = make_engine
        self.lease_seconds = lease_seconds
        self.info = info
        self._told = told
        self._lock = threading.Lock()
        self._leases: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._own: _Own | None = None

    def start(self) -> None:
        """Begin, in the worker's loop."""
        self._loop = asyncio.get_running_loop()
        if self._make_engine is None:
            self._task = self._loop.create_task(self._keep())
            return
        self._thread = threading.Thread(target=self._run, name="millrace-leases", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._keep())

    async def stop(self) -> None:
        """End; leases that are still held run out."""
        self._stopping.set()
        self.look()
        if self._task is not None:
            await self._task
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
            if (own := self._own) is not None:
                # It waits for a database that is away.
                _call(own.loop, own.task.cancel)
            await asyncio.to_thread(self._thread.join)

    def hold(self, job_id: str, token: str) -> None:
        """Keep this lease from now on."""
        with self._lock:
            is_first = not self._leases
            self._leases[job_id] = token
        if is_first:
            self.look()

    def drop(self, job_id: str) -> None:
        """Forget a lease: its job has ended."""
        with self._lock:
            self._leases.pop(job_id, None)

    def look(self) -> None:
        """Look now instead of in a moment."""
        if (own := self._own) is not None:
            _call(own.loop, own.woken.set)

    async def _keep(self) -> None:
        woken, third = asyncio.Event(), self.lease_seconds / 3
        task = asyncio.current_task()
        assert task is not None
        self._own = _Own(asyncio.get_running_loop(), woken, task)
        engine = self._shared if self._make_engine is None else self._make_engine()
        keeping = _Keeping(self, engine, is_own=self._make_engine is not None)
        try:
            while not self._stopping.is_set():
                woken.clear()
                await keeping.step()
                # Woken or not: under load there is a ring for every job.
                await asyncio.sleep(LEAST_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_SECONDS, third) if self._leases else third):
                        await woken.wait()
        finally:
            self._own = None
            if self._make_engine is not None:
                await engine.stop()

    def leases(self) -> list[tuple[str, str]]:
        """What is held at the moment."""
        with self._lock:
            return list(self._leases.items())

    def tell(self, leases: list[tuple[str, str]], states: dict[str, JobState]) -> None:
        """Pass on what was found, into the worker's loop."""
        for id, token in leases:
            state = states.get(id)
            if state is not JobState.RUNNING and self._leases.get(id) == token:
                self._loop.call_soon_threadsafe(self._told, id, token, state)


class _Keeping:
    """What the thread does, over and over."""

    def __init__(self, keeper: LeaseKeeper, engine: DatabaseEngine, *, is_own: bool) -> None:
        self._keeper = keeper
        self._engine = engine
        self._is_own = is_own
        self._is_open = not is_own
        self._claims: Claims | None = None
        self._renewed = -float("inf")
        self._is_failing = False

    async def step(self) -> None:
        """Renew what is due, or look what has become of the jobs; trouble is logged, and tried again."""
        leases = self._keeper.leases()
        try:
            await self._look_in_time(leases)
        except Exception as error:
            # Whatever it is: if this ended, all leases would run out.
            if not self._is_failing:
                trace = None if isinstance(error, ServiceError) else error
                logger.warning(
                    "the leases of %d jobs cannot be renewed at the moment: %s", len(leases), error, exc_info=trace
                )
            self._is_failing = True
        else:
            if self._is_failing:
                logger.warning("leases are renewed again")
            self._is_failing = False

    async def _look_in_time(self, leases: list[tuple[str, str]]) -> None:
        """Look, but not for longer than there is time for before the leases run out."""
        if not isinstance(self._engine, PostgresEngine):
            return await self._look(leases)
        looking = asyncio.ensure_future(self._look(leases))
        try:
            done, _ = await asyncio.wait([looking], timeout=self._keeper.lease_seconds / 3)
        finally:
            looking.cancel()
        if done:
            return await looking
        if self._is_own:
            # Its connection is of no use any more: nobody answers there, nor says that nobody will.
            self._is_open = False
            self._engine.abandon()
        with suppress(asyncio.CancelledError, ServiceError):
            await looking
        raise Unavailable("the database does not answer in time")

    async def _look(self, leases: list[tuple[str, str]]) -> None:
        keeper, began = self._keeper, time.monotonic()
        claims = await self._opened()
        if began - self._renewed < keeper.lease_seconds / 3:
            keeper.tell(leases, await claims.held(leases) if leases else {})
            return
        keeper.tell(leases, await claims.renew(leases, lease_seconds=keeper.lease_seconds))
        await claims.beat(keeper.info())
        self._renewed = began

    async def _opened(self) -> Claims:
        if not self._is_open:
            await self._engine.start()
            self._is_open = True
        if self._claims is None:
            self._claims = Claims(self._engine)
        return self._claims


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    # The thread may be ending, and its loop with it.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
