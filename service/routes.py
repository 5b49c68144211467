"""Every URL a service answers, in order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Router
from litestar.types import ControllerRouterHandler

from domain.artifacts import Artifact
from domain.bodies import Bodies
from domain.configs import Config, ConfigSchema
from domain.graphs import Graph
from domain.health import HealthCheck
from domain.jobs import Job
from domain.model_versions import Model
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.schedules import ScheduledTask
from service.api.aliases import aliases_router
from service.api.apps import apps_router
from service.api.artifacts import artifacts_router
from service.api.cache import cache_router
from service.api.charts import charts_router
from service.api.configs import config_links_router
from service.api.graphs import graphs_router
from service.api.health import Probe, health_router
from service.api.job_streams import job_streams_router
from service.api.jobs import EXAMPLE, STATUS_FILTER, jobs_router
from service.api.ml import ml_router
from service.api.model_versions import model_versions_router
from service.api.monitoring import metrics_router
from service.api.schedules import schedules_router
from service.api.system import info_router, system_router
from service.api.tasks import tasks_router
from service.api.transformations import transformations_router
from service.api.visualizations import visualizations_router
from service.http.crud import Operation, Permissions, crud_router
from service.http.docs_page import docs_router
from service.http.documented import Described
from service.http.running import Running
from service.managers.transformations import Transformations

_READ_ONLY = Permissions(create=False, update=False, delete=False)


class BackgroundPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The resources of background work, and where its tasks are; `schedules` is None without any."""

    jobs: Resource[Job]
    graphs: Resource[Graph]
    tasks_path: str
    schedules: Resource[ScheduledTask] | None
    tags: Sequence[str]


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Where configurations, artifacts, the model and its versions are, each None without it."""

    configs: Resource[Config] | None = None
    schema: ConfigSchema | None = None
    artifacts: Resource[Artifact] | None = None
    models: Resource[Model] | None = None
    is_linking: bool = False
    is_keeping_charts: bool = True
    ml_path: str | None = None
    jobs_path: str = ""
    tags: Mapping[str, Sequence[str]] = {}


class TransformationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The transformations of a service, and where they are."""

    path: str
    transformations: Transformations
    tags: Sequence[str]


class MetricsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Where the metrics are, and what they are."""

    path: str
    tags: Sequence[str]
    text: Callable[[], Awaitable[bytes]]


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the builder has decided about routes."""

    info: ServiceInfo
    running: Running
    resources: Sequence[tuple[Resource[Any], Bodies[Any], Permissions]]
    operations: Mapping[str, Sequence[Operation]]
    health: tuple[str, Mapping[str, HealthCheck], list[str]] | None
    system: tuple[str, list[str]] | None
    routers: Sequence[ControllerRouterHandler]
    background: BackgroundPlan | None = None
    code_revision: str | None = None
    modelling: ModelPlan = ModelPlan()
    transformations: TransformationPlan | None = None
    charts: tuple[str, Sequence[str]] | None = None
    has_cache: bool = False
    metrics: MetricsPlan | None = None


def all_routes(plan: RoutePlan) -> list[ControllerRouterHandler]:
    """The handlers of a service: health, identity, resources, the user's own, and the documentation."""
    handlers: list[ControllerRouterHandler] = []
    if plan.health is not None:
        path, checks, tags = plan.health
        handlers.append(health_router(path, Probe(checks), plan.running, tags))
    handlers.append(info_router(plan.info, plan.code_revision))
    if plan.system is not None:
        handlers += [system_router(*plan.system), apps_router(*plan.system)]
    if plan.has_cache:
        path, tags = plan.system or ("/api/v1/system", ["System"])
        handlers.append(cache_router(f"{path.rstrip('/')}/cache", plan.running, tags))
    if plan.metrics is not None:
        handlers.append(metrics_router(plan.metrics.path, plan.metrics.text, plan.metrics.tags))
    for resource, bodies, permissions in plan.resources:
        operations = plan.operations.get(resource.name, ())
        handlers.append(
            crud_router(
                resource,
                bodies,
                plan.running,
                permissions=permissions,
                operations=operations,
                schema=_own_schema(resource, plan.modelling),
            )
        )
    named = plan.modelling.models
    described = [Described(*item, is_named=named is not None and item[0].name == named.name) for item in plan.resources]
    if plan.background is not None:
        handlers += _background_routes(plan.background, plan.running)
        described += _described(plan.background)
    handlers += _model_routes(plan.modelling, plan.running)
    if plan.transformations is not None:
        given = plan.transformations
        handlers.append(transformations_router(given.path, given.transformations, given.tags))
    if plan.charts is not None:
        path, chart_tags = plan.charts
        handlers.append(visualizations_router(path, plan.running, chart_tags))
    handlers += plan.routers
    handlers.append(docs_router(plan.info, described, has_root=_has_root(plan.routers)))
    return handlers


def _described(plan: BackgroundPlan) -> list[Described]:
    dead = ("dead", "List jobs that have used up their attempts")
    jobs = Described(
        plan.jobs,
        Bodies(plan.jobs),
        _READ_ONLY,
        tags=plan.tags,
        parameters=[STATUS_FILTER],
        lists=[dead],
        example=EXAMPLE,
    )
    return [jobs, Described(plan.graphs, Bodies(plan.graphs), _READ_ONLY)]


def _background_routes(plan: BackgroundPlan, running: Running) -> list[ControllerRouterHandler]:
    handlers: list[ControllerRouterHandler] = [
        jobs_router(plan.jobs, running, list(plan.tags)),
        job_streams_router(plan.jobs.path, running, list(plan.tags)),
        tasks_router(plan.tasks_path, plan.jobs.path, running, ["tasks"]),
        graphs_router(plan.graphs, running, ["graphs"]),
    ]
    if plan.schedules is not None:
        handlers.append(schedules_router(plan.schedules.path, plan.jobs.path, running))
    return handlers


def _own_schema(resource: Resource[Any], plan: ModelPlan) -> bytes | None:
    """What `$schema` of a resource answers when it is not that of its entity."""
    is_configs = plan.configs is not None and plan.schema is not None and resource.name == plan.configs.name
    return msgspec.json.encode(plan.schema.json_schema()) if is_configs and plan.schema is not None else None


def _model_routes(plan: ModelPlan, running: Running) -> list[ControllerRouterHandler]:
    handlers: list[ControllerRouterHandler] = []
    if plan.configs is not None and plan.is_linking:
        handlers.append(config_links_router(plan.configs.path, running, [*plan.tags["configs"]]))
    if plan.artifacts is not None:
        tags = [*plan.tags["artifacts"]]
        handlers.append(artifacts_router(plan.artifacts.path, running, tags, has_configs=plan.is_linking))
        handlers.append(charts_router(plan.artifacts.path, running, tags, is_keeping=plan.is_keeping_charts))
    if plan.ml_path is not None:
        handlers.append(ml_router(plan.ml_path, plan.jobs_path, running, [*plan.tags["ml"]]))
    if plan.models is not None:
        tags = [*plan.tags["models"]]
        handlers.append(model_versions_router(plan.models.path, running, tags))
        handlers.append(aliases_router(plan.models.path, running, tags))
    return handlers


def _has_root(routers: Sequence[ControllerRouterHandler]) -> bool:
    """Whether one of the user's own handlers answers at `/`."""
    # A throw-away router works out the paths; the user's objects stay as they are.
    return any(route.path == "/" for router in routers for route in Router("/", route_handlers=[router]).routes)
