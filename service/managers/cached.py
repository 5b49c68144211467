"""The hook that keeps single entities, so that whoever asks for one by its id need not wait for the database."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from domain.caching import group_name, group_of
from domain.computations import Lifetime
from domain.entity import Entity
from domain.errors import Misconfigured
from service.managers.computations import Computations
from service.managers.hooks import Change, EntityT, Hooks, Reading, ResultT

# Each of them has a generation of its own in the database.
MOST_GROUPS = 64


class Cached(Hooks[EntityT]):
    """Keeps what `get`, `find` and `document` of a manager return, also that there is no such entity.

    After a change of its table, however it was made, nothing that was kept is found. With `groups`, entities are in so
    many of them, and a change concerns its own only; but it has to be made by the manager, for nobody else tells.
    `cache` and `table` are known to the service: `with_crud(…, hooks=[Cached(ttl_seconds=60)])` will do.
    """

    def __init__(
        self, cache: Computations | None = None, *, ttl_seconds: float = 60.0, table: str = "", groups: int = 0
    ) -> None:
        self._cache = cache
        self.lifetime = Lifetime(ttl_seconds=ttl_seconds)
        self.lifetime.check()
        if not 0 <= groups <= MOST_GROUPS:
            raise Misconfigured(f"Cached(groups={groups}): use a number from 0 to {MOST_GROUPS}")
        self._table = table
        self.groups = groups

    def bound(self, cache: Computations, table: str) -> "Cached[EntityT]":
        """The same for one running service."""
        return Cached(cache, ttl_seconds=self.lifetime.ttl_seconds, table=table, groups=self.groups)

    async def around_read(self, reading: Reading, load: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """What is kept, or else what `load` returns."""
        if self._cache is None:
            return await load()
        fields = "" if reading.fields is None else ",".join(reading.fields)
        key = f"{reading.kind.__name__}:{self._table}/{reading.id}?{fields}"
        tags = [self._group(reading.id)] if self.groups else [self._table]
        answer = await self._cache.look_up(key, load, kind=reading.kind, lifetime=self.lifetime, tags=tags)
        found: ResultT = answer.value
        return found

    async def post_save(self, entities: Sequence[EntityT]) -> None:
        """It may be kept that there are no such entities."""
        await self._forget(entities)

    async def post_update(self, changes: Sequence[Change[EntityT]]) -> None:
        """They are not as they were."""
        await self._forget([change.after for change in changes])

    async def post_delete(self, entities: Sequence[EntityT]) -> None:
        """They are not there any more."""
        await self._forget(entities)

    async def _forget(self, entities: Sequence[Entity]) -> None:
        if self._cache is not None and self.groups:
            await self._cache.invalidate(*sorted({self._group(entity.id) for entity in entities}))

    def _group(self, id: str) -> str:
        return group_name(self._table, group_of(id, self.groups))


def bound(hooks: Sequence[Hooks[Any]], cache: Computations | None, table: str) -> tuple[Hooks[Any], ...]:
    """The same hooks for one running service."""
    if cache is None:
        return tuple(hooks)
    return tuple([item.bound(cache, table) if isinstance(item, Cached) else item for item in hooks])
