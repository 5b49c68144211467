"""Puts together what a service with a model has: configurations, artifacts, and the model itself."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.configs import Config, ConfigSchema
from domain.hierarchy import ArtifactHierarchy
from domain.job_ports import RunHooks
from domain.ml import PREDICT, TRAIN, Period
from domain.models import ModelRunner
from domain.query import Resource
from domain.registration import MLServiceInfo
from domain.storage import Storage
from infra.database.artifacts import ArtifactRows, Artifacts
from infra.database.configs import ConfigLinks, Configs
from infra.database.engine import DatabaseEngine
from infra.database.repository import PiccoloRepository
from infra.database.table import bounds_of
from infra.runners.models.tasks import validate
from infra.runners.modules import Module
from infra.runners.process import ProcessRunner
from infra.storage.local import LocalStorage
from infra.storage.scratch import Scratch
from service.managers.artifacts import ArtifactManager
from service.managers.configs import ConfigManager
from service.managers.jobs import Jobs
from service.managers.ml import Models
from service.managers.model_runs import ModelRuns
from service.managers.modelling import Modelling

# Whatever is put into storage is done with it long before.
_LEFT_BEHIND = timedelta(hours=24)


class ModelDesign(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a service: its runner, the same packed for another process, and the modules that this needs."""

    runner: ModelRunner
    program: bytes
    modules: tuple[Module, ...]
    info: MLServiceInfo
    start_method: str = "auto"


class ModellingDesign(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_config`, `with_artifacts` and `with_ml` were told, each None without it."""

    configs: Resource[Config] | None = None
    schema: ConfigSchema | None = None
    artifacts: Resource[Artifact] | None = None
    hierarchy: ArtifactHierarchy | None = None
    model: ModelDesign | None = None


class OpenedModelling:
    """The managers that need no jobs, and what surrounds the jobs of the model."""

    def __init__(
        self,
        engine: DatabaseEngine,
        design: ModellingDesign,
        storage: Storage,
        scratch: Scratch,
        secret: bytes,
        code_revision: str | None,
    ) -> None:
        self._design = design
        self._storage = storage
        self._scratch = scratch
        self._processes: ProcessRunner | None = None
        links = ConfigLinks(engine)
        self.artifacts = _artifacts(engine, design, storage, links)
        self.configs = _configs(engine, design, links, self.artifacts)
        self._runs: ModelRuns | None = None
        if design.model is not None:
            assert self.configs is not None
            assert self.artifacts is not None
            self._runs = ModelRuns(
                design.model.program,
                self.configs,
                self.artifacts,
                storage,
                scratch,
                secret,
                bounds=Period(design.model.info.min_prediction_periods, design.model.info.max_prediction_periods),
                code_revision=code_revision,
            )

    @property
    def hooks(self) -> Mapping[str, RunHooks]:
        """What surrounds the jobs of the model, by kind."""
        return {} if self._runs is None else {TRAIN: self._runs, PREDICT: self._runs}

    @property
    def managers(self) -> dict[str, Any]:
        """Those that are read and changed as resources are, by name."""
        found = (self.configs, self.artifacts)
        return {manager.resource.name: manager for manager in found if manager is not None}

    def with_jobs(self, jobs: Jobs | None) -> Modelling:
        """Everything, now that there are jobs."""
        models = None
        model = self._design.model
        if model is not None and self._runs is not None and jobs is not None:
            assert self.configs is not None
            assert self.artifacts is not None
            self._processes = ProcessRunner([validate], modules=model.modules, start_method=model.start_method)
            models = Models(
                model.runner,
                model.program,
                model.info,
                self.configs,
                self.artifacts,
                jobs,
                self._runs,
                self._storage,
                self._scratch,
                self._processes,
                validate,
            )
        return Modelling(opened_configs=self.configs, opened_artifacts=self.artifacts, opened_models=models)

    async def close(self) -> None:
        """End the processes that have answered questions."""
        if self._processes is not None:
            await self._processes.stop()


@asynccontextmanager
async def open_modelling(
    engine: DatabaseEngine,
    design: ModellingDesign,
    *,
    storage: Path,
    scratch: Path,
    secret: bytes,
    code_revision: str | None,
) -> AsyncIterator[OpenedModelling]:
    """Open the storage and the managers, and remove what earlier runs have left behind."""
    store, room = LocalStorage(storage), Scratch(scratch)
    await store.sweep(_LEFT_BEHIND)
    await room.sweep()
    opened = OpenedModelling(engine, design, store, room, secret, code_revision)
    try:
        yield opened
    finally:
        await opened.close()
        await room.close()


def _artifacts(
    engine: DatabaseEngine, design: ModellingDesign, storage: Storage, links: ConfigLinks
) -> ArtifactManager | None:
    if design.artifacts is None:
        return None
    resource = design.artifacts.bounded(bounds_of(Artifacts))
    repository: PiccoloRepository[Artifact] = PiccoloRepository(resource, Artifacts, engine)
    return ArtifactManager(resource, repository, engine, ArtifactRows(engine), links, storage, design.hierarchy)


def _configs(
    engine: DatabaseEngine, design: ModellingDesign, links: ConfigLinks, artifacts: ArtifactManager | None
) -> ConfigManager | None:
    if design.configs is None or design.schema is None:
        return None
    resource = design.configs.bounded(bounds_of(Configs))
    repository: PiccoloRepository[Config] = PiccoloRepository(resource, Configs, engine)
    return ConfigManager(resource, repository, engine, links, design.schema, artifacts)
