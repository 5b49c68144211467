"""What happens to the entities of a resource: reads, and changes that are one transaction each."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from domain.bodies import Bodies
from domain.entity import Entity, now_utc, parse_id, version_after
from domain.errors import Conflict, Invalid, InvalidId, NotFound, PreconditionFailed
from domain.ports import Clock, Document, Listing, Repository, Transactions
from domain.query import BY_ID, Count, QueryOptions, Resource
from domain.wire import timestamp_text
from service.managers.hooks import Change, Hooks

EntityT = TypeVar("EntityT", bound=Entity)

Expectation = Callable[[str], bool]
"""Whether a stored version (the wire form of `updated_at`) is the one a client means."""


class Manager(Generic[EntityT]):
    """The operations on one resource.

    Methods raise `NotFound`, `InvalidId`, `Conflict`, `PreconditionFailed`, `InvalidBody` and `Unavailable`.
    Every change runs in one transaction together with its hooks, in the order the hooks were given.
    """

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
        self._clock = clock
        self._members = {member.name: member for member in msgspec.structs.fields(resource.entity)}

    # Reads

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """One entity as JSON, with the named fields or all readable ones."""
        identifier = self._id(id)
        document = await self.repository.document(identifier, fields)
        if document is None:
            raise self._missing(identifier)
        return document

    async def page(self, query: QueryOptions) -> Listing:
        """What a query asks for, as JSON."""
        return await self.repository.page(query)

    async def find(self, id: str) -> EntityT | None:
        """One entity, or None."""
        return await self.repository.find(self._id(id))

    async def get(self, id: str, *, lock: bool = False) -> EntityT:
        """One entity; raises `NotFound`. `lock` keeps others from changing it until the transaction ends."""
        return await self._get(self._id(id), lock=lock)

    async def find_all(self, query: QueryOptions = BY_ID) -> list[EntityT]:
        """All entities a query has, whatever its window."""
        return await self.repository.find_all(query)

    async def find_many(self, ids: Sequence[str]) -> list[EntityT]:
        """The entities with these ids, in the order of their ids; unknown ones are left out."""
        return await self.repository.find_many([self._id(id) for id in ids])

    async def count(self, query: QueryOptions | None = None) -> int:
        """How many entities there are, or a query has."""
        return await self.repository.count(query or msgspec.structs.replace(BY_ID, count=Count.EXACT))

    async def exists(self, id: str) -> bool:
        """Whether there is such an entity."""
        return await self.repository.exists(self._id(id))

    # Changes

    async def create(self, values: Mapping[str, Any]) -> EntityT:
        """Store a new entity made of `values`; what they leave out gets its default."""
        now = self._clock()
        return await self.save(self.bodies.construct({"created_at": now, "updated_at": now, **values}))

    async def save(self, entity: EntityT) -> EntityT:
        """Store a new entity. Raises `Conflict` when its id or a unique value is taken."""
        if not self._hooks:
            # One statement is a transaction by itself.
            await self._inserted([entity], self.repository.insert(entity))
            return entity
        await self.save_all([entity])
        return entity

    async def save_all(self, entities: Sequence[EntityT]) -> Sequence[EntityT]:
        """Store new entities, all or none."""
        async with self.transactions.transaction():
            for hooks in self._hooks:
                await hooks.pre_save(entities)
            if len(entities) == 1:
                await self._inserted(entities, self.repository.insert(entities[0]))
            else:
                await self._inserted(entities, self.repository.insert_all(entities))
            for hooks in self._hooks:
                await hooks.post_save(entities)
                await self.transactions.on_commit(_later(hooks.saved, entities))
        return entities

    async def replace(self, id: str, values: Mapping[str, Any], *, is_expected: Expectation | None = None) -> EntityT:
        """Give an entity new `values`; what they leave out falls back to its default.

        Tags stay unless they are given, and so do hidden fields: a client cannot send back what it never sees.
        """
        identifier = self._id(id)
        async with self.transactions.transaction():
            before = await self._get(identifier, lock=True)
            self._check_version(before, is_expected)
            kept = {name: getattr(before, name) for name in (*self.resource.read_only, *self.resource.hidden, "tags")}
            after = self.bodies.construct({**kept, **values, "id": identifier})
            return await self._update(Change(before, after))

    async def patch(self, id: str, patch: Mapping[str, Any], *, is_expected: Expectation | None = None) -> EntityT:
        """Apply an RFC 7396 merge patch: absent members stay, null clears, objects merge."""
        identifier = self._id(id)
        async with self.transactions.transaction():
            before = await self._get(identifier, lock=True)
            self._check_version(before, is_expected)
            stored = msgspec.to_builtins(before, str_keys=True)
            values = self._merged(stored, patch)
            whole = {name: getattr(before, name) for name in self._members}
            return await self._update(Change(before, self.bodies.construct({**whole, **values})))

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove an entity; raises `NotFound`."""
        identifier = self._id(id)
        if not self._hooks and is_expected is None:
            if not await self.repository.delete([identifier]):
                raise self._missing(identifier)
            return
        async with self.transactions.transaction():
            entity = await self._get(identifier, lock=True)
            self._check_version(entity, is_expected)
            await self._delete([entity])

    async def delete_all(self, ids: Sequence[str]) -> int:
        """Remove the entities with these ids, all in one change; returns how many there were."""
        identifiers = [self._id(id) for id in ids]
        async with self.transactions.transaction():
            if not self._hooks:
                return await self.repository.delete(identifiers)
            entities = await self.repository.find_many(identifiers, lock=True)
            await self._delete(entities)
            return len(entities)

    # Steps

    def _merged(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """The new values of the fields that a patch names."""
        return self.bodies.merge(stored, patch)

    async def _get(self, identifier: str, *, lock: bool = False) -> EntityT:
        entity = await self.repository.find(identifier, lock=lock)
        if entity is None:
            raise self._missing(identifier)
        return entity

    async def _inserted(self, entities: Sequence[EntityT], writing: Awaitable[None]) -> None:
        try:
            await writing
        except Conflict as error:
            if error.extensions.get("fields") == ["id"] and len(entities) == 1:
                raise Conflict(
                    f"Entity with id {entities[0].id} already exists", extensions=error.extensions
                ) from error
            raise

    async def _update(self, change: Change[EntityT]) -> EntityT:
        if not change.fields:
            return change.before
        change.after.updated_at = version_after(change.before.updated_at, self._clock())
        change.after.created_at = change.before.created_at
        if self._hooks:
            # They may alter a list of `after` in place, which must not be the one that `before` has.
            change.after = copy.deepcopy(change.after)
        for hooks in self._hooks:
            await hooks.pre_update([change])
        values = {name: new for name, (_, new) in change.fields.items()}
        values["updated_at"] = change.after.updated_at
        if "id" in values:
            raise Invalid("The id of an entity cannot change")
        await self.repository.update(change.before.id, values)
        for hooks in self._hooks:
            await hooks.post_update([change])
            await self.transactions.on_commit(_later(hooks.updated, [change]))
        return change.after

    async def _delete(self, entities: Sequence[EntityT]) -> None:
        for hooks in self._hooks:
            await hooks.pre_delete(entities)
        await self.repository.delete([entity.id for entity in entities])
        for hooks in self._hooks:
            await hooks.post_delete(entities)
            await self.transactions.on_commit(_later(hooks.deleted, entities))

    def _check_version(self, entity: EntityT, is_expected: Expectation | None) -> None:
        if is_expected is not None and not is_expected(timestamp_text(entity.updated_at)):
            raise PreconditionFailed(f"Entity with id {entity.id} has changed since; read it again")

    def _id(self, text: str) -> str:
        identifier = parse_id(text)
        if identifier is None:
            raise InvalidId(f"Invalid ULID format: {text[:100]}")
        return identifier

    def _missing(self, identifier: str) -> NotFound:
        return NotFound(f"Entity with id {identifier} not found")


def _later(hook: Callable[[Any], Awaitable[None]], entities: Any) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await hook(entities)

    return run
