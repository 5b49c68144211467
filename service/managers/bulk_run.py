"""One request of many changes: planned against what is stored, written as sets, each bad item found and left out."""

import copy
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from domain.bulk import BulkCounts, BulkItem, BulkOptions, ItemResult, OnConflict, Op, Outcome, placed
from domain.errors import Conflict, InvalidBody, PreconditionFailed, ServiceError, Unavailable
from service.managers.hooks import Change
from service.managers.steps import EntityT, Steps, id_taken

WorkT = TypeVar("WorkT")

# How often an item may find that somebody else has just created what it wants to create or update.
_ROUNDS = 3


class Undone(Exception):
    """Leaves a transaction that is not to be kept."""


class _Plan(Generic[EntityT]):
    """What is to be done to what is stored, each with the item that asked for it."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.removed: list[tuple[BulkItem, EntityT]] = []
        self.changed: list[tuple[BulkItem, Change[EntityT]]] = []
        self.new: list[tuple[BulkItem, EntityT]] = []


class BulkRun(Generic[EntityT]):
    """One request, of one or more batches; `apply` is called inside of a transaction.

    Items of a batch are a set: what it deletes is gone before anything changes, and that before anything is created.
    Only an id that comes again begins another set.
    """

    def __init__(self, steps: Steps[EntityT], options: BulkOptions) -> None:
        self.steps = steps
        self.options = options
        self.counts = BulkCounts()
        self._results: dict[int, ItemResult] = {}

    async def apply(self, items: Sequence[BulkItem]) -> list[ItemResult]:
        """Carry out a batch. Raises `Conflict` when more would be changed than `max_affected`."""
        self._results = {}
        for item in items:
            if item.error is not None:
                self._fail(item, item.error)
        for batch in self._batches(items):
            await self._carry_out(batch)
        results = [self._results[item.index] for item in items]
        counts = copy.copy(self.counts)
        counts.add(results)
        self._check_affected(counts.affected)
        self.counts = counts
        return results

    def _batches(self, items: Sequence[BulkItem]) -> Iterator[list[BulkItem]]:
        most = self.steps.most_at_once
        batch: list[BulkItem] = []
        seen: set[str] = set()
        for item in items:
            if item.error is not None:
                continue
            if batch and (item.id in seen or len(batch) == most):
                yield batch
                batch, seen = [], set()
            batch.append(item)
            if item.id is not None:
                seen.add(item.id)
        if batch:
            yield batch

    def _check_affected(self, affected: int) -> None:
        most = self.options.max_affected
        if most is not None and affected > most:
            raise Conflict(
                f"{affected} entities would be changed, and max_affected is {most}",
                extensions={"affected": affected, "max_affected": most},
            )

    async def _carry_out(self, items: list[BulkItem]) -> None:
        for _ in range(_ROUNDS):
            plan = await self._planned(items)
            await self._each(plan.removed, self._remove)
            await self._each(plan.changed, self._update)
            lost: list[BulkItem] = []
            await self._each(plan.new, self._insert, lost)
            items = lost
            if not items:
                return
        for item in items:
            self._fail(item, Conflict("Another change of the same data came first; try again"))

    # What is to be done

    async def _planned(self, items: Sequence[BulkItem]) -> _Plan[EntityT]:
        is_blind = self.options.on_conflict is OnConflict.ERROR
        ids = [item.id for item in items if item.id is not None and not (is_blind and item.op is Op.CREATE)]
        stored = {each.id: each for each in await self.steps.repository.find_many(ids, lock=True)} if ids else {}
        plan: _Plan[EntityT] = _Plan(self.steps.now())
        for item in items:
            try:
                self._plan(item, stored.get(item.id) if item.id is not None else None, plan)
            except ServiceError as error:
                self._fail(item, error)
        return plan

    def _plan(self, item: BulkItem, before: EntityT | None, plan: _Plan[EntityT]) -> None:
        if item.op in {Op.UPDATE, Op.DELETE} and before is None:
            raise self.steps.missing(item.id or "")
        if before is None:
            if item.is_expected is not None:
                raise PreconditionFailed(f"There is no entity with id {item.id} to be in that version")
            plan.new.append((item, self.steps.new(item.values, plan.now)))
            return
        self.steps.check_version(before, item.is_expected)
        if item.op is Op.DELETE:
            plan.removed.append((item, before))
        elif item.op is Op.CREATE and self.options.on_conflict is OnConflict.SKIP:
            self._done(item, Outcome.SKIPPED, before)
        else:
            whole = self.steps.new(item.values, plan.now) if item.is_whole else None
            change = Change(before, whole) if whole is not None else self.steps.patched(before, item.patch)
            if change.fields:
                plan.changed.append((item, change))
            else:
                self._done(item, Outcome.UNCHANGED, before)

    # How it is done

    async def _each(
        self,
        work: Sequence[tuple[BulkItem, WorkT]],
        step: Callable[..., Awaitable[None]],
        lost: list[BulkItem] | None = None,
    ) -> None:
        """All of it by one `step`, or without those items that keep it from succeeding, found by halving."""
        if not work:
            return
        try:
            async with self.steps.transactions.transaction():
                await step(work)
        except Unavailable:
            raise
        except ServiceError as error:
            rest = await self._without_taken(work, error, lost) if lost is not None else None
            if rest is not None:
                await self._each(rest, step, lost)
            elif len(work) == 1:
                self._fail(work[0][0], error)
            else:
                half = len(work) // 2
                await self._each(work[:half], step, lost)
                await self._each(work[half:], step, lost)

    async def _remove(self, work: Sequence[tuple[BulkItem, EntityT]]) -> None:
        await self.steps.remove([entity for _, entity in work])
        for item, entity in work:
            self._results[item.index] = ItemResult(index=item.index, outcome=Outcome.DELETED, id=entity.id)

    async def _update(self, work: Sequence[tuple[BulkItem, Change[EntityT]]]) -> None:
        changes = [Change(change.before, change.after) for _, change in work]
        await self.steps.update(changes)
        for (item, _), change in zip(work, changes, strict=True):
            self._done(item, Outcome.UPDATED, change.after)

    async def _insert(self, work: Sequence[tuple[BulkItem, EntityT]]) -> None:
        entities = self._fresh(work)
        await self.steps.insert(entities)
        for (item, _), entity in zip(work, entities, strict=True):
            self._done(item, Outcome.CREATED, entity)

    def _fresh(self, work: Sequence[tuple[BulkItem, EntityT]]) -> list[EntityT]:
        """The entities as they were planned, whatever hooks make of them in an attempt that is undone."""
        return [_copy(entity) if self.steps.has_hooks else entity for _, entity in work]

    async def _without_taken(self, work: Sequence[Any], error: ServiceError, lost: list[BulkItem]) -> list[Any] | None:
        """Those whose id and unique values are free, in one attempt for all; None when that explains nothing."""
        if error.extensions.get("constraint") != "unique":
            return None
        if len(work) == 1:
            item, entity = work[0]
            self._lose(item, entity, error.extensions.get("fields", []), lost)
            return []
        found = await self._free(work)
        if found is None or len(found[0]) == len(work):
            return None
        free, taken = found
        for item, entity in work:
            if entity.id not in free:
                self._lose(item, entity, taken.get(entity.id, []), lost)
        return [(item, entity) for item, entity in work if entity.id in free]

    async def _free(self, work: Sequence[tuple[BulkItem, EntityT]]) -> tuple[set[str], dict[str, list[str]]] | None:
        entities = self._fresh(work)
        try:
            async with self.steps.transactions.transaction():
                free = await self.steps.insert_free(entities)
                taken = await self.steps.repository.taken([each for each in entities if each.id not in free])
                raise Undone
        except Undone:
            return free, taken
        except Unavailable:
            raise
        except ServiceError:
            # Something else is wrong besides.
            return None

    def _lose(self, item: BulkItem, entity: EntityT, fields: list[str], lost: list[BulkItem]) -> None:
        on_conflict = self.options.on_conflict
        if item.op is Op.CREATE and on_conflict is OnConflict.SKIP:
            self._results[item.index] = ItemResult(index=item.index, outcome=Outcome.SKIPPED, id=item.id)
        elif "id" in fields and (item.op is Op.UPSERT or on_conflict is OnConflict.UPDATE):
            lost.append(item)
        else:
            self._fail(item, _taken(entity.id, fields))

    # What became of it

    def _done(self, item: BulkItem, outcome: Outcome, entity: EntityT) -> None:
        self._results[item.index] = ItemResult(
            index=item.index, outcome=outcome, id=entity.id, version=entity.updated_at
        )

    def _fail(self, item: BulkItem, error: ServiceError) -> None:
        if error is not item.error and isinstance(error, InvalidBody):
            error = placed(error, (*item.place, "data"))
        self._results[item.index] = ItemResult(index=item.index, outcome=Outcome.FAILED, id=item.id, error=error)


def _copy(entity: EntityT) -> EntityT:
    given = {name: getattr(entity, name) for name in entity.__struct_fields__}
    mutable = {name: value for name, value in given.items() if isinstance(value, list | dict | set | msgspec.Struct)}
    return msgspec.structs.replace(entity, **copy.deepcopy(mutable))


def _taken(id: str, fields: list[str]) -> Conflict:
    if "id" in fields:
        # With the id everything else of an entity is taken, too.
        return id_taken(id, Conflict("", extensions={"constraint": "unique", "fields": ["id"]}))
    named = ", ".join(f'"{field}"' for field in fields)
    return Conflict(
        f"The value of {named} is already taken" if named else "A unique value is already taken",
        extensions={"constraint": "unique", **({"fields": fields} if fields else {})},
    )
