"""What happens to configurations: they are checked by the author's type, and trees of artifacts belong to them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from domain.configs import Config, ConfigSchema
from domain.errors import Conflict, Invalid, NotFound
from domain.ports import ConfigLinks, Repository, Transactions
from domain.query import BY_ID, Resource
from service.managers.artifacts import ArtifactManager
from service.managers.base import Expectation, Manager
from service.managers.hooks import Change, Hooks

DEFAULT_MOST = 100_000


class ConfigManager(Manager[Config]):
    """The configurations of a service. Methods raise what those of `Manager` raise."""

    def __init__(
        self,
        resource: Resource[Config],
        repository: Repository[Config],
        transactions: Transactions,
        links: ConfigLinks,
        schema: ConfigSchema,
        artifacts: ArtifactManager | None = None,
        *,
        most: int = DEFAULT_MOST,
    ) -> None:
        hooks: list[Hooks[Config]] = [_Limited(repository, most), _Checked(schema), _Cascade(links, artifacts)]
        super().__init__(resource, repository, transactions, hooks=hooks)
        self.schema = schema
        self._links = links
        self._artifacts = artifacts

    @property
    def artifacts(self) -> ArtifactManager:
        """The artifacts that may belong to configurations."""
        assert self._artifacts is not None
        return self._artifacts

    async def link(self, id: str, artifact_id: str) -> None:
        """Have a tree of artifacts belong to a configuration. Raises `Invalid` for what is no root."""
        async with self.artifacts.trees.growing():
            config = await self.get(id)
            artifact = await self.artifacts.find(artifact_id)
            if artifact is None:
                raise Invalid(f"Artifact {artifact_id} not found")
            if artifact.parent_id is not None:
                raise Invalid(f"Artifact {artifact.id} is not a root artifact (parent_id={artifact.parent_id})")
            await self._links.link(config.id, artifact.id)

    async def unlink(self, id: str, artifact_id: str) -> None:
        """Have a tree no longer belong to a configuration. Raises `NotFound` when it does not."""
        identifier, artifact = self._id(id), self._id(artifact_id)
        # Who is told that a tree is free must not see it go with the configuration.
        async with self.artifacts.trees.growing():
            if not await self._links.unlink(identifier, artifact):
                raise NotFound(f"Artifact {artifact} is not linked to config {identifier}")

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove a configuration and the trees that belong to it."""
        async with self.changing():
            await super().delete(id, is_expected=is_expected)

    async def delete_all(self, ids: Sequence[str]) -> int:
        """Remove configurations and the trees that belong to them."""
        async with self.changing():
            return await super().delete_all(ids)

    def _merged(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(data := patch.get("data"), Mapping):
            known, sent = self.schema.aligned(stored["data"], data)
            return super()._merged({**stored, "data": known}, {**patch, "data": sent})
        return super()._merged(stored, patch)

    def changing(self) -> AbstractAsyncContextManager[Any]:
        """A transaction in which trees may go with their configurations."""
        return super().changing() if self._artifacts is None else self._artifacts.trees.reshaping()

    async def linked(self, id: str) -> list[bytes]:
        """The artifacts that belong to a configuration, as JSON with their content."""
        found: list[bytes] = []
        for artifact in await self._links.artifact_ids(self._id(id)):
            # It may have been removed since.
            with suppress(NotFound):
                found.append((await self.artifacts.document(artifact)).json)
        return found

    async def of_artifact(self, artifact_id: str) -> Config:
        """The configuration that the tree of an artifact belongs to. Raises `NotFound`."""
        root = await self.artifacts.root_of(artifact_id)
        config_id = await self._links.config_id(root)
        config = await self.find(config_id) if config_id is not None else None
        if config is None:
            raise NotFound(f"No config is linked to artifact {artifact_id}")
        return config


class _Limited(Hooks[Config]):
    """Keeps clients that make a configuration for each of their runs from filling the disk."""

    def __init__(self, repository: Repository[Config], most: int) -> None:
        self._repository = repository
        self._most = most

    async def pre_save(self, entities: Sequence[Config]) -> None:
        count = await self._repository.count(BY_ID)
        if count + len(entities) > self._most:
            raise Conflict(f"There are {count} configurations, and at most {self._most} may be: delete some")


class _Checked(Hooks[Config]):
    """Keeps what the author's type refuses out of the database, and fills in its defaults."""

    def __init__(self, schema: ConfigSchema) -> None:
        self._schema = schema

    async def pre_save(self, entities: Sequence[Config]) -> None:
        for config in entities:
            config.data = self._schema.stored(config.data)

    async def pre_update(self, changes: Sequence[Change[Config]]) -> None:
        for change in changes:
            change.after.data = self._schema.stored(change.after.data)


class _Cascade(Hooks[Config]):
    """Takes the trees of artifacts along that belong to a configuration."""

    def __init__(self, links: ConfigLinks, artifacts: ArtifactManager | None) -> None:
        self._links = links
        self._artifacts = artifacts

    async def pre_delete(self, entities: Sequence[Config]) -> None:
        if self._artifacts is None:
            return
        for config in entities:
            await self._artifacts.trees.delete(await self._links.artifact_ids(config.id))
