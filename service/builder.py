"""What a user calls to put a service together."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from piccolo.table import Table

from domain.artifacts import ARTIFACTS
from domain.configs import CONFIGS, BaseConfig, ConfigSchema
from domain.errors import Misconfigured
from domain.health import HealthCheck, check_names
from domain.hierarchy import ArtifactHierarchy
from domain.jobs import Retention
from domain.models import ModelRunner, check_runner
from domain.orchestrator import RegistrationOptions
from domain.query import Resource
from domain.registration import MLServiceInfo, ServiceInfo
from domain.schedules import SCHEDULES
from domain.tasks import Task, Tasks
from domain.workers import DEFAULT_CONCURRENCY, WorkerOptions, check_options
from infra.apps.find import Source, find_app, find_apps
from infra.database.engine import DatabaseOptions
from infra.database.schedules import Schedules
from infra.database.table import bounds_of, check_pair
from infra.database.url import parse_url
from infra.runners.modules import check_importable
from infra.runners.process import check_start_method
from service.assembly import assemble
from service.choices import ArtifactPlan, Choices, ConfigPlan, HealthPlan, JobsPlan, MLPlan, OfferedResource
from service.http.application import Service
from service.http.crud import Operation, Permissions
from service.lifespan import Hook
from service.managers.hooks import Hooks
from service.settings import Settings, from_env


class ServiceBuilder:
    """Collects what a service is made of; `build` checks it and returns the app.

    Every method returns the builder. A mistake is a `Misconfigured` with a sentence that says what to change, raised
    at the call that makes it or at `build`, never later. Two builders share nothing.
    """

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

    def with_crud(
        self,
        resource: Resource[Any],
        *,
        table: type[Table],
        permissions: Permissions | None = None,
        hooks: Sequence[Hooks[Any]] = (),
    ) -> Self:
        """Offer a resource over HTTP and keep it in `table`; `hooks` surround its changes in the given order."""
        for hook in hooks:
            if not isinstance(hook, Hooks):
                raise Misconfigured(
                    f"with_crud({resource.name}): hook {hook!r} must derive from Hooks (is it a class?)"
                )
        check_pair(resource, table)
        self._choices.resources.append(OfferedResource(resource, table, permissions or Permissions(), tuple(hooks)))
        return self

    def register_collection_operation(
        self,
        resource: Resource[Any],
        name: str,
        handler: Callable[..., Any],
        *,
        method: str = "GET",
        status_code: int | None = None,
        summary: str | None = None,
    ) -> Self:
        """Add `<path>/$name`. The handler is a Litestar handler function; `manager` is the resource's manager."""
        operation = Operation(name=name, handler=handler, method=method, status_code=status_code, summary=summary)
        self._choices.operations.setdefault(resource.name, []).append(operation)
        return self

    def register_entity_operation(
        self,
        resource: Resource[Any],
        name: str,
        handler: Callable[..., Any],
        *,
        method: str = "GET",
        status_code: int | None = None,
        summary: str | None = None,
    ) -> Self:
        """Add `<path>/{id}/$name`; the handler takes `id` besides `manager`."""
        operation = Operation(
            name=name, handler=handler, method=method, status_code=status_code, summary=summary, is_entity=True
        )
        self._choices.operations.setdefault(resource.name, []).append(operation)
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
            _prefix("with_health", prefix), dict(checks or {}), include_database_check, list(tags)
        )
        return self

    def with_system(self, prefix: str = "/api/v1/system", *, tags: Sequence[str] = ("System",)) -> Self:
        """Offer what the service runs on."""
        self._choices.system = (_prefix("with_system", prefix), list(tags))
        return self

    def with_logging(self, *, format: str | None = None, level: str | None = None) -> Self:
        """Log structured lines, one per request among them; `LOG_FORMAT` and `LOG_LEVEL` decide what is not given."""
        self._choices.logging = {"LOG_FORMAT": format, "LOG_LEVEL": level}
        return self

    def with_jobs(
        self,
        prefix: str = "/api/v1/jobs",
        *,
        max_concurrency: int | None = None,
        max_processes: int | None = None,
        retention: Retention | None = None,
        poll_seconds: float = 1.0,
        lease_seconds: float = 15.0,
        max_losses: int = 3,
        grace_seconds: float = 10.0,
        start_method: str = "auto",
        tags: Sequence[str] = ("jobs",),
    ) -> Self:
        """Run tasks as durable jobs; `with_tasks` alone does the same with the defaults.

        A worker runs `max_concurrency` jobs at a time (100), of those in a process of their own `max_processes` (one
        per core). It looks for jobs every `poll_seconds` even if nobody wakes it. A job whose worker does not renew its
        lease of `lease_seconds` runs again elsewhere; after `max_losses` lost workers it is dead. A worker that stops
        waits `grace_seconds` for its jobs before it hands them back. `start_method` is `auto`, `fork` or `spawn`.
        """
        concurrency = DEFAULT_CONCURRENCY if max_concurrency is None else max_concurrency
        processes = (os.cpu_count() or 1) if max_processes is None else max_processes
        options = WorkerOptions(
            concurrency=concurrency,
            processes=min(processes, concurrency),
            poll_seconds=poll_seconds,
            lease_seconds=lease_seconds,
            max_losses=max_losses,
            grace_seconds=grace_seconds,
        )
        check_options(options)
        check_start_method(start_method)
        self._choices.jobs = JobsPlan(
            path=_prefix("with_jobs", prefix),
            options=options,
            retention=retention or Retention(),
            start_method=start_method,
            tags=tuple(tags),
        )
        return self

    def with_tasks(self, *tasks: Task, prefix: str | None = None) -> Self:
        """Offer functions made by `@task` to be run as jobs, from code and over HTTP under `prefix` (/api/v1/tasks)."""
        Tasks([*self._choices.tasks, *tasks])
        for item in tasks:
            if item.is_process:
                check_importable(item)
        self._choices.tasks += tasks
        if prefix is not None:
            self._choices.tasks_path = _prefix("with_tasks", prefix)
        return self.with_jobs() if self._choices.jobs is None else self

    def with_schedules(self, prefix: str = "/api/v1/schedules") -> Self:
        """Offer schedules: tasks that are submitted by the clock, changed at run time over HTTP."""
        self._choices.schedules = SCHEDULES.at(_prefix("with_schedules", prefix)).bounded(bounds_of(Schedules))
        return self

    def with_config(
        self,
        schema: type[BaseConfig],
        prefix: str = "/api/v1/configs",
        *,
        tags: Sequence[str] = ("configs",),
        permissions: Permissions | None = None,
    ) -> Self:
        """Offer configurations whose data is a `schema`: a Struct that derives from `BaseConfig`."""
        self._choices.config = ConfigPlan(
            CONFIGS.at(_prefix("with_config", prefix)), ConfigSchema(schema), permissions or Permissions(), tuple(tags)
        )
        return self

    def with_artifacts(
        self,
        hierarchy: ArtifactHierarchy | None = None,
        prefix: str = "/api/v1/artifacts",
        *,
        enable_config_linking: bool = False,
        tags: Sequence[str] = ("artifacts",),
        permissions: Permissions | None = None,
    ) -> Self:
        """Offer artifacts: JSON and files in trees whose levels `hierarchy` names.

        With `enable_config_linking` whole trees may belong to configurations, and go with them.
        """
        self._choices.artifacts = ArtifactPlan(
            ARTIFACTS.at(_prefix("with_artifacts", prefix)),
            hierarchy,
            enable_config_linking,
            permissions or Permissions(),
            tuple(tags),
        )
        return self

    def with_ml(
        self,
        runner: ModelRunner,
        prefix: str = "/api/v1/ml",
        *,
        timeout_seconds: float | None = None,
        memory_mib: int | None = None,
        tags: Sequence[str] = ("ml",),
    ) -> Self:
        """Offer a model to be trained and to predict, as jobs in processes of their own.

        Each may take `timeout_seconds` and `memory_mib`. It needs configurations, artifacts and an `MLServiceInfo`.
        """
        check_runner(runner)
        self._choices.ml = MLPlan(runner, _prefix("with_ml", prefix), timeout_seconds, memory_mib, tuple(tags))
        return self.with_jobs() if self._choices.jobs is None else self

    def with_app(self, source: Source, prefix: str | None = None) -> Self:
        """Mount a static app: a folder beside your module, or `(package, folder in it)`, with its `manifest.json`.

        `prefix` replaces that of the manifest.
        """
        self._choices.apps.append(find_app(self._placed(source), prefix))
        return self

    def with_apps(self, source: Source) -> Self:
        """Mount every static app in the folders inside of a folder; a broken one is left out with a warning."""
        self._choices.apps += find_apps(self._placed(source))
        return self

    def with_registration(self, orchestrator_url: str | None = None, **options: Any) -> Self:
        """Register with an orchestrator while the service runs; without a URL for it nothing happens.

        `options` are the other fields of `RegistrationOptions`.
        """
        try:
            self._choices.registration = RegistrationOptions(orchestrator_url=orchestrator_url, **options)
        except TypeError as error:
            raise Misconfigured(f"with_registration(): {error}") from None
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

    def _placed(self, source: Source) -> Source:
        return source if isinstance(source, tuple) else self._choices.folder / source

    def _settings(self) -> Settings:
        given = {name: value for name, value in (self._choices.logging or {}).items() if value is not None}
        return from_env({**os.environ, **given})


class MLServiceBuilder(ServiceBuilder):
    """A service around a model in one call: health, system, configurations, artifacts, jobs and the model itself.

    `database_url` None is the environment's, or a SQLite file.
    """

    def __init__(
        self,
        info: MLServiceInfo,
        config_schema: type[BaseConfig],
        hierarchy: ArtifactHierarchy,
        runner: ModelRunner,
        *,
        database_url: str | None = None,
        include_logging: bool = True,
    ) -> None:
        super().__init__(info)
        self.with_database(database_url).with_health().with_system()
        self.with_config(config_schema).with_artifacts(hierarchy, enable_config_linking=True).with_ml(runner)
        if include_logging:
            self.with_logging()


def _folder_of_caller() -> Path:
    """The folder of the first module outside of this package that is on the way here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "service":
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    return Path(file).resolve().parent if file else Path.cwd()


def _prefix(method: str, prefix: str) -> str:
    if not prefix.startswith("/"):
        raise Misconfigured(f"{method}({prefix!r}): a prefix starts with '/'")
    return prefix.rstrip("/") or "/"


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _checked_hook(method: str, hook: Hook) -> Hook:
    if not inspect.iscoroutinefunction(hook):
        raise Misconfigured(f"{method}({hook!r}): give it an `async def` function")
    return hook
