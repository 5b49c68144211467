"""Has what was opened measured, for as long as it is open."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import msgspec

from domain.cache_measures import cache_families
from domain.measures import Family
from infra.database.engine import DatabaseEngine
from infra.database.jobs.readings import WorkReadings
from infra.database.pool_measures import PoolMeasures
from service.background import Opened
from service.managers.caching import Caching
from service.managers.monitoring import Monitoring
from service.managers.readings import Readings


@asynccontextmanager
async def watched(monitoring: Monitoring | None) -> AsyncIterator[None]:
    """Watch the event loop."""
    if monitoring is None:
        yield
        return
    async with monitoring.watching():
        yield


@asynccontextmanager
async def measured_database(monitoring: Monitoring | None, engine: DatabaseEngine) -> AsyncIterator[None]:
    """Measure the connections of an engine that is not started yet."""
    if monitoring is None:
        yield
        return
    pools = PoolMeasures()
    engine.measure(pools)
    with monitoring.measures.including(pools.families, partial(pools.states, engine.pools)):
        async with monitoring.watching():
            yield


@asynccontextmanager
async def measured_work(
    monitoring: Monitoring | None, engine: DatabaseEngine, background: Opened | None
) -> AsyncIterator[None]:
    """Read how the work stands whenever somebody wants to know."""
    if monitoring is None or background is None:
        yield
        return
    tasks = background.managers.tasks
    readings = Readings(WorkReadings(engine).read, queues=tasks.queues, kinds=tasks.kinds)
    monitoring.preparations.append(readings.renew)
    try:
        with monitoring.measures.including(readings.families):
            yield
    finally:
        monitoring.preparations.remove(readings.renew)
        await readings.close()


@contextmanager
def measured_cache(monitoring: Monitoring | None, caching: Caching) -> Iterator[None]:
    """Show how much use the cache is."""
    if monitoring is None:
        yield
        return

    def families() -> Iterator[Family]:
        routes = {route: msgspec.structs.asdict(stats) for route, stats in list(caching.routes.items())}
        return cache_families(caching.stats, caching.tiers(), routes)

    with monitoring.measures.including(families):
        yield
