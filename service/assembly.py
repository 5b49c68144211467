"""Makes a service of what a builder was told."""

from typing import Any

from litestar.exceptions import HTTPException

from domain.bodies import Bodies
from domain.errors import ServiceError
from domain.graphs import GRAPHS
from domain.health import HealthCheck
from domain.jobs import JOBS
from domain.query import Resource
from service.choices import Choices
from service.design import Design
from service.designing import design_of
from service.http.application import Service
from service.http.apps import StaticApps
from service.http.crud import Permissions
from service.http.dto import entity_dto
from service.http.idempotency import Idempotency
from service.http.problems import on_http_exception, on_service_error, on_unexpected
from service.http.running import Running
from service.lifespan import Lifespan
from service.monitoring import layers_of, monitored
from service.providing import dependencies, overridden_by
from service.registration import Registering
from service.replying import cache_layer
from service.routes import BackgroundPlan, ModelPlan, RoutePlan, all_routes
from service.settings import Settings
from service.transforming import transformation_plan


def assemble(choices: Choices, settings: Settings) -> Service:
    """The app; nothing is opened before it starts. Raises `Misconfigured`."""
    choices.check()
    monitoring = monitored(choices, settings)
    running, design = Running(), design_of(choices, monitoring.monitoring if monitoring is not None else None)
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
    routers, provided = overridden_by(choices, dependencies(choices, running))
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
        has_cache=choices.cache is not None,
        charts=(choices.charts.path, choices.charts.tags) if choices.charts is not None else None,
        metrics=monitoring.plan if monitoring is not None else None,
    )
    app = Service(
        route_handlers=all_routes(plan),
        dependencies=provided,
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
    app.takes_keys = choices.database is not None
    layers = [*layers_of(monitoring), *cache_layer(choices, app, running)]
    if app.takes_keys:
        layers.append(Idempotency(app, lambda: lifespan.replies))
    app.prepare(running, lifespan.enter_request, is_logging_requests=choices.logging is not None, layers=layers)
    app.apps = StaticApps(choices.apps)
    if registering is not None:
        app.readiness_token = registering.token.encode()
    app.info, app.design, app.settings = choices.info, design, settings
    app.metrics_text = monitoring.plan.text if monitoring is not None else None
    return app


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
