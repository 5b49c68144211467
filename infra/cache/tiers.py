"""Two caches as one: the memory of this process first, then the one that outlives it, and that all processes share."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

from domain.caching import Cache, CacheStats
from infra.cache.memory import InMemoryCache

# How many entries may be on their way to the shared cache that nobody waits for.
MOST_ON_THE_WAY = 1_000


class FarCache(Cache, Protocol):
    """A cache that outlives this process."""

    async def get_with_ttl(self, key: str) -> tuple[bytes, float] | None:
        """What is kept under `key`, and for how many seconds more."""
        ...


class TieredCache:
    """What is set goes to both, and what only the shared one has is remembered here from then on."""

    def __init__(self, near: InMemoryCache, far: FarCache) -> None:
        self._near = near
        self._far = far
        self._on_the_way: set[asyncio.Task[None]] = set()

    def peek(self, key: str) -> bytes | None:
        """What this process remembers under `key`, at once."""
        return self._near.peek(key)

    def set_now(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Remember `value` at once; the shared cache gets it soon, if not too much is on its way there."""
        self._near.set_now(key, value, ttl_seconds=ttl_seconds)
        if len(self._on_the_way) < MOST_ON_THE_WAY:
            task = asyncio.create_task(self._far.set(key, value, ttl_seconds=ttl_seconds))
            self._on_the_way.add(task)
            task.add_done_callback(self._on_the_way.discard)

    async def get(self, key: str) -> bytes | None:
        """What is kept under `key`; None without it."""
        value = await self._near.get(key)
        return value if value is not None else await self._fetched(key)

    async def renewed(self, key: str) -> bytes | None:
        """What is kept under `key` by the shared cache, or else remembered here."""
        value = await self._fetched(key)
        return value if value is not None else self._near.peek(key)

    async def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` in both for `ttl_seconds`."""
        self._near.set_now(key, value, ttl_seconds=ttl_seconds)
        await self._far.set(key, value, ttl_seconds=ttl_seconds)

    async def delete(self, key: str) -> None:
        """Forget what is kept under `key`; other processes remember it."""
        await self._near.delete(key)
        await self._far.delete(key)

    async def clear(self) -> int:
        """Forget everything here and in the shared cache; returns how many entries were here."""
        await self._far.clear()
        return self._near.clear_now()

    async def close(self) -> None:
        """Wait for what is on its way, which does not take long."""
        await asyncio.gather(*self._on_the_way)

    def stats(self) -> CacheStats:
        """What has happened so far: a miss is one in both, an entry one in this process."""
        near, far = self._near.stats(), self._far.stats()
        return msgspec.structs.replace(
            near,
            hits=near.hits + far.hits,
            misses=far.misses,
            errors=far.errors,
            skipped=far.skipped,
            breaker=far.breaker,
        )

    def tiers(self) -> Mapping[str, CacheStats]:
        """The same for each, the nearest first."""
        return {**self._near.tiers(), **self._far.tiers()}

    async def _fetched(self, key: str) -> bytes | None:
        found = await self._far.get_with_ttl(key)
        if found is None:
            return None
        value, ttl_seconds = found
        self._near.set_now(key, value, ttl_seconds=ttl_seconds)
        return value
