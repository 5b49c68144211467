"""Puts together what a service with a model has: configurations, artifacts, and the model itself."""

from collections.abc import AsyncIterator, Callable
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
from domain.model_jobs import BACKTEST, ENSEMBLE, EVALUATE
from domain.model_versions import VERSIONS, Model, ModelVersion
from domain.models import EnsembleRunner, ModelRunner
from domain.pipelines import DRAW, PIPELINE, PROMOTE, Pipeline
from domain.query import Resource
from domain.registration import MLServiceInfo
from domain.storage import Storage
from infra.database.artifacts import ArtifactRows, Artifacts
from infra.database.configs import ConfigLinks, Configs
from infra.database.engine import DatabaseEngine
from infra.database.model_versions import AliasHistory
from infra.database.model_versions import Models as ModelTable
from infra.database.model_versions import ModelVersions as VersionTable
from infra.database.repository import PiccoloRepository
from infra.database.table import bounds_of
from infra.runners.models.gathering import pack_pipeline
from infra.runners.models.tasks import validate
from infra.runners.modules import Module
from infra.runners.process import ProcessRunner
from infra.storage.local import LocalStorage
from infra.storage.scratch import Scratch
from service.managers.artifact_uses import ArtifactUses
from service.managers.artifacts import ArtifactManager
from service.managers.background import Background
from service.managers.backtest_runs import BacktestRuns, EvaluateRuns
from service.managers.backtests import Backtests
from service.managers.charts import ArtifactCharts
from service.managers.configs import DEFAULT_MOST, ConfigManager
from service.managers.draw_runs import DrawRuns
from service.managers.ensemble_runs import EnsembleRuns
from service.managers.ml import Models
from service.managers.model_artifacts import ModelArtifacts
from service.managers.model_graphs import EnsembleGraphs
from service.managers.model_runs import ModelRuns, SingleRuns
from service.managers.model_versions import ModelVersions
from service.managers.modelling import Modelling
from service.managers.models import ModelManager
from service.managers.pipeline_runs import PipelineRuns, PromoteRuns
from service.managers.pipelines import Pipelines
from service.managers.promotions import Promotions
from service.managers.targets import Targets

# Whatever is put into storage is done with it long before.
_LEFT_BEHIND = timedelta(hours=24)


class ModelDesign(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a service: its runner, the same packed for another process, and the modules that this needs."""

    runner: ModelRunner
    program: bytes
    modules: tuple[Module, ...]
    info: MLServiceInfo
    start_method: str = "auto"
    pipelines: tuple[Pipeline, ...] = ()

    @property
    def bounds(self) -> Period:
        """The horizons that it is made for."""
        return Period(self.info.min_prediction_periods, self.info.max_prediction_periods)


class ModellingDesign(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_config`, `with_artifacts`, `with_ml` and `with_models` were told, each None without it."""

    configs: Resource[Config] | None = None
    schema: ConfigSchema | None = None
    max_configs: int = DEFAULT_MOST
    artifacts: Resource[Artifact] | None = None
    hierarchy: ArtifactHierarchy | None = None
    model: ModelDesign | None = None
    models: Resource[Model] | None = None


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
        on_asked: Callable[[str], None] | None,
    ) -> None:
        self._design = design
        self._on_asked = on_asked
        self._storage = storage
        self._scratch = scratch
        self._processes: ProcessRunner | None = None
        links = ConfigLinks(engine)
        registry = Registry(engine, design.models) if design.models is not None else None
        self.artifacts = _artifacts(engine, design, storage, links, registry)
        self.configs = _configs(engine, design, links, self.artifacts)
        self.charts: ArtifactCharts | None = None
        if self.artifacts is not None:
            self.charts = ArtifactCharts(self.artifacts, storage, code_revision=code_revision)
        self._made: ModelArtifacts | None = None
        if design.model is not None:
            assert self.artifacts is not None
            self._made = ModelArtifacts(self.artifacts, storage, secret, code_revision=code_revision)
        self.hooks: dict[str, RunHooks] = {}
        self.versions: ModelVersions | None = None
        if registry is not None:
            assert self.artifacts is not None
            assert self._made is not None
            self.versions = registry.opened(self.artifacts, self._made)
        self._engine = engine
        if design.model is not None:
            self._surround(design.model)

    def _surround(self, model: ModelDesign) -> None:
        """Have the jobs of the model surrounded by what they need."""
        assert self.configs is not None
        assert self._made is not None
        runs = ModelRuns(model.program, self.configs, self._made, self._scratch, bounds=model.bounds)
        single = SingleRuns(runs, self.versions)
        self.hooks |= {
            TRAIN: single,
            PREDICT: single,
            ENSEMBLE: EnsembleRuns(runs),
            EVALUATE: EvaluateRuns(runs),
            BACKTEST: BacktestRuns(runs),
        }
        if self.charts is not None and self.artifacts is not None:
            self.hooks[DRAW] = DrawRuns(self.charts, self.artifacts)
        if self.versions is not None:
            self.hooks[PROMOTE] = PromoteRuns(Promotions(self.versions, self._made, self._engine))

    @property
    def managers(self) -> dict[str, Any]:
        """Those that are read and changed as resources are, by name."""
        found = (self.configs, self.artifacts, self.versions.models if self.versions is not None else None)
        return {manager.resource.name: manager for manager in found if manager is not None}

    def with_jobs(self, background: Background | None) -> Modelling:
        """Everything, now that there are jobs."""
        models = backtests = None
        model = self._design.model
        if model is not None and self._made is not None and background is not None:
            assert self.configs is not None
            assert self.artifacts is not None
            graphs = None
            if isinstance(model.runner, EnsembleRunner):
                graphs = EnsembleGraphs(model.runner, self.configs, self._made, background.graphs)
            backtests = Backtests(self.configs, self._storage, background.graphs, model.bounds)
            if model.pipelines:
                pipelines = Pipelines(
                    {one.name: one for one in model.pipelines},
                    self.configs,
                    self.artifacts,
                    self._storage,
                    graphs,
                    backtests,
                    background.graphs,
                )
                programs = {one.name: pack_pipeline(one) for one in model.pipelines}
                # Workers begin later, and look here.
                self.hooks[PIPELINE] = PipelineRuns(pipelines, programs, self._scratch)
            self._processes = ProcessRunner([validate], modules=model.modules, start_method=model.start_method)
            models = Models(
                model.runner,
                model.program,
                model.info,
                self.configs,
                self.artifacts,
                background.jobs,
                graphs,
                Targets(model.runner, self._made, self.versions),
                self._storage,
                self._scratch,
                self._processes,
                validate,
                self._on_asked,
            )
        return Modelling(
            opened_configs=self.configs,
            opened_artifacts=self.artifacts,
            opened_models=models,
            opened_versions=self.versions,
            opened_backtests=backtests,
            opened_charts=self.charts,
        )

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
    on_asked: Callable[[str], None] | None = None,
) -> AsyncIterator[OpenedModelling]:
    """Open the storage and the managers, and remove what earlier runs have left behind."""
    store, room = LocalStorage(storage), Scratch(scratch)
    await store.sweep(_LEFT_BEHIND)
    await room.sweep()
    opened = OpenedModelling(engine, design, store, room, secret, code_revision, on_asked)
    try:
        yield opened
    finally:
        await opened.close()
        await room.close()


class Registry:
    """Where models and their versions are kept, before there is anything to make them of."""

    def __init__(self, engine: DatabaseEngine, models: Resource[Model]) -> None:
        self._engine = engine
        self._resource = models.bounded(bounds_of(ModelTable))
        self._versions = VERSIONS.bounded(bounds_of(VersionTable))
        self._history = AliasHistory(engine)
        self._model_rows: PiccoloRepository[Model] = PiccoloRepository(self._resource, ModelTable, engine)
        self._version_rows: PiccoloRepository[ModelVersion] = PiccoloRepository(self._versions, VersionTable, engine)
        self.uses = ArtifactUses(self._model_rows, self._version_rows, self._history)

    def opened(self, artifacts: ArtifactManager, made: ModelArtifacts) -> ModelVersions:
        """The manager of versions."""
        models = ModelManager(self._model_rows, self._version_rows, self._history, self._engine, self._resource)
        return ModelVersions(models, self._version_rows, self._history, self._engine, artifacts, made, self._versions)


def _artifacts(
    engine: DatabaseEngine,
    design: ModellingDesign,
    storage: Storage,
    links: ConfigLinks,
    registry: Registry | None,
) -> ArtifactManager | None:
    if design.artifacts is None:
        return None
    resource = design.artifacts.bounded(bounds_of(Artifacts))
    repository: PiccoloRepository[Artifact] = PiccoloRepository(resource, Artifacts, engine)
    uses = registry.uses if registry is not None else None
    return ArtifactManager(resource, repository, engine, ArtifactRows(engine), links, storage, design.hierarchy, uses)


def _configs(
    engine: DatabaseEngine, design: ModellingDesign, links: ConfigLinks, artifacts: ArtifactManager | None
) -> ConfigManager | None:
    if design.configs is None or design.schema is None:
        return None
    resource = design.configs.bounded(bounds_of(Configs))
    repository: PiccoloRepository[Config] = PiccoloRepository(resource, Configs, engine)
    return ConfigManager(resource, repository, engine, links, design.schema, artifacts, most=design.max_configs)
