"""`/api/v1/system/cache`: what the cache of this process has been good for, and how to empty it."""

import msgspec
from litestar import Router, get, post
from litestar.status_codes import HTTP_200_OK

from domain.caching import CacheStats
from domain.computations import ComputationStats
from domain.errors import Unavailable
from service.http.running import Running
from service.managers.caching import Caching, RouteStats


class CacheReport(msgspec.Struct, kw_only=True):
    """The cache of the process that has answered; every process has one.

    `tiers` are asked in this order. `computations` are those of the service's own code, `hit_rate` is theirs. `routes`
    are counts of requests, and which part of them needed no work of its own.
    """

    tiers: dict[str, CacheStats]
    computations: ComputationStats
    hit_rate: float | None
    routes: dict[str, dict[str, float | None]]


class Cleared(msgspec.Struct):
    """How many entries are gone, as far as is known."""

    cleared: int


def cache_router(path: str, running: Running, tags: list[str]) -> Router:
    """The routes of the cache under `path`."""

    def caching() -> Caching:
        if running.caching is None:
            raise Unavailable("The service is not running")
        return running.caching

    @get("/", summary="What the cache of this process has been good for")
    async def report() -> CacheReport:
        found = caching()
        return CacheReport(
            tiers=dict(found.tiers()),
            computations=found.computations.stats,
            hit_rate=_rounded(found.computations.stats.hit_rate),
            routes={template: _report(stats) for template, stats in sorted(found.routes.items())},
        )

    @post("/$clear", status_code=HTTP_200_OK, summary="Forget everything that is cached, in all processes")
    async def clear() -> Cleared:
        return Cleared(cleared=await caching().computations.clear())

    return Router(path=path, route_handlers=[report, clear], tags=tags)


def _report(stats: RouteStats) -> dict[str, float | None]:
    return {**msgspec.structs.asdict(stats), "hit_rate": _rounded(stats.hit_rate)}


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 4)
