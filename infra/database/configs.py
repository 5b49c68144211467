"""Where configurations are kept, and which trees of artifacts belong to them."""

from collections.abc import Sequence

from piccolo.columns import JSONB, BigSerial, Varchar
from piccolo.table import Table

from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.query import Arguments
from infra.database.table import EntityTable, Ulid

_CONFIGS, _LINKS = "millrace_configs", "millrace_config_artifacts"


class Configs(EntityTable, tablename=_CONFIGS):
    """One row per configuration."""

    name = Varchar(length=255)
    data = JSONB()


class ConfigArtifacts(Table, tablename=_LINKS, db=CURRENT_ENGINE):
    """The links from configurations to roots of artifacts; one root belongs to one configuration at most."""

    id = BigSerial(primary_key=True)
    config_id = Ulid(index=True)
    artifact_id = Ulid(unique=True)


class ConfigLinks:
    """`domain.ports.ConfigLinks`."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine

    def _bound(self, *values: str) -> tuple[Arguments, list[str]]:
        arguments = Arguments(self._engine.dialect)
        return arguments, [arguments.bind(value) for value in values]

    async def link(self, config_id: str, artifact_id: str) -> None:
        """Link a root to a configuration that is there. Raises `Conflict` when it belongs to one already."""
        arguments, (artifact, config) = self._bound(artifact_id, config_id)
        sql = f"INSERT INTO {_LINKS} (config_id, artifact_id) SELECT id, {artifact} FROM {_CONFIGS} WHERE id = {config}"
        await self._engine.execute(sql, *arguments.values)

    async def unlink(self, config_id: str, artifact_id: str) -> bool:
        """Take a link away; says whether there was one."""
        arguments, (config, artifact) = self._bound(config_id, artifact_id)
        sql = f"DELETE FROM {_LINKS} WHERE config_id = {config} AND artifact_id = {artifact} RETURNING 1"
        return bool(await self._engine.fetch(sql, *arguments.values))

    async def artifact_ids(self, config_id: str) -> list[str]:
        """The roots that belong to a configuration."""
        arguments, (config,) = self._bound(config_id)
        sql = f"SELECT artifact_id FROM {_LINKS} WHERE config_id = {config} ORDER BY artifact_id"
        return [id for (id,) in await self._engine.fetch(sql, *arguments.values)]

    async def config_id(self, artifact_id: str) -> str | None:
        """The configuration that a root belongs to."""
        arguments, (artifact,) = self._bound(artifact_id)
        rows = await self._engine.fetch(
            f"SELECT config_id FROM {_LINKS} WHERE artifact_id = {artifact}", *arguments.values
        )
        return rows[0][0] if rows else None

    async def forget(self, artifact_ids: Sequence[str]) -> None:
        """Take away the links of artifacts that are gone."""
        if artifact_ids:
            arguments = Arguments(self._engine.dialect)
            gone = self._engine.dialect.any_of("artifact_id", list(artifact_ids), arguments.bind)
            await self._engine.execute(f"DELETE FROM {_LINKS} WHERE {gone}", *arguments.values)
