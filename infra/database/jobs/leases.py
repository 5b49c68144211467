"""Keeps the leases of a worker from a thread with a connection of its own, so that nothing it runs delays them."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from domain.errors import ServiceError
from domain.jobs import JobState, WorkerInfo
from infra.database.engine import DatabaseEngine
from infra.database.jobs.claims import Claims

logger = logging.getLogger("millrace.jobs")

LOOK_SECONDS, LEAST_SECONDS = 1.0, 0.1

Told = Callable[[str, str, JobState | None], None]
"""Called in the worker's loop for a lease (job and token) whose job is canceling, or gone (None)."""


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
        self._own: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def start(self) -> None:
        """Begin, in the worker's loop."""
        self._loop = asyncio.get_running_loop()
        if self._make_engine is None:
            self._task = self._loop.create_task(self._keep())
            return
        self._thread = threading.Thread(target=lambda: asyncio.run(self._keep()), name="millrace-leases", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End; leases that are still held run out."""
        self._stopping.set()
        self.look()
        if self._task is not None:
            await self._task
        if self._thread is not None:
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
        if self._own is not None:
            loop, event = self._own
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def _keep(self) -> None:
        woken = asyncio.Event()
        self._own = asyncio.get_running_loop(), woken
        engine = self._shared if self._make_engine is None else self._make_engine()
        keeping = _Keeping(self, engine, is_own=self._make_engine is not None)
        try:
            while not self._stopping.is_set():
                woken.clear()
                await keeping.step()
                # Woken or not: under load there is a ring for every job.
                await asyncio.sleep(LEAST_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS if self._leases else self.lease_seconds / 3):
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
        self._is_open = not is_own
        self._claims: Claims | None = None
        self._renewed = -float("inf")
        self._is_failing = False

    async def step(self) -> None:
        """Renew what is due, or look what has become of the jobs; trouble is logged, and tried again."""
        keeper = self._keeper
        leases = keeper.leases()
        began = time.monotonic()
        is_due = began - self._renewed >= keeper.lease_seconds / 3
        try:
            claims = await self._opened()
            if is_due:
                await claims.beat(keeper.info())
                states = await claims.renew(leases, lease_seconds=keeper.lease_seconds)
                self._renewed = began
            else:
                states = await claims.held(leases) if leases else {}
        except ServiceError as error:
            if not self._is_failing:
                logger.warning("the leases of %d jobs cannot be renewed at the moment: %s", len(leases), error)
            self._is_failing = True
            return
        if self._is_failing:
            logger.warning("leases are renewed again")
        self._is_failing = False
        keeper.tell(leases, states)

    async def _opened(self) -> Claims:
        if not self._is_open:
            await self._engine.start()
            self._is_open = True
        if self._claims is None:
            self._claims = Claims(self._engine)
        return self._claims
