"""What a user calls to put a service together."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler
from piccolo.table import Table

from domain.bodies import Bodies
from domain.errors import Misconfigured, ServiceError
from domain.graphs import GRAPHS
from domain.health import HealthCheck, check_names
from domain.jobs import DEFAULT_QUEUE, JOBS, Retention
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.schedules import SCHEDULES, ScheduledTask
from domain.tasks import Task, Tasks
from domain.worker_options import DEFAULT_CONCURRENCY, WorkerOptions, check_options
from infra.database.engine import DatabaseOptions
from infra.database.schedules import Schedules
from infra.database.table import bounds_of, check_pair
from infra.database.url import parse_url
from infra.runners.modules import check_importable
from infra.runners.process import check_start_method
from service.background import JobsDesign
from service.container import Design, ResourceDesign
from service.http.application import Service
from service.http.crud import Operation, Permissions
from service.http.dto import entity_dto
from service.http.overrides import overridden
from service.http.problems import on_http_exception, on_service_error, on_unexpected
from service.http.running import Running
from service.lifespan import Hook, Lifespan
from service.managers.base import Manager
from service.managers.hooks import Hooks
from service.routes import BackgroundPlan, RoutePlan, all_routes
from service.settings import Settings, from_env


class ServiceBuilder:
    """Collects what a service is made of; `build` checks it and returns the app.

    Every method returns the builder. A mistake is a `Misconfigured` with a sentence that says what to change, raised
    at the call that makes it or at `build`, never later. Two builders share nothing.
    """

    def __init__(self, info: ServiceInfo) -> None:
        self._info = info
        # Migrations live beside the module that builds the service.
        caller = sys._getframe(1).f_globals.get("__file__")
        self._folder = Path(caller).resolve().parent if caller else Path.cwd()
        self._database: DatabaseOptions | None = None
        self._migrations: Path | None = None
        self._resources: list[tuple[Resource[Any], type[Table], Permissions, tuple[Hooks[Any], ...]]] = []
        self._operations: dict[str, list[Operation]] = {}
        self._health: tuple[str, dict[str, HealthCheck], bool, list[str]] | None = None
        self._system: tuple[str, list[str]] | None = None
        self._logging: dict[str, str | None] | None = None
        self._routers: list[ControllerRouterHandler] = []
        self._starts: list[Hook] = []
        self._stops: list[Hook] = []
        self._overrides: dict[str, Provide] = {}
        self._jobs: JobsPlan | None = None
        self._tasks: list[Task] = []
        self._tasks_path = "/api/v1/tasks"
        self._schedules: Resource[ScheduledTask] | None = None

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
        self._database = DatabaseOptions(
            url=url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            acquire_timeout_seconds=acquire_timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            idle_seconds=idle_seconds,
        )
        self._migrations = Path(migrations) if migrations is not None else None
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
        self._resources.append((resource, table, permissions or Permissions(), tuple(hooks)))
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
        self._operations.setdefault(resource.name, []).append(operation)
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
        self._operations.setdefault(resource.name, []).append(operation)
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
        self._health = (_prefix("with_health", prefix), dict(checks or {}), include_database_check, list(tags))
        return self

    def with_system(self, prefix: str = "/api/v1/system", *, tags: Sequence[str] = ("System",)) -> Self:
        """Offer what the service runs on."""
        self._system = (_prefix("with_system", prefix), list(tags))
        return self

    def with_logging(self, *, format: str | None = None, level: str | None = None) -> Self:
        """Log structured lines, one per request among them; `LOG_FORMAT` and `LOG_LEVEL` decide what is not given."""
        self._logging = {"LOG_FORMAT": format, "LOG_LEVEL": level}
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
        self._jobs = JobsPlan(
            path=_prefix("with_jobs", prefix),
            options=options,
            retention=retention or Retention(),
            start_method=start_method,
            tags=tuple(tags),
        )
        return self

    def with_tasks(self, *tasks: Task, prefix: str | None = None) -> Self:
        """Offer functions made by `@task` to be run as jobs, from code and over HTTP under `prefix` (/api/v1/tasks)."""
        Tasks([*self._tasks, *tasks])
        for item in tasks:
            if item.is_process:
                check_importable(item)
        self._tasks += tasks
        if prefix is not None:
            self._tasks_path = _prefix("with_tasks", prefix)
        return self.with_jobs() if self._jobs is None else self

    def with_schedules(self, prefix: str = "/api/v1/schedules") -> Self:
        """Offer schedules: tasks that are submitted by the clock, changed at run time over HTTP."""
        self._schedules = SCHEDULES.at(_prefix("with_schedules", prefix)).bounded(bounds_of(Schedules))
        return self

    def include_router(self, router: ControllerRouterHandler) -> Self:
        """Add a Litestar router, controller or handler of your own."""
        self._routers.append(router)
        return self

    def on_startup(self, hook: Hook) -> Self:
        """Run an async function once the database is open; it may take the app. An error stops the start."""
        self._starts.append(_checked_hook("on_startup", hook))
        return self

    def on_shutdown(self, hook: Hook) -> Self:
        """Run an async function before the database is closed; an error is logged and the next one runs."""
        self._stops.append(_checked_hook("on_shutdown", hook))
        return self

    def override_dependency(self, name: str, provider: Callable[..., Any]) -> Self:
        """Provide the dependency `name` by another function, wherever handlers ask for it: for tests, or a variant."""
        if not callable(provider):
            raise Misconfigured(f"override_dependency({name!r}): the provider must be callable")
        self._overrides[name] = Provide(provider, sync_to_thread=False if not _is_async(provider) else None)
        return self

    def build(self, settings: Settings | None = None) -> Service:
        """Check everything and return the app; nothing is opened before it starts.

        `settings` None reads the environment. Raises `Misconfigured`.
        """
        settings = settings or self._settings()
        self._check()
        running = Running()
        design = self._design()
        resources = [
            (item.resource, permissions)
            for item, (_, _, permissions, _) in zip(design.resources, self._resources, strict=True)
        ]
        if self._schedules is not None:
            resources.append((self._schedules, Permissions()))
        lifespan = Lifespan(
            settings,
            design,
            running,
            starts=self._starts,
            stops=self._stops,
            is_logging=self._logging is not None,
        )
        routers, dependencies = self._overridden(self._dependencies(running))
        plan = RoutePlan(
            info=self._info,
            running=running,
            resources=tuple((resource, Bodies(resource), permissions) for resource, permissions in resources),
            operations=self._operations,
            health=self._health_plan(lifespan),
            system=self._system,
            routers=routers,
            background=self._background_plan(),
        )
        app = Service(
            route_handlers=all_routes(plan),
            dependencies=dependencies,
            exception_handlers={
                ServiceError: on_service_error,
                HTTPException: on_http_exception,
                Exception: on_unexpected,
            },
            return_dto=entity_dto([*(resource for resource, _ in resources), *self._background_resources()]),
            lifespan=[lifespan],
            openapi_config=None,
            logging_config=None,
        )
        app.prepare(running, lifespan.enter_request, is_logging_requests=self._logging is not None)
        app.info, app.design, app.settings = self._info, design, settings
        return app

    # What `build` is made of

    def _settings(self) -> Settings:
        given = {name: value for name, value in (self._logging or {}).items() if value is not None}
        return from_env({**os.environ, **given})

    def _check(self) -> None:
        if self._resources and self._database is None:
            name = self._resources[0][0].name
            raise Misconfigured(f"with_crud({name}) needs a database: call with_database() on the builder")
        if self._jobs is not None and self._database is None:
            raise Misconfigured("with_jobs() and with_tasks() need a database: call with_database() on the builder")
        if self._schedules is not None and not self._tasks:
            raise Misconfigured("with_schedules() has nothing to schedule: call with_tasks(…) on the builder")
        own = [resource for resource, *_ in self._resources] + self._background_resources()
        for kind, values in (
            ("name", [resource.name for resource in own]),
            ("path", [resource.path for resource in own]),
            ("table", [table._meta.tablename for _, table, *_ in self._resources]),
        ):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise Misconfigured(f"two resources have the {kind} {twice!r}: give each its own")
        for name in self._operations.keys() - {resource.name for resource, *_ in self._resources}:
            raise Misconfigured(f"an operation is registered for {name!r}, which has no with_crud(…)")

    def _design(self) -> Design:
        jobs = None
        if self._jobs is not None:
            jobs = JobsDesign(
                tasks=Tasks(self._tasks),
                options=msgspec.structs.replace(
                    self._jobs.options, queues=Tasks(self._tasks).queues or (DEFAULT_QUEUE,)
                ),
                retention=self._jobs.retention,
                start_method=self._jobs.start_method,
            )
        folder = self._folder / (self._migrations or "migrations")
        if self._migrations is not None and not folder.is_dir():
            raise Misconfigured(f"with_database(migrations={str(self._migrations)!r}): there is no folder {folder}")
        return Design(
            name=self._info.id,
            database=self._database,
            migrations=folder if any(file.name != "__init__.py" for file in folder.glob("*.py")) else None,
            migrations_home=folder,
            resources=tuple(
                ResourceDesign(resource=resource.bounded(bounds_of(table)), table=table, hooks=hooks)
                for resource, table, _, hooks in self._resources
            ),
            jobs=jobs,
        )

    def _background_resources(self) -> list[Resource[Any]]:
        if self._jobs is None:
            return []
        found: list[Resource[Any]] = [JOBS.at(self._jobs.path), GRAPHS]
        return found if self._schedules is None else [*found, self._schedules]

    def _background_plan(self) -> BackgroundPlan | None:
        if self._jobs is None:
            return None
        return BackgroundPlan(
            jobs=JOBS.at(self._jobs.path),
            graphs=GRAPHS,
            tasks_path=self._tasks_path,
            schedules=self._schedules,
            tags=self._jobs.tags,
        )

    def _dependencies(self, running: Running) -> dict[str, Provide]:
        def manager_of(name: str) -> Callable[[], Manager[Any]]:
            def provide() -> Manager[Any]:
                return running.manager(name)

            return provide

        provided = {
            f"{resource.name.replace('-', '_')}_manager": Provide(manager_of(resource.name), sync_to_thread=False)
            for resource, *_ in self._resources
        }
        info = self._info

        def provide_info() -> ServiceInfo:
            return info

        if self._jobs is not None:
            for name in ("jobs", "graphs", "schedules"):
                provided[name] = Provide(_background_manager(running, name), sync_to_thread=False)
        return {**provided, "service_info": Provide(provide_info, sync_to_thread=False)}

    def _overridden(
        self, dependencies: dict[str, Provide]
    ) -> tuple[tuple[ControllerRouterHandler, ...], dict[str, Provide]]:
        if not self._overrides:
            return tuple(self._routers), dependencies
        found = set(dependencies) & set(self._overrides)
        routers = []
        for router in self._routers:
            twin, hits = overridden(router, self._overrides)
            routers.append(twin)
            found |= hits
        for name in self._overrides.keys() - found:
            known = ", ".join(dependencies)
            raise Misconfigured(f"override_dependency({name!r}): no handler has it; the service provides {known}")
        return tuple(routers), {name: self._overrides.get(name, given) for name, given in dependencies.items()}

    def _health_plan(self, lifespan: Lifespan) -> tuple[str, dict[str, HealthCheck], list[str]] | None:
        if self._health is None:
            return None
        prefix, checks, has_database_check, tags = self._health
        if has_database_check and self._database is not None:
            checks = {**checks, "database": checks.get("database", lifespan.check_database)}
        return prefix, checks, tags


class JobsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_jobs` was told."""

    path: str
    options: WorkerOptions
    retention: Retention
    start_method: str
    tags: tuple[str, ...]


def _background_manager(running: Running, name: str) -> Callable[[], Any]:
    def provide() -> Any:
        return getattr(running.background, name)

    return provide


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
