"""What a builder was told, and whether its parts fit together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from piccolo.table import Table

from domain.apps import StaticApp
from domain.artifacts import Artifact
from domain.cache_options import CacheOptions
from domain.configs import Config, ConfigSchema
from domain.errors import Misconfigured
from domain.graphs import GRAPHS
from domain.health import HealthCheck
from domain.hierarchy import ArtifactHierarchy
from domain.jobs import JOBS, Retention
from domain.model_versions import Model
from domain.models import ModelRunner
from domain.orchestrator import RegistrationOptions
from domain.pipelines import Pipeline
from domain.query import Resource
from domain.registration import MLServiceInfo, ServiceInfo
from domain.schedules import ScheduledTask
from domain.tasks import Task
from domain.transformations import Transformation
from domain.workers import WorkerOptions
from infra.database.engine import DatabaseOptions
from service.http.crud import Operation, Permissions
from service.lifespan import Hook
from service.managers.cached import Cached
from service.managers.hooks import Hooks


class JobsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_jobs` was told."""

    path: str
    options: WorkerOptions
    retention: Retention
    start_method: str
    tags: tuple[str, ...]


class OfferedResource(msgspec.Struct, frozen=True):
    """What `with_crud` was told."""

    resource: Resource[Any]
    table: type[Table]
    permissions: Permissions
    hooks: tuple[Hooks[Any], ...]
    cache_ttl: float | None = None


class HealthPlan(msgspec.Struct, frozen=True):
    """What `with_health` was told."""

    path: str
    checks: dict[str, HealthCheck]
    has_database_check: bool
    tags: list[str]


class ConfigPlan(msgspec.Struct, frozen=True):
    """What `with_config` was told."""

    resource: Resource[Config]
    schema: ConfigSchema
    permissions: Permissions
    tags: tuple[str, ...]
    most: int


class ArtifactPlan(msgspec.Struct, frozen=True):
    """What `with_artifacts` was told."""

    resource: Resource[Artifact]
    hierarchy: ArtifactHierarchy | None
    is_linking: bool
    permissions: Permissions
    tags: tuple[str, ...]


class MLPlan(msgspec.Struct, frozen=True):
    """What `with_ml` was told."""

    runner: ModelRunner
    path: str
    timeout_seconds: float | None
    memory_mib: int | None
    tags: tuple[str, ...]


class ModelsPlan(msgspec.Struct, frozen=True):
    """What `with_models` was told."""

    resource: Resource[Model]
    permissions: Permissions
    tags: tuple[str, ...]


class TransformationsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_transformations` was told."""

    items: tuple[Transformation, ...]
    path: str
    max_threads: int
    max_rows: int
    tags: tuple[str, ...]


class ChartsPlan(msgspec.Struct, frozen=True):
    """What `with_charts` was told."""

    path: str
    tags: tuple[str, ...]


class MonitoringPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_monitoring` was told."""

    path: str
    tags: tuple[str, ...]
    service_name: str
    is_tracing: bool


@dataclass
class Choices:
    """Everything that a service is made of. `folder` is that of the module that builds it."""

    info: ServiceInfo
    folder: Path
    database: DatabaseOptions | None = None
    migrations: Path | None = None
    resources: list[OfferedResource] = field(default_factory=list)
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    health: HealthPlan | None = None
    system: tuple[str, list[str]] | None = None
    logging: dict[str, str | None] | None = None
    routers: list[ControllerRouterHandler] = field(default_factory=list)
    starts: list[Hook] = field(default_factory=list)
    stops: list[Hook] = field(default_factory=list)
    overrides: dict[str, Provide] = field(default_factory=dict)
    jobs: JobsPlan | None = None
    tasks: list[Task] = field(default_factory=list)
    tasks_path: str = "/api/v1/tasks"
    schedules: Resource[ScheduledTask] | None = None
    config: ConfigPlan | None = None
    artifacts: ArtifactPlan | None = None
    ml: MLPlan | None = None
    pipelines: list[Pipeline] = field(default_factory=list)
    models: ModelsPlan | None = None
    registration: RegistrationOptions | None = None
    apps: list[StaticApp] = field(default_factory=list)
    transformations: TransformationsPlan | None = None
    charts: ChartsPlan | None = None
    monitoring: MonitoringPlan | None = None
    cache: CacheOptions | None = None

    def background_resources(self) -> list[Resource[Any]]:
        """The resources of background work, of which only schedules are changed like others."""
        if self.jobs is None:
            return []
        found: list[Resource[Any]] = [JOBS.at(self.jobs.path), GRAPHS]
        return found if self.schedules is None else [*found, self.schedules]

    def check(self) -> None:
        """Raise `Misconfigured` for what does not fit together."""
        if self.resources and self.database is None:
            name = self.resources[0].resource.name
            raise Misconfigured(f"with_crud({name}) needs a database: call with_database() on the builder")
        if self.jobs is not None and self.database is None:
            raise Misconfigured("with_jobs() and with_tasks() need a database: call with_database() on the builder")
        if self.schedules is not None and not self.tasks and not self.pipelines:
            raise Misconfigured("with_schedules() has nothing to schedule: call with_tasks(…) on the builder")
        for item in self.resources:
            if self.cache is None and any(isinstance(hook, Cached) for hook in item.hooks):
                name = item.resource.name
                raise Misconfigured(
                    f"with_crud({name}, hooks=[Cached(…)]) needs a cache: call with_cache() on the builder"
                )
        self._check_model()
        for kind, values in self._names():
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise Misconfigured(f"two resources have the {kind} {twice!r}: give each its own")
        for name in self.operations.keys() - {item.resource.name for item in self.resources}:
            raise Misconfigured(f"an operation is registered for {name!r}, which has no with_crud(…)")

    def _check_model(self) -> None:
        for method, plan in (("with_config", self.config), ("with_artifacts", self.artifacts)):
            if plan is not None and self.database is None:
                raise Misconfigured(f"{method}() needs a database: call with_database() on the builder")
        if self.artifacts is not None and self.artifacts.is_linking and self.config is None:
            raise Misconfigured("with_artifacts(enable_config_linking=True) needs with_config(…) on the builder")
        if self.ml is not None:
            for method, plan in (("with_config", self.config), ("with_artifacts", self.artifacts)):
                if plan is None:
                    raise Misconfigured(
                        f"with_ml() needs configurations and artifacts: call {method}(…) on the builder"
                    )
            if not isinstance(self.info, MLServiceInfo):
                raise Misconfigured("with_ml() needs an MLServiceInfo as the info of the builder")
        elif self.models is not None:
            raise Misconfigured("with_models() needs a model to have versions of: call with_ml(…) on the builder")
        self._check_pipelines()

    def _check_pipelines(self) -> None:
        names = [pipeline.name for pipeline in self.pipelines]
        if names and (self.ml is None or self.models is None):
            raise Misconfigured("with_pipelines() needs a model and its versions: call with_ml(…) and with_models()")
        for name in names:
            if names.count(name) > 1:
                raise Misconfigured(f"two pipelines have the name {name!r}: give each its own")

    def model_resources(self) -> list[tuple[Resource[Any], Permissions]]:
        """Configurations, artifacts and models, with what is allowed."""
        plans = (self.config, self.artifacts, self.models)
        return [(plan.resource, plan.permissions) for plan in plans if plan is not None]

    def _names(self) -> Iterator[tuple[str, list[str]]]:
        own = [*(item.resource for item in self.resources), *self.background_resources()]
        own += [resource for resource, _ in self.model_resources()]
        yield "name", [resource.name for resource in own]
        yield "path", [resource.path for resource in own]
        yield "table", [item.table._meta.tablename for item in self.resources]
