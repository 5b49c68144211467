"""What happens to models, which are addressed by their ids or by their names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from domain.entity import parse_id
from domain.errors import Conflict, NotFound
from domain.model_versions import MODELS, Model, ModelVersion, VersionStatus
from domain.ports import AliasHistory, Document, Repository, Transactions
from domain.query import BY_ID, AllOf, Comparison, Operator, QueryOptions, Resource
from domain.validation import problem, rejected
from service.managers.base import Expectation, Manager
from service.managers.hooks import Change, Hooks

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_MOST_NAMED = 10


class ModelManager(Manager[Model]):
    """The models of a service. Wherever the methods of `Manager` take an id, these take a name as well."""

    def __init__(
        self,
        repository: Repository[Model],
        versions: Repository[ModelVersion],
        history: AliasHistory,
        transactions: Transactions,
        resource: Resource[Model] = MODELS,
    ) -> None:
        super().__init__(resource, repository, transactions, hooks=[_Named(), _Going(versions, history)])

    async def find(self, id: str) -> Model | None:
        """A model, or None."""
        if (identifier := parse_id(id)) is not None:
            return await self.repository.find(identifier)
        if _NAME.fullmatch(id) is None:
            return None
        found = await self.repository.find_all(where(name=id))
        return found[0] if found else None

    async def get(self, id: str, *, lock: bool = False) -> Model:
        """A model. `lock` keeps others from changing it, its aliases and the number of its versions."""
        model = await self.find(id)
        if model is None:
            raise NotFound(f'There is no model "{id[:100]}"')
        return await self._get(model.id, lock=True) if lock else model

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """A model as JSON."""
        return await super().document((await self.get(id)).id, fields)

    async def exists(self, id: str) -> bool:
        """Whether there is such a model."""
        return await self.find(id) is not None

    async def replace(self, id: str, values: Mapping[str, Any], *, is_expected: Expectation | None = None) -> Model:
        """Give a model a new name and description."""
        return await super().replace((await self.get(id)).id, values, is_expected=is_expected)

    async def patch(self, id: str, patch: Mapping[str, Any], *, is_expected: Expectation | None = None) -> Model:
        """Apply a merge patch."""
        return await super().patch((await self.get(id)).id, patch, is_expected=is_expected)

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove a model with its versions. Raises `Conflict` while any of them is needed."""
        await super().delete((await self.get(id)).id, is_expected=is_expected)


class _Named(Hooks[Model]):
    """Keeps names from being ids."""

    async def pre_save(self, entities: Sequence[Model]) -> None:
        for model in entities:
            self._check(model.name)

    async def pre_update(self, changes: Sequence[Change[Model]]) -> None:
        for change in changes:
            self._check(change.after.name)

    def _check(self, name: str) -> None:
        if parse_id(name) is not None:
            raise rejected(
                [problem("value_error", "a name cannot be a ULID, for that would be an id", ("name",), name)]
            )


class _Going(Hooks[Model]):
    """Takes versions and aliases along with their model, if nobody needs them."""

    def __init__(self, versions: Repository[ModelVersion], history: AliasHistory) -> None:
        self._versions = versions
        self._history = history

    async def pre_delete(self, entities: Sequence[Model]) -> None:
        ids = [model.id for model in entities]
        names = {model.id: model.name for model in entities}
        for move in await self._history.latest(ids):
            if move.version is not None:
                raise Conflict(
                    f"Model {names[move.model_id]} cannot be deleted: its alias {move.alias} points to version "
                    f"{move.version}; delete its aliases first"
                )
        for model in entities:
            await self._check_versions(model)
        await self._history.forget(ids)

    async def _check_versions(self, model: Model) -> None:
        found = await self._versions.find_all(where(model_id=model.id))
        used = [str(version.number) for version in found if version.status is not VersionStatus.ARCHIVED]
        if used:
            more = "…" if len(used) > _MOST_NAMED else ""
            named = ", ".join(used[:_MOST_NAMED]) + more
            raise Conflict(f"Model {model.name} cannot be deleted: archive its versions first (not archived: {named})")


def where(**values: Any) -> QueryOptions:
    """The query for entities whose fields have these values; of a tuple one."""
    parts = tuple(
        Comparison(name, Operator.IN if isinstance(value, tuple) else Operator.EQ, value)
        for name, value in values.items()
    )
    return QueryOptions(sort=BY_ID.sort, filter=AllOf(parts))
