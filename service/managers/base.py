"""What happens to the entities of a resource: reads, and changes that are one transaction each."""

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from domain.bulk import BulkCounts, BulkItem, BulkOperationResult, BulkOptions, ItemResult, created, summary
from domain.ports import Document, Listing
from domain.query import BY_ID, Count, QueryOptions
from service.managers.bulk import BulkOutcome, bulk, bulk_stream
from service.managers.hooks import Change, Reading
from service.managers.steps import EntityT, Expectation, Steps

__all__ = ["Expectation", "Manager"]

BULK_DEFAULTS = BulkOptions()


class Manager(Steps[EntityT]):
    """The operations on one resource.

    Methods raise `NotFound`, `InvalidId`, `Conflict`, `PreconditionFailed`, `InvalidBody` and `Unavailable`.
    Every change runs in one transaction together with its hooks, in the order the hooks were given.
    """

    # Reads

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """One entity as JSON, with the named fields or all readable ones."""
        identifier = self._id(id)
        load = partial(self.repository.document, identifier, fields)
        document = await (self._read(Reading(identifier, Document, fields), load) if self._readers else load())
        if document is None:
            raise self.missing(identifier)
        return document

    async def page(self, query: QueryOptions) -> Listing:
        """What a query asks for, as JSON."""
        return await self.repository.page(query)

    async def find(self, id: str) -> EntityT | None:
        """One entity, or None."""
        return await self._find(self._id(id))

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
        return await self.save(self.new(values, self.now()))

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
            await self.insert(entities)
        return entities

    async def bulk(self, items: Sequence[BulkItem], options: BulkOptions) -> BulkOutcome:
        """Carry out many changes in one transaction, as sets. Raises `Conflict` beyond `max_affected`."""
        return await bulk(self, items, options)

    async def bulk_stream(
        self,
        chunks: AsyncIterable[Sequence[BulkItem]],
        options: BulkOptions,
        report: Callable[[Sequence[ItemResult]], None],
    ) -> tuple[BulkCounts, bool]:
        """The same for any number of changes, as they come; `report` is told of each chunk.

        Returns how many had which outcome, and whether what succeeded was kept.
        """
        return await bulk_stream(self, chunks, options, report)

    async def save_all_bulk(
        self, entities: Sequence[EntityT], options: BulkOptions = BULK_DEFAULTS
    ) -> BulkOperationResult:
        """Store many new entities. An atomic one with a bad entity stores none, and says so by `succeeded`."""
        outcome = await bulk(self, [created(entity, index) for index, entity in enumerate(entities)], options)
        return summary(outcome.results, is_kept=outcome.is_kept or options.dry_run)

    async def replace(self, id: str, values: Mapping[str, Any], *, is_expected: Expectation | None = None) -> EntityT:
        """Give an entity new `values`; what they leave out falls back to its default.

        Tags stay unless they are given, and so do hidden fields: a client cannot send back what it never sees.
        """
        identifier = self._id(id)
        async with self.transactions.transaction():
            before = await self._get(identifier, lock=True)
            self.check_version(before, is_expected)
            kept = {name: getattr(before, name) for name in (*self.resource.read_only, *self.resource.hidden, "tags")}
            after = self.bodies.construct({**kept, **values, "id": identifier})
            return await self._update(Change(before, after))

    async def patch(self, id: str, patch: Mapping[str, Any], *, is_expected: Expectation | None = None) -> EntityT:
        """Apply an RFC 7396 merge patch: absent members stay, null clears, objects merge."""
        identifier = self._id(id)
        async with self.transactions.transaction():
            before = await self._get(identifier, lock=True)
            self.check_version(before, is_expected)
            return await self._update(self.patched(before, patch))

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove an entity; raises `NotFound`."""
        identifier = self._id(id)
        if not self._hooks and is_expected is None:
            if not await self.repository.delete([identifier]):
                raise self.missing(identifier)
            return
        async with self.transactions.transaction():
            entity = await self._get(identifier, lock=True)
            self.check_version(entity, is_expected)
            await self.remove([entity])

    async def delete_all(self, ids: Sequence[str]) -> int:
        """Remove the entities with these ids, all in one change; returns how many there were."""
        identifiers = [self._id(id) for id in ids]
        async with self.transactions.transaction():
            if not self._hooks:
                return await self.repository.delete(identifiers)
            entities = await self.repository.find_many(identifiers, lock=True)
            await self.remove(entities)
            return len(entities)

    async def _update(self, change: Change[EntityT]) -> EntityT:
        if not change.fields:
            return change.before
        await self.update([change])
        return change.after
