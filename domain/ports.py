"""What the operations need from the world, as protocols; `infra` provides it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from domain.entity import Entity
from domain.query import QueryOptions
from domain.runs import Message, Run, RunEnd
from domain.tasks import Task

EntityT = TypeVar("EntityT", bound=Entity)


class Document(msgspec.Struct, frozen=True):
    """One entity as the JSON a client gets, and the version (its `updated_at` on the wire) it is of."""

    json: bytes
    version: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a list query: `items` is a JSON array.

    `total` is None when nobody counted, and `is_at_least` says that it is only a lower bound. `next` holds the sort
    values of the last row when more rows follow it. `size` is the number of rows in `items`.
    """

    items: bytes
    size: int
    total: int | None = None
    is_at_least: bool = False
    next: tuple[Any, ...] | None = None


class Repository(Protocol[EntityT]):
    """Where the entities of one resource are kept.

    Every method raises `Unavailable` when the store does not answer, and `Conflict` when a rule of it is broken.
    """

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document | None:
        """One entity as JSON, with the named fields or all readable ones."""
        ...

    async def page(self, query: QueryOptions) -> Listing:
        """What a query asks for, as JSON."""
        ...

    async def find(self, id: str, *, lock: bool = False) -> EntityT | None:
        """One entity; `lock` keeps others from changing it until the transaction ends."""
        ...

    async def find_all(self, query: QueryOptions) -> list[EntityT]:
        """The entities a query asks for, all of them."""
        ...

    async def find_many(self, ids: Sequence[str], *, lock: bool = False) -> list[EntityT]:
        """The entities with these ids, in the order of their ids; unknown ids are left out."""
        ...

    async def count(self, query: QueryOptions) -> int:
        """How many entities a query has."""
        ...

    async def exists(self, id: str) -> bool:
        """Whether there is an entity with this id."""
        ...

    async def insert(self, entity: EntityT) -> None:
        """Store a new entity."""
        ...

    async def insert_all(self, entities: Sequence[EntityT]) -> None:
        """Store many new entities, all or none."""
        ...

    async def update(self, id: str, values: Mapping[str, Any]) -> None:
        """Store new values of some fields."""
        ...

    async def delete(self, ids: Sequence[str]) -> int:
        """Remove entities; returns how many there were."""
        ...


class Transactions(Protocol):
    """One change is one transaction; what joins it is written in the same block."""

    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[Any]:
        """Open a transaction, or a savepoint inside of the current one."""
        ...

    async def on_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` after the commit; at once outside of a transaction."""
        ...


class Doorbell(Protocol):
    """Wakes workers. Losing or doubling a ring costs time and nothing else: the database knows what is to be done."""

    def ring(self, queue: str, job_id: str) -> None:
        """Say that a job of `queue` is ready. Neither waits nor fails; trouble is logged and counted."""
        ...

    def answered(self, queues: Sequence[str], wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call `wake` for every ring of these queues while the block lasts."""
        ...


class Runner(Protocol):
    """Runs tasks in processes of their own."""

    async def run(self, task: Task, run: Run, report: Callable[[Message], None]) -> RunEnd:
        """Call a task and wait for its end; what it reports meanwhile goes to `report`.

        Cancelling the caller kills the run at once.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Tell a run to stop: first politely, then by SIGTERM, then by SIGKILL of all its processes."""
        ...

    async def stop(self) -> None:
        """Kill whatever still runs, and run nothing more."""
        ...


Clock = Callable[[], datetime]
