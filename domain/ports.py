"""What the operations need from the world, as protocols; `infra` provides it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from domain.entity import Entity
from domain.model_versions import AliasMove
from domain.orchestrator import Registered
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

    async def documents(self, ids: Sequence[str]) -> list[bytes]:
        """The entities with these ids as JSON, in the order of their ids; unknown ids are left out."""
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

    async def insert_free(self, entities: Sequence[EntityT]) -> set[str]:
        """Store those new entities whose id and unique values nothing else has; of several with the same the first.

        Returns their ids.
        """
        ...

    async def taken(self, entities: Sequence[EntityT]) -> dict[str, list[str]]:
        """By id of those entities the fields whose value, which must be unique, something stored has.

        What is unique only together with other values is not found.
        """
        ...

    async def update(self, id: str, values: Mapping[str, Any]) -> None:
        """Store new values of some fields."""
        ...

    async def update_all(self, entities: Sequence[EntityT], names: Sequence[str]) -> None:
        """Store the values that many entities have in some fields."""
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


class Orchestrator(Protocol):
    """Whom a service makes itself known to. Methods raise `Unavailable`, `Unauthorized` and `NotFound`."""

    async def register(self, service_id: str, info: Mapping[str, Any]) -> Registered:
        """Make the service known."""
        ...

    async def ping(self, url: str) -> None:
        """Give a sign of life. Raises `NotFound` when the orchestrator has forgotten the service."""
        ...

    async def deregister(self, service_id: str) -> None:
        """Take the service off the list."""
        ...

    async def is_ready(self, url: str, token: str) -> bool:
        """Whether a service answers at `url` that knows the token, which is only this one."""
        ...


class ArtifactRows(Protocol):
    """What only artifacts need of the database."""

    async def parents(self, root_ids: Sequence[str]) -> dict[str, str | None]:
        """Everything in these trees by id, with the id of its parent."""
        ...

    async def keep_shape(self) -> None:
        """Until the transaction ends nobody may `change_shape`; others may keep it, too."""
        ...

    async def change_shape(self) -> None:
        """Until the transaction ends nobody else may keep or change the shape of any tree."""
        ...


class ConfigLinks(Protocol):
    """Which trees of artifacts belong to which configurations."""

    async def link(self, config_id: str, artifact_id: str) -> None:
        """Link a root to a configuration that is there. Raises `Conflict` when it belongs to one already."""
        ...

    async def unlink(self, config_id: str, artifact_id: str) -> bool:
        """Take a link away; says whether there was one."""
        ...

    async def artifact_ids(self, config_id: str) -> list[str]:
        """The roots that belong to a configuration."""
        ...

    async def config_id(self, artifact_id: str) -> str | None:
        """The configuration that a root belongs to."""
        ...

    async def forget(self, artifact_ids: Sequence[str]) -> None:
        """Take away the links of artifacts that are gone."""
        ...


class AliasHistory(Protocol):
    """Everything that the aliases of models have pointed to, by the database's clock."""

    async def now(self) -> datetime:
        """The present moment."""
        ...

    async def last_number(self, model_id: str) -> int:
        """The number of the latest version of a model, 0 without any."""
        ...

    async def moves(self, model_id: str, alias: str) -> list[AliasMove]:
        """Everything an alias has pointed to, oldest first."""
        ...

    async def latest(self, model_ids: Sequence[str], as_of: datetime | None = None) -> list[AliasMove]:
        """The latest move of each alias of these models, up to a moment; sorted by model and alias."""
        ...

    async def add(self, move: AliasMove) -> None:
        """Have an alias point to something from now on. Raises `Conflict` for a moment that is taken."""
        ...

    async def forget(self, model_ids: Sequence[str]) -> None:
        """Remove the versions and the aliases of models that are about to go."""
        ...


class Scratch(Protocol):
    """Room for the files of a run."""

    def directory(self, job_id: str) -> AbstractAsyncContextManager[Path]:
        """A private, empty folder that is gone after the block with all that is in it."""
        ...


Clock = Callable[[], datetime]
