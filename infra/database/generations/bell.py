"""Tells every process that caches of a change, and knows when all of them have heard."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg

from domain.entity import new_id
from domain.errors import Unavailable
from infra.database.failures import ASYNCPG_ERRORS
from infra.database.generations.asking import SharedAsking
from infra.database.postgres import PostgresEngine

logger = logging.getLogger("millrace.database")

CHANNEL = "millrace_generations"
_HEARER = "millrace cache "
_OTHERS = (
    "SELECT substr(application_name, 16) FROM pg_stat_activity "
    f"WHERE datname = current_database() AND application_name LIKE '{_HEARER}%'"
)
_SEND = f"SELECT pg_notify('{CHANNEL}', payload) FROM unnest($1::text[]) AS payload"
_CHECK_SECONDS, _ECHO_SECONDS, _PAUSE_SECONDS = 5.0, 2.0, 1.0


class Bell:
    """Rings at all who hear, and waits for their answers, for a lease at most.

    PostgreSQL itself knows who hears: each has a connection under a name of its own. It is NOTIFY of a connection of
    its own that tells of a change, never that of the change's transaction, for those commit one after the other.

    Who knows its list of hearers relies on it for a lease. So a new hearer may rely on hearing only after two.
    """

    def __init__(self, engine: PostgresEngine, heard: Callable[[], None], *, lease_seconds: float) -> None:
        self.id = new_id()
        self._engine = engine
        self._heard = heard
        self._lease_seconds = lease_seconds
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._relied_on_from = float("inf")
        self._hearing = asyncio.Event()
        self._others: tuple[set[str], float] = (set(), float("-inf"))
        self._rung = 0
        self._unanswered: dict[int, tuple[set[str], asyncio.Event]] = {}
        self._outgoing: list[str] = []
        self._sending: asyncio.Task[None] | None = None
        # A connection does one thing at a time.
        self._using = asyncio.Lock()
        self._echo = asyncio.Event()
        self._ringing: SharedAsking[None] = SharedAsking(self._tell)
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and connect again whenever that ends, until it is stopped."""
        self._listening = asyncio.create_task(self._listen_always())

    async def stop(self) -> None:
        """Be heard of no more."""
        tasks = [task for task in (self._listening, self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hears(self) -> bool:
        """Whether every change of others is heard here before it is acknowledged. Who asks is told from then on."""
        self._hearing.set()
        return time.monotonic() >= self._relied_on_from

    async def ring(self) -> None:
        """Tell all who hear, and wait until they have answered or cannot rely on what they knew any more."""
        await self._ringing.join()

    async def _tell(self) -> None:
        until = time.monotonic() + self._lease_seconds
        answered = asyncio.Event()
        self._rung += 1
        number = self._rung
        try:
            others = await self._hearers()
            if not others:
                return
            self._unanswered[number] = set(others), answered
            self._send(f"changed {self.id} {number}")
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                await answered.wait()
        except (TimeoutError, Unavailable):
            await asyncio.sleep(max(0.0, until - time.monotonic()))
        finally:
            self._unanswered.pop(number, None)

    async def _hearers(self) -> set[str]:
        known, since = self._others
        now = time.monotonic()
        if now - since >= self._lease_seconds:
            known = {row[0] for row in await self._engine.fetch(_OTHERS)} - {self.id}
            self._others = known, now
        return known

    # The connection

    async def _listen_always(self) -> None:
        while True:
            try:
                await self._listen()
            except (*ASYNCPG_ERRORS, TimeoutError) as error:
                logger.debug("hearing of changes was interrupted: %r", error)
            except Exception:
                # Nobody would begin again for it, and from then on each change would wait for its lease.
                logger.warning("hearing of changes was interrupted", exc_info=True)
            finally:
                self._relied_on_from = float("inf")
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._engine.url.dsn, timeout=5, server_settings={"application_name": "millrace changes"}
        )
        self._connection = connection
        ended = asyncio.Event()

        def end(_: Any) -> None:
            # At once: those who change something do not see us any more.
            self._relied_on_from = float("inf")
            self._heard()
            ended.set()

        connection.add_termination_listener(end)
        async with self._using:
            await connection.add_listener(CHANNEL, self._on_notify)  # type: ignore[arg-type]
        is_named = False
        while not ended.is_set():
            self._echo.clear()
            self._send(f"echo {self.id}")
            # A pooler between us and the server may accept LISTEN and never say a word.
            async with asyncio.timeout(_ECHO_SECONDS):
                await self._echo.wait()
            if self._hearing.is_set() and not is_named:
                async with self._using:
                    await connection.execute(f"SET application_name = '{_HEARER}{self.id}'")
                is_named = True
                self._relied_on_from = time.monotonic() + 2 * self._lease_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await (ended if is_named else self._hearing).wait()

    def _on_notify(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        match payload.split():
            case ["changed", sender, number] if sender != self.id and self._hearing.is_set():
                self._heard()
                self._send(f"heard {sender} {number} {self.id}")
            case ["heard", sender, number, hearer] if sender == self.id and int(number) in self._unanswered:
                waiting, answered = self._unanswered[int(number)]
                waiting.discard(hearer)
                if not waiting:
                    answered.set()
            case ["echo", self.id]:
                self._echo.set()

    def _send(self, payload: str) -> None:
        self._outgoing.append(payload)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._outgoing and (connection := self._connection) is not None:
            batch, self._outgoing = self._outgoing, []
            try:
                async with self._using:
                    await connection.execute(_SEND, batch)
            except (*ASYNCPG_ERRORS, AttributeError):
                # The last is asyncpg's for a connection that ends between two steps of a statement.
                # Nobody relies on a word that was lost: the lease runs out instead.
                connection.terminate()
                return
        self._outgoing.clear()
