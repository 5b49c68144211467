"""What a user (or a built-in feature) can attach to the changes of a resource."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from domain.entity import SERVER_MANAGED, Entity

EntityT = TypeVar("EntityT", bound=Entity)
ResultT = TypeVar("ResultT")


class Reading(msgspec.Struct, frozen=True):
    """One entity is asked for: as a `kind` of thing, with all `fields` or some."""

    id: str
    kind: type
    fields: Sequence[str] | None = None


class Change(msgspec.Struct, Generic[EntityT]):
    """An entity before and after an update. `pre_update` may still alter `after`."""

    before: EntityT
    after: EntityT

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The fields that differ, each with its old and its new value; the service's own timestamps do not count."""
        return {
            name: (old, new)
            for name in self.before.__struct_fields__
            if name not in SERVER_MANAGED and (old := getattr(self.before, name)) != (new := getattr(self.after, name))
        }


class Hooks(Generic[EntityT]):
    """Override what you need; every method gets all entities of one change at once, be it one or a thousand.

    `pre_…` and `post_…` run inside of the change's transaction, before and after the write: what they write belongs
    to the change, and an error they raise undoes it. `saved`, `updated` and `deleted` run after the commit, for
    effects on the outside world; their errors are logged and change nothing.
    `domain.context.current_context()` tells who acts, in which request.
    """

    async def around_read(self, reading: Reading, load: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """One entity is about to be read by `load`, or something else given for it."""
        return await load()

    async def pre_save(self, entities: Sequence[EntityT]) -> None:
        """New entities are about to be stored; they may be altered."""

    async def post_save(self, entities: Sequence[EntityT]) -> None:
        """New entities are stored."""

    async def saved(self, entities: Sequence[EntityT]) -> None:
        """New entities are committed."""

    async def pre_update(self, changes: Sequence[Change[EntityT]]) -> None:
        """Entities are about to be changed; `after` may be altered."""

    async def post_update(self, changes: Sequence[Change[EntityT]]) -> None:
        """Entities are changed."""

    async def updated(self, changes: Sequence[Change[EntityT]]) -> None:
        """Changes are committed."""

    async def pre_delete(self, entities: Sequence[EntityT]) -> None:
        """Entities are about to be removed."""

    async def post_delete(self, entities: Sequence[EntityT]) -> None:
        """Entities are removed."""

    async def deleted(self, entities: Sequence[EntityT]) -> None:
        """Removals are committed."""
