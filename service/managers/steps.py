"""The steps that changes of a resource are made of: each takes all entities of one change at once."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from domain.bodies import Bodies
from domain.entity import Entity, now_utc, parse_id, version_after
from domain.errors import Conflict, Invalid, InvalidId, NotFound, PreconditionFailed
from domain.ports import Clock, Repository, Transactions
from domain.query import Resource
from domain.wire import timestamp_text
from service.managers.hooks import Change, Hooks, Reading, ResultT

EntityT = TypeVar("EntityT", bound=Entity)

Expectation = Callable[[str], bool]
"""Whether a stored version (the wire form of `updated_at`) is the one a client means."""


class Steps(Generic[EntityT]):
    """What is done inside of a transaction: the hooks, the write, and the hooks after the commit.

    `most_at_once` bounds how many entities a step may be given, None for any number.
    """

    most_at_once: int | None = None

    def __init__(
        self,
        resource: Resource[EntityT],
        repository: Repository[EntityT],
        transactions: Transactions,
        *,
        hooks: Sequence[Hooks[EntityT]] = (),
        clock: Clock = now_utc,
    ) -> None:
        self.resource = resource
        self.bodies = Bodies(resource)
        self.repository = repository
        self.transactions = transactions
        self._hooks = tuple(hooks)
        self._readers = [item for item in self._hooks if type(item).around_read is not Hooks.around_read]
        self._clock = clock
        self._members = {member.name: member for member in msgspec.structs.fields(resource.entity)}

    @property
    def has_hooks(self) -> bool:
        """Whether anybody may alter what is about to be written."""
        return bool(self._hooks)

    def changing(self) -> AbstractAsyncContextManager[Any]:
        """A transaction in which anything may be changed."""
        return self.transactions.transaction()

    def now(self) -> datetime:
        """The moment of a change that begins now."""
        return self._clock()

    def new(self, values: Mapping[str, Any], now: datetime) -> EntityT:
        """A new entity made of `values`, not yet stored; what they leave out gets its default."""
        return self.bodies.construct({"created_at": now, "updated_at": now, **values})

    def patched(self, before: EntityT, patch: Mapping[str, Any]) -> Change[EntityT]:
        """The change of a stored entity by an RFC 7396 merge patch. Raises `InvalidBody`."""
        stored = msgspec.to_builtins(before, str_keys=True)
        values = self._merged(stored, patch)
        whole = {name: getattr(before, name) for name in self._members}
        return Change(before, self.bodies.construct({**whole, **values}))

    async def insert(self, entities: Sequence[EntityT]) -> None:
        """Store new entities, all or none."""
        for hooks in self._hooks:
            await hooks.pre_save(entities)
        if len(entities) == 1:
            await self._inserted(entities, self.repository.insert(entities[0]))
        else:
            await self._inserted(entities, self.repository.insert_all(entities))
        for hooks in self._hooks:
            await hooks.post_save(entities)
            await self.transactions.on_commit(_later(hooks.saved, entities))

    async def insert_free(self, entities: Sequence[EntityT]) -> set[str]:
        """Try to store new entities, to see which of them can be; returns their ids. It is to be undone."""
        for hooks in self._hooks:
            await hooks.pre_save(entities)
        return await self.repository.insert_free(entities)

    async def update(self, changes: Sequence[Change[EntityT]]) -> None:
        """Store changes, all or none; each differs from what is stored, which is locked."""
        now = self._clock()
        for change in changes:
            change.after.updated_at = version_after(change.before.updated_at, now)
            change.after.created_at = change.before.created_at
            if self._hooks:
                # They may alter a list of `after` in place, which must not be the one that `before` has.
                change.after = copy.deepcopy(change.after)
        for hooks in self._hooks:
            await hooks.pre_update(changes)
        for change in changes:
            if change.after.id != change.before.id:
                raise Invalid("The id of an entity cannot change")
        await self._updated(changes)
        for hooks in self._hooks:
            await hooks.post_update(changes)
            await self.transactions.on_commit(_later(hooks.updated, changes))

    async def _updated(self, changes: Sequence[Change[EntityT]]) -> None:
        if len(changes) == 1:
            [change] = changes
            values = {name: new for name, (_, new) in change.fields.items()}
            await self.repository.update(change.before.id, {**values, "updated_at": change.after.updated_at})
            return
        names = {name for change in changes for name in change.fields}
        await self.repository.update_all([change.after for change in changes], sorted({*names, "updated_at"}))

    async def remove(self, entities: Sequence[EntityT]) -> None:
        """Remove stored entities, which are locked."""
        for hooks in self._hooks:
            await hooks.pre_delete(entities)
        await self.repository.delete([entity.id for entity in entities])
        for hooks in self._hooks:
            await hooks.post_delete(entities)
            await self.transactions.on_commit(_later(hooks.deleted, entities))

    def check_version(self, entity: EntityT, is_expected: Expectation | None) -> None:
        """Raise `PreconditionFailed` unless an entity is in the version that is meant."""
        if is_expected is not None and not is_expected(timestamp_text(entity.updated_at)):
            raise PreconditionFailed(f"Entity with id {entity.id} has changed since; read it again")

    def missing(self, identifier: str) -> NotFound:
        """The error for an id that nothing has."""
        return NotFound(f"Entity with id {identifier} not found")

    def _merged(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """The new values of the fields that a patch names."""
        return self.bodies.merge(stored, patch)

    async def _read(self, reading: Reading, load: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """What `load` returns, or one of the hooks gives for it."""
        for hooks in reversed(self._readers):
            load = partial(hooks.around_read, reading, load)
        return await load()

    async def _find(self, identifier: str, *, lock: bool = False) -> EntityT | None:
        load = partial(self.repository.find, identifier, lock=lock)
        if lock or not self._readers:
            return await load()
        return await self._read(Reading(identifier, self.resource.entity), load)

    async def _get(self, identifier: str, *, lock: bool = False) -> EntityT:
        entity = await self._find(identifier, lock=lock)
        if entity is None:
            raise self.missing(identifier)
        return entity

    async def _inserted(self, entities: Sequence[EntityT], writing: Awaitable[None]) -> None:
        try:
            await writing
        except Conflict as error:
            if error.extensions.get("fields") == ["id"] and len(entities) == 1:
                raise id_taken(entities[0].id, error) from error
            raise

    def _id(self, text: str) -> str:
        identifier = parse_id(text)
        if identifier is None:
            raise InvalidId(f"Invalid ULID format: {text[:100]}")
        return identifier


def id_taken(id: str, error: Conflict) -> Conflict:
    """The error for a new entity whose id something has already."""
    return Conflict(f"Entity with id {id} already exists", extensions=error.extensions)


def _later(hook: Callable[[Any], Awaitable[None]], entities: Any) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await hook(entities)

    return run
