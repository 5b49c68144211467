"""Every URL a service answers, in order."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Router
from litestar.types import ControllerRouterHandler

from domain.bodies import Bodies
from domain.health import HealthCheck
from domain.query import Resource
from domain.registration import ServiceInfo
from service.api.health import Probe, health_router
from service.api.system import info_router, system_router
from service.http.crud import Operation, Permissions, crud_router
from service.http.docs_page import docs_router
from service.http.openapi import Described
from service.http.running import Running


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the builder has decided about routes."""

    info: ServiceInfo
    running: Running
    resources: Sequence[tuple[Resource[Any], Bodies[Any], Permissions]]
    operations: Mapping[str, Sequence[Operation]]
    health: tuple[str, Mapping[str, HealthCheck], list[str]] | None
    system: tuple[str, list[str]] | None
    routers: Sequence[ControllerRouterHandler]


def all_routes(plan: RoutePlan) -> list[ControllerRouterHandler]:
    """The handlers of a service: health, identity, resources, the user's own, and the documentation."""
    handlers: list[ControllerRouterHandler] = []
    if plan.health is not None:
        path, checks, tags = plan.health
        handlers.append(health_router(path, Probe(checks), plan.running, tags))
    handlers.append(info_router(plan.info))
    if plan.system is not None:
        handlers.append(system_router(*plan.system))
    for resource, bodies, permissions in plan.resources:
        operations = plan.operations.get(resource.name, ())
        handlers.append(crud_router(resource, bodies, plan.running, permissions=permissions, operations=operations))
    handlers += plan.routers
    described = [Described(*item) for item in plan.resources]
    handlers.append(docs_router(plan.info, described, has_root=_has_root(plan.routers)))
    return handlers


def _has_root(routers: Sequence[ControllerRouterHandler]) -> bool:
    """Whether one of the user's own handlers answers at `/`."""
    # A throw-away router works out the paths; the user's objects stay as they are.
    return any(route.path == "/" for router in routers for route in Router("/", route_handlers=[router]).routes)
