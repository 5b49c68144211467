"""What every service has: a database, health, logging, hooks, and handlers of the user's own."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from domain.errors import Misconfigured
from domain.health import HealthCheck, check_names
from domain.registration import ServiceInfo
from infra.database.engine import DatabaseOptions
from infra.database.url import parse_url
from service.assembly import assemble
from service.choices import Choices, HealthPlan
from service.http.application import Service
from service.lifespan import Hook
from service.settings import Settings, from_env


class Core:
    """Collects what a service is made of."""

    def __init__(self, info: ServiceInfo) -> None:
        # Migrations and scripts live beside the module that builds the service.
        self._choices = Choices(info, _folder_of_caller())

    def with_database(
        self,
        url: str | None = None,
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        acquire_timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = 10.0,
        statement_timeout_seconds: float = 30.0,
        idle_seconds: float = 300.0,
        migrations: str | Path | None = None,
    ) -> Self:
        """Keep entities in a database.

        Without `url` it is `DATABASE_URL` from the environment, or a SQLite file in the service's home.
        `sqlite:///…` and `postgresql://…` are understood, also as `sqlite+aiosqlite` and `postgresql+asyncpg`.
        `migrations` is a folder beside your module; `migrations/` there is found by itself.
        """
        if url is not None:
            parse_url(url)
        self._choices.database = DatabaseOptions(
            url=url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            acquire_timeout_seconds=acquire_timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            idle_seconds=idle_seconds,
        )
        self._choices.migrations = Path(migrations) if migrations is not None else None
        return self

    def with_health(
        self,
        prefix: str = "/health",
        *,
        checks: Mapping[str, HealthCheck] | None = None,
        include_database_check: bool = True,
        tags: Sequence[str] = ("Observability",),
    ) -> Self:
        """Offer `/health`, `/health/live`, `/health/ready` and `/health/$stream`, with your own checks by name."""
        check_names(checks or {})
        self._choices.health = HealthPlan(
            checked_prefix("with_health", prefix), dict(checks or {}), include_database_check, list(tags)
        )
        return self

    def with_system(self, prefix: str = "/api/v1/system", *, tags: Sequence[str] = ("System",)) -> Self:
        """Offer what the service runs on."""
        self._choices.system = (checked_prefix("with_system", prefix), list(tags))
        return self

    def with_logging(self, *, format: str | None = None, level: str | None = None) -> Self:
        """Log structured lines, one per request among them; `LOG_FORMAT` and `LOG_LEVEL` decide what is not given."""
        self._choices.logging = {"LOG_FORMAT": format, "LOG_LEVEL": level}
        return self

    def include_router(self, router: ControllerRouterHandler) -> Self:
        """Add a Litestar router, controller or handler of your own."""
        self._choices.routers.append(router)
        return self

    def on_startup(self, hook: Hook) -> Self:
        """Run an async function once the database is open; it may take the app. An error stops the start."""
        self._choices.starts.append(_checked_hook("on_startup", hook))
        return self

    def on_shutdown(self, hook: Hook) -> Self:
        """Run an async function before the database is closed; an error is logged and the next one runs."""
        self._choices.stops.append(_checked_hook("on_shutdown", hook))
        return self

    def override_dependency(self, name: str, provider: Callable[..., Any]) -> Self:
        """Provide the dependency `name` by another function, wherever handlers ask for it: for tests, or a variant."""
        if not callable(provider):
            raise Misconfigured(f"override_dependency({name!r}): the provider must be callable")
        self._choices.overrides[name] = Provide(provider, sync_to_thread=False if not _is_async(provider) else None)
        return self

    def build(self, settings: Settings | None = None) -> Service:
        """Check everything and return the app; nothing is opened before it starts.

        `settings` None reads the environment. Raises `Misconfigured`.
        """
        return assemble(self._choices, settings or self._settings())

    def _settings(self) -> Settings:
        given = {name: value for name, value in (self._choices.logging or {}).items() if value is not None}
        return from_env({**os.environ, **given})


def checked_prefix(method: str, prefix: str) -> str:
    if not prefix.startswith("/"):
        raise Misconfigured(f"{method}({prefix!r}): a prefix starts with '/'")
    return prefix.rstrip("/") or "/"


def _folder_of_caller() -> Path:
    """The folder of the first module outside of this package that is on the way here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "service":
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    return Path(file).resolve().parent if file else Path.cwd()


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _checked_hook(method: str, hook: Hook) -> Hook:
    if not inspect.iscoroutinefunction(hook):
        raise Misconfigured(f"{method}({hook!r}): give it an `async def` function")
    return hook
