"""Opens the cache of a service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec
from piccolo.table import Table

from domain.cache_options import CacheOptions
from domain.caching import Generations, Locks, NearCache, fingerprint
from domain.errors import Misconfigured
from domain.redis_url import RedisAddress, parse_redis_url
from infra.database.engine import DatabaseEngine
from infra.database.generations.opening import open_generations
from infra.database.secrets import shared_secret
from service.managers.caching import Caching
from service.managers.computations import Computations

# Most replies are made in less time than it takes to find out which process is to make them.
_WORTH_A_TURN_SECONDS = 0.01


class CacheDesign(msgspec.Struct, frozen=True, kw_only=True):
    """What is cached: replies made of these tables. `code` names the version of the service's own code."""

    options: CacheOptions
    tables: tuple[type[Table], ...] = ()
    code: str = ""


@asynccontextmanager
async def open_caching(
    design: CacheDesign, engine: DatabaseEngine | None, *, service: str, folder: Path, redis_url: str | None = None
) -> AsyncIterator[Caching]:
    """The cache, for the block; with a Redis it is shared by all processes, as far as that answers.

    `folder` is that of a tier on disk. Without a database, tags are kept in Redis, or else in this process only.
    Raises `Misconfigured`.
    """
    # Whoever caches nothing loads nothing of it.
    from infra.cache.memory import InMemoryCache

    async with AsyncExitStack() as stack:
        parts = [version("millrace"), design.code, service]
        if engine is not None:
            # A database that is made anew counts from the beginning; its secret tells it from the one before.
            parts.append((await shared_secret(engine, "cache")).hex())
        code = fingerprint(*parts)
        memory = InMemoryCache(most_entries=design.options.max_entries, most_bytes=design.options.max_bytes)
        near: NearCache = memory
        own: NearCache = memory
        locks: Locks | None = None
        generations: Generations | None = None
        if redis_url is not None:
            from infra.cache.generations import RedisGenerations
            from infra.cache.link import RedisLink
            from infra.cache.redis import RedisCache, RedisLocks
            from infra.cache.tiers import TieredCache

            link, namespace = RedisLink(_address(redis_url)), f"millrace:{service}:{code}"
            stack.push_async_callback(link.close)
            locks = RedisLocks(link, namespace=namespace)
            near = own = tiered = TieredCache(memory, RedisCache(link, namespace=namespace))
            stack.push_async_callback(tiered.close)
            # Other versions of the code have the same tags.
            generations = RedisGenerations(link, namespace=f"millrace:{service}")
        elif most_bytes := design.options.max_disk_bytes:
            from infra.cache.disk import DiskCache
            from infra.cache.tiers import TieredCache

            # Replies are made in less time than it takes to find them on a disk.
            own = tiered = TieredCache(memory, DiskCache(folder / service, namespace=code, most_bytes=most_bytes))
            stack.push_async_callback(tiered.close)
        if engine is not None:
            names = [table._meta.tablename for table in design.tables]
            generations = await stack.enter_async_context(open_generations(engine, names))
        elif generations is None:
            from infra.cache.generations import MemoryGenerations

            generations = MemoryGenerations()
        replies = Computations(near, generations, locks, least_seconds=_WORTH_A_TURN_SECONDS)
        computations = Computations(own, generations, locks, prefix="own:")
        for one in (replies, computations):
            stack.push_async_callback(one.close)
        yield Caching(
            near, generations, replies, computations, fingerprint=code, options=design.options, tiers=own.tiers
        )


def _address(redis_url: str) -> RedisAddress:
    try:
        return parse_redis_url(redis_url)
    except Misconfigured as error:
        raise Misconfigured(f"REDIS_URL: {error}") from None
