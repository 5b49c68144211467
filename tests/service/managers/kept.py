"""Configurations and artifacts as their managers have them, with a way past these into the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.configs import BaseConfig
from domain.hierarchy import ArtifactHierarchy
from domain.registration import ServiceInfo
from infra.database.engine import DatabaseEngine
from service.builder import ServiceBuilder
from service.container import open_container
from service.managers.artifacts import ArtifactManager
from service.managers.configs import ConfigManager
from service.settings import Settings


class Options(BaseConfig):
    """What can be told, one of it under another name."""

    n_lags: int = msgspec.field(default=2, name="n-lags")


def builder(url: str) -> ServiceBuilder:
    """A service that has nothing else."""
    return (
        ServiceBuilder(info=ServiceInfo(id="kept", display_name="Kept"))
        .with_database(url)
        .with_config(Options)
        .with_artifacts(ArtifactHierarchy("kept", {0: "top"}), enable_config_linking=True)
    )


class Kept:
    """The managers of a service, opened."""

    def __init__(self, configs: ConfigManager, artifacts: ArtifactManager, engine: DatabaseEngine) -> None:
        self.configs = configs
        self.artifacts = artifacts
        self.engine = engine

    async def make(self, parent: Artifact | None = None, **more: Any) -> Artifact:
        """A new artifact."""
        return await self.artifacts.create({"data": {}, "parent_id": parent.id if parent else None, **more})

    async def config(self) -> str:
        """A new configuration."""
        return (await self.configs.create({"name": "c", "data": {}})).id

    async def wrong(self) -> list[str]:
        """What is wrong with the trees and the links that are in the database."""
        rows = await self.engine.fetch("SELECT id, parent_id, level, root_id FROM millrace_artifacts")
        parents = {row[0]: row[1] for row in rows}
        found: list[str] = []
        for id, parent, level, root in rows:
            if parent is not None and parent not in parents:
                found.append(f"{id} has a parent that is gone")
                continue
            path = [id]
            while (above := parents.get(path[-1])) is not None and above not in path:
                path.append(above)
            if above is not None:
                found.append(f"{id} is its own ancestor")
            elif (level, root) != (len(path) - 1, path[-1]):
                found.append(f"{id} is on level {level} of {root}, not on level {len(path) - 1} of {path[-1]}")
        configs = {row[0] for row in await self.engine.fetch("SELECT id FROM millrace_configs")}
        for config, artifact in await self.engine.fetch("SELECT config_id, artifact_id FROM millrace_config_artifacts"):
            if config not in configs or artifact not in parents or parents[artifact] is not None:
                found.append(f"the link from {config} to {artifact}")
        return found


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Kept]:
    """The managers on an empty database."""
    settings = Settings(storage_folder=folder / "storage", temporary_folder=folder / "scratch")
    app = builder(url).build(settings)
    async with open_container(app.settings, app.design) as container:
        assert container.modelling is not None
        assert container.database is not None
        yield Kept(container.modelling.configs, container.modelling.artifacts, container.database)
