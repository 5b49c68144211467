"""Makes a service of what a builder was told."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from domain.bodies import Bodies
from domain.errors import Misconfigured, ServiceError
from domain.graphs import GRAPHS
from domain.health import HealthCheck
from domain.jobs import DEFAULT_QUEUE, JOBS
from domain.ml import ModelJob
from domain.model_jobs import BacktestJob, EnsembleJob, EvaluateJob
from domain.pipelines import job_of
from domain.query import Resource
from domain.registration import MLServiceInfo, ServiceInfo
from domain.tasks import Task, Tasks
from infra.database.table import bounds_of
from infra.runners.models.program import modules_of_program, pack
from infra.runners.models.tasks import backtest, draw, ensemble, evaluate, pipeline, predict, promote, train
from infra.runners.modules import Module, module_of
from service.background import JobsDesign
from service.choices import Choices
from service.container import Design, ResourceDesign
from service.http.application import Service
from service.http.apps import StaticApps
from service.http.crud import Permissions
from service.http.dto import entity_dto
from service.http.overrides import overridden
from service.http.problems import on_http_exception, on_service_error, on_unexpected
from service.http.running import Running
from service.lifespan import Lifespan
from service.managers.base import Manager
from service.managers.configs import DEFAULT_MOST
from service.managers.model_versions import ModelVersions
from service.modelling import ModelDesign, ModellingDesign
from service.registration import Registering
from service.routes import BackgroundPlan, ModelPlan, RoutePlan, all_routes
from service.settings import Settings
from service.transforming import transformation_plan


def assemble(choices: Choices, settings: Settings) -> Service:
    """The app; nothing is opened before it starts. Raises `Misconfigured`."""
    choices.check()
    running, design = Running(), design_of(choices)
    resources = _resources(choices, design)
    registering = _registering(choices, settings)
    lifespan = Lifespan(
        settings,
        design,
        running,
        registering=registering,
        starts=choices.starts,
        stops=choices.stops,
        is_logging=choices.logging is not None,
    )
    routers, dependencies = _overridden(choices, _dependencies(choices, running))
    plan = RoutePlan(
        info=choices.info,
        running=running,
        resources=tuple((resource, Bodies(resource), permissions) for resource, permissions in resources),
        operations=choices.operations,
        health=_health_plan(choices, lifespan, registering),
        system=choices.system,
        routers=routers,
        background=_background_plan(choices),
        code_revision=settings.code_revision,
        modelling=_model_plan(choices),
        transformations=transformation_plan(choices, running),
        charts=(choices.charts.path, choices.charts.tags) if choices.charts is not None else None,
    )
    app = Service(
        route_handlers=all_routes(plan),
        dependencies=dependencies,
        exception_handlers={
            ServiceError: on_service_error,
            HTTPException: on_http_exception,
            Exception: on_unexpected,
        },
        return_dto=entity_dto([*(resource for resource, _ in resources), *choices.background_resources()]),
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
    )
    app.prepare(running, lifespan.enter_request, is_logging_requests=choices.logging is not None)
    app.apps = StaticApps(choices.apps)
    if registering is not None:
        app.readiness_token = registering.token.encode()
    app.info, app.design, app.settings = choices.info, design, settings
    return app


def design_of(choices: Choices) -> Design:
    """What is to be opened. Raises `Misconfigured` for a folder of migrations that is not there."""
    folder = choices.folder / (choices.migrations or "migrations")
    if choices.migrations is not None and not folder.is_dir():
        raise Misconfigured(f"with_database(migrations={str(choices.migrations)!r}): there is no folder {folder}")
    return Design(
        name=choices.info.id,
        database=choices.database,
        migrations=folder if any(file.name != "__init__.py" for file in folder.glob("*.py")) else None,
        migrations_home=folder,
        resources=tuple(
            ResourceDesign(resource=item.resource.bounded(bounds_of(item.table)), table=item.table, hooks=item.hooks)
            for item in choices.resources
        ),
        jobs=_jobs_design(choices),
        modelling=_modelling_design(choices),
        code_revision=choices.info.git_revision if isinstance(choices.info, MLServiceInfo) else None,
    )


def _jobs_design(choices: Choices) -> JobsDesign | None:
    if choices.jobs is None:
        return None
    tasks = Tasks([*choices.tasks, *_model_tasks(choices)])
    return JobsDesign(
        tasks=tasks,
        options=msgspec.structs.replace(choices.jobs.options, queues=tasks.queues or (DEFAULT_QUEUE,)),
        retention=choices.jobs.retention,
        start_method=choices.jobs.start_method,
        modules=_model_modules(choices),
    )


def _model_tasks(choices: Choices) -> list[Task]:
    """What models run as. A job has the ids of what it is for; the rest is put in when it runs."""
    plan = choices.ml
    if plan is None:
        return []
    limits = {"timeout_seconds": plan.timeout_seconds, "memory_mib": plan.memory_mib}
    kinds = {train: ModelJob, predict: ModelJob, ensemble: EnsembleJob, evaluate: EvaluateJob, backtest: BacktestJob}
    wholes = {ensemble, backtest}
    made = [
        msgspec.structs.replace(task, args=args, is_internal=True, is_whole=task in wholes, **limits)
        for task, args in kinds.items()
    ]
    if choices.models is not None:
        made.append(msgspec.structs.replace(promote, is_internal=True))
    if choices.pipelines:
        made += [
            msgspec.structs.replace(pipeline, args=job_of(choices.pipelines)),
            msgspec.structs.replace(draw, is_internal=True),
        ]
    return made


def _model_modules(choices: Choices) -> tuple[Module, ...]:
    if choices.ml is None or choices.config is None:
        return ()
    modules = modules_of_program(choices.ml.runner, choices.config.schema.kind)
    return tuple(dict.fromkeys([*modules, *(module_of(one.load.__module__) for one in choices.pipelines)]))


def _modelling_design(choices: Choices) -> ModellingDesign | None:
    config, artifacts, ml = choices.config, choices.artifacts, choices.ml
    if config is None and artifacts is None:
        return None
    model = None
    if ml is not None and config is not None and isinstance(choices.info, MLServiceInfo):
        model = ModelDesign(
            runner=ml.runner,
            program=pack(ml.runner, config.schema.kind),
            modules=_model_modules(choices),
            info=choices.info,
            start_method=choices.jobs.start_method if choices.jobs is not None else "auto",
            pipelines=tuple(choices.pipelines),
        )
    return ModellingDesign(
        configs=config.resource if config is not None else None,
        schema=config.schema if config is not None else None,
        max_configs=config.most if config is not None else DEFAULT_MOST,
        artifacts=artifacts.resource if artifacts is not None else None,
        hierarchy=artifacts.hierarchy if artifacts is not None else None,
        model=model,
        models=choices.models.resource if choices.models is not None else None,
    )


def _model_plan(choices: Choices) -> ModelPlan:
    plans = {"configs": choices.config, "artifacts": choices.artifacts, "ml": choices.ml, "models": choices.models}
    return ModelPlan(
        configs=choices.config.resource if choices.config is not None else None,
        schema=choices.config.schema if choices.config is not None else None,
        artifacts=choices.artifacts.resource if choices.artifacts is not None else None,
        models=choices.models.resource if choices.models is not None else None,
        is_linking=choices.artifacts is not None and choices.artifacts.is_linking,
        is_keeping_charts=choices.artifacts is not None and choices.artifacts.permissions.create,
        ml_path=choices.ml.path if choices.ml is not None else None,
        jobs_path=choices.jobs.path if choices.jobs is not None else "",
        tags={name: plan.tags for name, plan in plans.items() if plan is not None},
    )


def _resources(choices: Choices, design: Design) -> list[tuple[Resource[Any], Permissions]]:
    """The resources that are changed like any other, with what is allowed."""
    found: list[tuple[Resource[Any], Permissions]] = [
        (item.resource, offered.permissions) for item, offered in zip(design.resources, choices.resources, strict=True)
    ]
    if choices.schedules is not None:
        found.append((choices.schedules, Permissions()))
    return found + choices.model_resources()


def _background_plan(choices: Choices) -> BackgroundPlan | None:
    if choices.jobs is None:
        return None
    return BackgroundPlan(
        jobs=JOBS.at(choices.jobs.path),
        graphs=GRAPHS,
        tasks_path=choices.tasks_path,
        schedules=choices.schedules,
        tags=choices.jobs.tags,
    )


def _registering(choices: Choices, settings: Settings) -> Registering | None:
    if choices.registration is None:
        return None
    path = choices.health.path if choices.health is not None else None
    return Registering(choices.info, choices.registration, settings, path)


def _health_plan(
    choices: Choices, lifespan: Lifespan, registering: Registering | None
) -> tuple[str, dict[str, HealthCheck], list[str]] | None:
    plan = choices.health
    if plan is None:
        return None
    checks = plan.checks
    if plan.has_database_check and choices.database is not None:
        checks = {**checks, "database": checks.get("database", lifespan.check_database)}
    if registering is not None:
        checks = {**checks, "registration": registering.check}
    return plan.path, checks, plan.tags


def _dependencies(choices: Choices, running: Running) -> dict[str, Provide]:
    provided = {
        f"{item.resource.name.replace('-', '_')}_manager": Provide(
            _manager(running, item.resource.name), sync_to_thread=False
        )
        for item in choices.resources
    }
    info = choices.info

    def provide_info() -> ServiceInfo:
        return info

    if choices.jobs is not None:
        for name in ("jobs", "graphs", "schedules"):
            provided[name] = Provide(_background_manager(running, name), sync_to_thread=False)
    if choices.models is not None:
        provided["model_versions"] = Provide(_model_versions(running), sync_to_thread=False)
    return {**provided, "service_info": Provide(provide_info, sync_to_thread=False)}


def _manager(running: Running, name: str) -> Callable[[], Manager[Any]]:
    def provide() -> Manager[Any]:
        return running.manager(name)

    return provide


def _model_versions(running: Running) -> Callable[[], ModelVersions]:
    def provide() -> ModelVersions:
        return running.modelling.versions

    return provide


def _background_manager(running: Running, name: str) -> Callable[[], Any]:
    def provide() -> Any:
        return getattr(running.background, name)

    return provide


def _overridden(
    choices: Choices, dependencies: dict[str, Provide]
) -> tuple[tuple[ControllerRouterHandler, ...], dict[str, Provide]]:
    if not choices.overrides:
        return tuple(choices.routers), dependencies
    found = set(dependencies) & set(choices.overrides)
    routers = []
    for router in choices.routers:
        twin, hits = overridden(router, choices.overrides)
        routers.append(twin)
        found |= hits
    for name in choices.overrides.keys() - found:
        known = ", ".join(dependencies)
        raise Misconfigured(f"override_dependency({name!r}): no handler has it; the service provides {known}")
    return tuple(routers), {name: choices.overrides.get(name, given) for name, given in dependencies.items()}
