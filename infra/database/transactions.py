"""Transactions that live in the task's context: nested ones are savepoints, and effects can wait for the commit."""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

from domain.errors import Conflict, Unavailable

logger = logging.getLogger("millrace.database")

PATIENCE_SECONDS = 1.0
"""How long the end of a transaction waits for savepoints in it that are still open."""

Callback = Callable[[], Awaitable[None]]
ConnectionT = TypeVar("ConnectionT")


class Transaction(Generic[ConnectionT]):
    """An open transaction, or a savepoint inside of the transaction `outer`.

    `lock` serialises the tasks that share it, for a connection runs one statement at a time, and `nesting` those of
    them that open savepoints, which end in the reverse order of their beginning. `is_unlimited` suspends the engine's
    own limit for a statement (PostgreSQL's is the server's).
    """

    def __init__(self, connection: ConnectionT, outer: "Transaction[ConnectionT] | None" = None) -> None:
        self.connection = connection
        self.outer = outer
        self.lock: asyncio.Lock = outer.lock if outer else asyncio.Lock()
        self.nesting = asyncio.Lock()
        self.is_ended = False
        self.is_unlimited: bool = outer.is_unlimited if outer else False
        self.callbacks: list[Callback] = []
        self.is_telling = False
        self.depth: int = outer.depth + 1 if outer else 0

    @property
    def is_done(self) -> bool:
        """Whether it has ended, or one around it has: a savepoint does not outlive its transaction."""
        return self.is_ended or (self.outer is not None and self.outer.is_done)

    def tell(self, callback: Callback) -> None:
        """Call this once after the commit, before everything else that waits for it."""
        whole = self
        while whole.outer is not None:
            whole = whole.outer
        if not whole.is_telling:
            whole.is_telling = True
            whole.callbacks.insert(0, callback)

    async def savepoint(self, name: str | None = None) -> None:
        """Piccolo asks for this; ours are made by nesting."""
        raise NotImplementedError("nest another `async with transaction()` instead")


class CurrentTransaction(Generic[ConnectionT]):
    """The transaction of the running task.

    To a child task that inherited it, a finished one reads as the one around it, or None. Has the interface of the
    ContextVar that Piccolo uses.
    """

    def __init__(self, name: str) -> None:
        self._variable: contextvars.ContextVar[Transaction[ConnectionT] | None] = contextvars.ContextVar(
            name, default=None
        )

    def get(self) -> Transaction[ConnectionT] | None:
        """Raises `Conflict` inside of a savepoint whose transaction has ended: what it did so far went with that."""
        transaction = self._variable.get()
        while transaction is not None and transaction.is_done:
            if not transaction.is_ended:
                raise _ended()
            transaction = transaction.outer
        return transaction

    def set(self, transaction: Transaction[ConnectionT] | None) -> contextvars.Token[Transaction[ConnectionT] | None]:
        return self._variable.set(transaction)

    def reset(self, token: contextvars.Token[Transaction[ConnectionT] | None]) -> None:
        # A generator that nobody has finished is closed in a context of its own, in which it was never set.
        with suppress(ValueError):
            self._variable.reset(token)


class Connections(Protocol[ConnectionT]):
    """What an engine offers so that `open_transaction` can run on it."""

    current_transaction: CurrentTransaction[ConnectionT]

    def begun(self, isolation: str | None, read_only: bool) -> AbstractAsyncContextManager[ConnectionT]:
        """A connection inside of a new transaction; leaving commits it, or rolls it back on an error."""
        ...

    async def execute(self, sql: str, *args: Any) -> None:
        """Run one statement in the current transaction."""
        ...


@asynccontextmanager
async def open_transaction(
    engine: Connections[ConnectionT], *, isolation: str | None = None, read_only: bool = False
) -> AsyncIterator[Transaction[ConnectionT]]:
    """Everything in the block is one change. Inside of another transaction the block is a savepoint of it."""
    outer = engine.current_transaction.get()
    if outer is not None:
        async with outer.nesting:
            # It may have ended while this task waited for its turn.
            if outer.is_done:
                raise _ended()
            async with _savepoint(engine, outer) as inner:
                yield inner
        return
    async with engine.begun(isolation, read_only) as connection:
        transaction = Transaction(connection)
        async with _entered(engine, transaction):
            yield transaction
    for callback in transaction.callbacks:
        await _after_commit(callback)


@asynccontextmanager
async def _entered(engine: Connections[ConnectionT], transaction: Transaction[ConnectionT]) -> AsyncIterator[None]:
    token = engine.current_transaction.set(transaction)
    is_closed = False
    try:
        yield
        await _close(transaction)
        is_closed = True
    finally:
        engine.current_transaction.reset(token)
        try:
            # A statement of a child task that nobody waited for still belongs to the transaction.
            async with transaction.lock:
                pass
        finally:
            transaction.is_ended = True
            if is_closed:
                # Who waits for a turn learns that it is too late.
                transaction.nesting.release()


@asynccontextmanager
async def _savepoint(
    engine: Connections[ConnectionT], outer: Transaction[ConnectionT]
) -> AsyncIterator[Transaction[ConnectionT]]:
    inner = Transaction(outer.connection, outer)
    name = f"millrace_{inner.depth}"
    await _execute_in(engine, outer, f"SAVEPOINT {name}")
    try:
        async with _entered(engine, inner):
            yield inner
    except BaseException:
        # Refused when the transaction is over or lost, and then its end has undone this along with everything else.
        with suppress(Conflict, Unavailable):
            await _execute_in(engine, outer, f"ROLLBACK TO SAVEPOINT {name}")
            await _execute_in(engine, outer, f"RELEASE SAVEPOINT {name}")
        raise
    await _execute_in(engine, outer, f"RELEASE SAVEPOINT {name}")
    outer.callbacks += inner.callbacks


async def _execute_in(engine: Connections[ConnectionT], transaction: Transaction[ConnectionT], sql: str) -> None:
    """Run a statement in this transaction and nowhere else: `Conflict` should it end before the statement's turn."""
    # A savepoint in name only, for unlike that of its transaction its end is not looked past.
    token = engine.current_transaction.set(Transaction(transaction.connection, transaction))
    try:
        await engine.execute(sql)
    finally:
        engine.current_transaction.reset(token)


async def _close(transaction: Transaction[Any]) -> None:
    """Take the turn of savepoints for good. Raises `Conflict` if one stays open: a commit would keep the half of it."""
    if not transaction.nesting.locked():
        await transaction.nesting.acquire()
        return
    try:
        # Of a child task that nobody has waited for; it may be about to be done.
        async with asyncio.timeout(PATIENCE_SECONDS):
            await transaction.nesting.acquire()
    except TimeoutError:
        raise Conflict("A part of this transaction was still under way at its end; nothing of it was kept") from None


def _ended() -> Conflict:
    return Conflict("The transaction around this one has ended; nothing of this one was kept")


async def on_commit(engine: Connections[Any], callback: Callback) -> None:
    """Run `callback` once the current transaction is committed; at once when there is none."""
    transaction = engine.current_transaction.get()
    if transaction is None:
        await _after_commit(callback)
    else:
        transaction.callbacks.append(callback)


async def _after_commit(callback: Callback) -> None:
    try:
        await callback()
    except Exception:
        # The change is committed and cannot be taken back; the caller must hear of its success.
        logger.exception("a callback failed after its transaction was committed")
