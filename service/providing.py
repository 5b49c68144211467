"""What handlers may ask for by name, and what stands in for it."""

from collections.abc import Callable
from typing import Any

from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from domain.errors import Misconfigured
from domain.registration import ServiceInfo
from service.choices import Choices
from service.http.overrides import overridden
from service.http.running import Running
from service.managers.base import Manager
from service.managers.computations import Computations
from service.managers.model_versions import ModelVersions


def dependencies(choices: Choices, running: Running) -> dict[str, Provide]:
    """What every handler may ask for: managers, jobs, the cache, the service's identity."""
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
    if choices.cache is not None:
        provided["cache"] = Provide(_cache(running), sync_to_thread=False)
    if choices.models is not None:
        provided["model_versions"] = Provide(_model_versions(running), sync_to_thread=False)
    return {**provided, "service_info": Provide(provide_info, sync_to_thread=False)}


def _manager(running: Running, name: str) -> Callable[[], Manager[Any]]:
    def provide() -> Manager[Any]:
        return running.manager(name)

    return provide


def _cache(running: Running) -> Callable[[], Computations]:
    def provide() -> Computations:
        return running.cache

    return provide


def _model_versions(running: Running) -> Callable[[], ModelVersions]:
    def provide() -> ModelVersions:
        return running.modelling.versions

    return provide


def _background_manager(running: Running, name: str) -> Callable[[], Any]:
    def provide() -> Any:
        return getattr(running.background, name)

    return provide


def overridden_by(
    choices: Choices, dependencies: dict[str, Provide]
) -> tuple[tuple[ControllerRouterHandler, ...], dict[str, Provide]]:
    """Handlers and what is provided, with what was overridden. Raises `Misconfigured` for what nobody asks for."""
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
