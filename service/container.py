"""Puts the adapters and the managers of one service together: opened together, closed together."""

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from domain.errors import Misconfigured, NotFound
from domain.fsck import Reference
from domain.health import CheckResult, HealthState
from domain.idempotency import Replies
from domain.job_ports import RunHooks
from domain.storage import Storage
from infra.database.artifacts import ArtifactRows, RequestReferences
from infra.database.current import use_engine
from infra.database.engine import DatabaseEngine, create_engine
from infra.database.generations.counts import tables_named, unwatched
from infra.database.idempotency import ReplyDatabase
from infra.database.migrate import up
from infra.database.repository import PiccoloRepository
from infra.database.schema import compare
from infra.database.secrets import shared_secret
from infra.database.sqlite import SqliteEngine
from infra.storage.local import LocalStorage
from infra.telemetry.logging import configure_logging
from service.background import Opened, open_background
from service.caching import open_caching
from service.design import Design, ResourceDesign
from service.drawing import drawing
from service.managers.base import Manager
from service.managers.cached import bound
from service.managers.caching import Caching
from service.managers.charts import Charts
from service.managers.modelling import Modelling
from service.managers.storage import References
from service.measuring import measured_cache, measured_database, measured_work, watched
from service.modelling import OpenedModelling, open_modelling
from service.settings import Settings

logger = logging.getLogger("millrace.database")


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """The opened parts. `secret` signs what clients carry for us, such as cursors."""

    database: DatabaseEngine | None
    managers: Mapping[str, Manager[Any]]
    secret: bytes
    background: Opened | None = None
    modelling: Modelling | None = None
    storage: Storage | None = None
    charts: Charts | None = None
    caching: Caching | None = None
    replies: Replies | None = None
    reference_sources: tuple[References, ...] = ()

    async def references(self) -> AsyncIterator[Reference]:
        """Every row that relies on stored content."""
        for source in self.reference_sources:
            async for reference in source():
                yield reference

    def manager(self, name: str) -> Manager[Any]:
        """The manager of a resource by name. Raises `NotFound`."""
        try:
            return self.managers[name]
        except KeyError:
            known = ", ".join(self.managers) or "none"
            raise NotFound(f"There is no resource {name!r}; there are: {known}") from None

    def use(self) -> None:
        """Make this service's database the one that Tables talk to, for the rest of the running task."""
        if self.database is not None:
            use_engine(self.database)


@asynccontextmanager
async def open_container(settings: Settings, design: Design) -> AsyncIterator[Container]:
    """Open everything a service needs. The app, workers and commands all start here.

    Raises `Misconfigured` with what to change, and `Unavailable` when the database cannot be reached.
    """
    engine = make_engine(settings, design)
    if engine is None:
        async with drawing() as charts, watched(design.monitoring), _caching(settings, design, None) as caching:
            secret = _own_secret(settings) or secrets.token_bytes(32)
            yield Container(database=None, managers={}, secret=secret, charts=charts, caching=caching)
        return
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(measured_database(design.monitoring, engine))
            await engine.start()
            use_engine(engine)
            await _prepare_schema(engine, settings, design)
            modelling = await _modelling(stack, engine, settings, design)
            background = await _background(stack, engine, settings, design, modelling.hooks if modelling else {})
            await stack.enter_async_context(measured_work(design.monitoring, engine, background))
            caching = await stack.enter_async_context(_caching(settings, design, engine))
            managers = {item.resource.name: _manager(engine, item, caching) for item in design.resources}
            yield Container(
                database=engine,
                managers={
                    **managers,
                    **(background.resources if background else {}),
                    **(modelling.managers if modelling else {}),
                },
                secret=_own_secret(settings) or await shared_secret(engine, "cursors"),
                background=background,
                modelling=modelling.with_jobs(background.managers if background else None) if modelling else None,
                storage=LocalStorage(settings.storage) if modelling else None,
                replies=ReplyDatabase(engine),
                charts=await stack.enter_async_context(drawing()),
                caching=caching,
                reference_sources=_references(engine) if modelling else (),
            )
    finally:
        await engine.stop()


@asynccontextmanager
async def _caching(settings: Settings, design: Design, engine: DatabaseEngine | None) -> AsyncIterator[Caching | None]:
    if design.cache is None:
        yield None
        return
    folder = settings.home / "cache"
    async with open_caching(
        design.cache, engine, service=design.name, folder=folder, redis_url=settings.redis_url
    ) as caching:
        with measured_cache(design.monitoring, caching):
            yield caching


def make_engine(settings: Settings, design: Design) -> DatabaseEngine | None:
    """The design's engine, not yet started; None when the service has no database."""
    if design.database is None:
        return None
    options = design.database
    if options.url is None:
        options = msgspec.structs.replace(options, url=settings.database_url)
    return create_engine(options, home=settings.home, name=design.name)


async def _modelling(
    stack: AsyncExitStack, engine: DatabaseEngine, settings: Settings, design: Design
) -> OpenedModelling | None:
    if design.modelling is None:
        return None
    return await stack.enter_async_context(
        open_modelling(
            engine,
            design.modelling,
            storage=settings.storage,
            scratch=settings.scratch,
            secret=_own_secret(settings) or await shared_secret(engine, "artifacts"),
            code_revision=design.code_revision or settings.code_revision,
            on_asked=design.monitoring.asked if design.monitoring is not None else None,
        )
    )


def _references(engine: DatabaseEngine) -> tuple[References, ...]:
    """Everything that relies on stored content: artifacts, and jobs of models."""
    return ArtifactRows(engine).references, RequestReferences(engine).references


async def _background(
    stack: AsyncExitStack,
    engine: DatabaseEngine,
    settings: Settings,
    design: Design,
    hooks: Mapping[str, RunHooks],
) -> Opened | None:
    if design.jobs is None:
        return None

    def another_engine() -> DatabaseEngine:
        # Whoever gets it asks one thing at a time.
        assert design.database is not None
        options = msgspec.structs.replace(design.database, pool_size=1, max_overflow=1)
        made = make_engine(settings, msgspec.structs.replace(design, database=options))
        assert made is not None
        return made

    return await stack.enter_async_context(
        open_background(
            engine,
            another_engine,
            settings.redis_url,
            design.jobs,
            namespace=design.name,
            hooks=hooks,
            monitoring=design.monitoring,
        )
    )


def location(settings: Settings, design: Design) -> str:
    """Where the data is, in words for people and without secrets."""
    engine = make_engine(settings, design)
    if engine is None:
        return "nowhere (there is no database)"
    if isinstance(engine, SqliteEngine):
        return str(engine.path.absolute()) if engine.path else "in memory (lost when the service stops)"
    return engine.url.safe


def log_to_stderr(settings: Settings) -> None:
    """Log the way the service does, also before it has started."""
    configure_logging(format=settings.log_format, level=settings.log_level)


async def database_check(engine: DatabaseEngine | None) -> CheckResult:
    """Whether the database answers."""
    if engine is None:
        return CheckResult(HealthState.UNHEALTHY, "Database connection failed: it is not open")
    try:
        await engine.ping()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from answering is the finding
        return CheckResult(HealthState.UNHEALTHY, f"Database connection failed: {error}")
    return CheckResult(HealthState.HEALTHY)


async def _prepare_schema(engine: DatabaseEngine, settings: Settings, design: Design) -> None:
    apps = design.migration_apps
    if settings.is_migrating_on_start:
        for line in await up(engine, apps):
            logger.info("%s", line)
        return
    for app in apps:
        drift = await compare(engine, app.tables)
        missing = [] if drift.is_clean else [drift.describe()]
        missing += [
            f"changes of {table} are not counted" for table in tables_named(await unwatched(engine, app.watched))
        ]
        if missing:
            raise Misconfigured(f"{'; '.join(missing)}: run `millrace migrate`, or set MILLRACE_MIGRATE=true")


def _manager(engine: DatabaseEngine, item: ResourceDesign, caching: Caching | None) -> Manager[Any]:
    repository: PiccoloRepository[Any] = PiccoloRepository(item.resource, item.table, engine)
    cache = caching.computations if caching is not None else None
    hooks = bound(item.hooks, cache, item.table._meta.tablename)
    return Manager(item.resource, repository, engine, hooks=hooks)


def _own_secret(settings: Settings) -> bytes | None:
    return settings.secret_key.encode() if settings.secret_key else None
