"""The cache in this process: the least recently used goes when there are too many entries, or too many bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from aiocache.backends.memory import SimpleMemoryBackend
from aiocache.serializers import NullSerializer

from domain.caching import CacheStats

# What Python needs for one entry besides key and value, roughly: it makes many tiny entries count as well.
ENTRY_BYTES = 200

Stamped = tuple[bytes, float]


class BoundedBackend(SimpleMemoryBackend):  # type: ignore[misc]
    """aiocache's memory with bounds; entries carry the time of their end, where the original starts a timer for each.

    Its methods need no event loop, so a hit costs no round through it.
    """

    def __init__(self, most_entries: int, most_bytes: int, clock: Callable[[], float]) -> None:
        # Its own limit of time per call would be a task for each of them.
        super().__init__(serializer=NullSerializer(), timeout=0)
        self._cache: OrderedDict[str, Stamped] = OrderedDict()
        self._most_entries, self._most_bytes, self._clock = most_entries, most_bytes, clock
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._cache)

    def peek(self, key: str) -> bytes | None:
        stamped = self._cache.get(key)
        if stamped is None:
            return None
        if stamped[1] <= self._clock():
            self.drop(key)
            return None
        self._cache.move_to_end(key)
        return stamped[0]

    def put(self, key: str, value: bytes, ttl: float) -> None:
        self.drop(key)
        size = _size(key, value)
        if ttl <= 0 or size > self._most_bytes:
            return
        self._cache[key] = (value, self._clock() + ttl)
        self.bytes += size
        while len(self._cache) > self._most_entries or self.bytes > self._most_bytes:
            self.evictions += self.drop(next(iter(self._cache)))
        self._sweep()

    def drop(self, key: str) -> bool:
        stamped = self._cache.pop(key, None)
        if stamped is None:
            return False
        self.bytes -= _size(key, stamped[0])
        return True

    def empty(self) -> int:
        count = len(self._cache)
        self._cache.clear()
        self.bytes = 0
        return count

    def _sweep(self) -> None:
        """Nobody asks for what has ended: some of it goes with each new entry, so that it does not pile up."""
        for _ in range(2):
            key = next(iter(self._cache))
            if self._cache[key][1] > self._clock():
                return
            self.drop(key)

    # What aiocache calls.

    async def _get(self, key: str, encoding: Any = None, _conn: Any = None) -> bytes | None:
        return self.peek(key)

    async def _set(self, key: str, value: bytes, ttl: float | None = None, **_: Any) -> bool:
        self.put(key, value, ttl or float("inf"))
        return True

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return self.drop(key)

    async def _clear(self, namespace: Any = None, _conn: Any = None) -> bool:
        self.empty()
        return True


class InMemoryCache:
    """Keeps at most `most_entries` and about `most_bytes`; what is larger than all of that is not kept at all."""

    def __init__(
        self,
        *,
        most_entries: int = 10_000,
        most_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = BoundedBackend(most_entries, most_bytes, clock)
        self._stats = CacheStats()

    def peek(self, key: str) -> bytes | None:
        """What is kept under `key`, at once. Who finds nothing will ask again, so that is no miss yet."""
        value = self._backend.peek(key)
        self._stats.hits += value is not None
        return value

    def set_now(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value`, at once."""
        check_bytes(value)
        self._stats.sets += 1
        self._backend.put(key, value, ttl_seconds)

    async def get(self, key: str) -> bytes | None:
        """What is kept under `key`; None without it."""
        value = self.peek(key)
        self._stats.misses += value is None
        return value

    async def renewed(self, key: str) -> bytes | None:
        """The same: nobody else can put anything here."""
        return self.peek(key)

    async def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for `ttl_seconds`."""
        self.set_now(key, value, ttl_seconds=ttl_seconds)

    async def delete(self, key: str) -> None:
        """Forget what is kept under `key`."""
        self._backend.drop(key)

    async def clear(self) -> int:
        """Forget everything."""
        return self.clear_now()

    def clear_now(self) -> int:
        """Forget everything, at once."""
        return self._backend.empty()

    def stats(self) -> CacheStats:
        """What has happened so far."""
        self._stats.evictions = self._backend.evictions
        self._stats.entries, self._stats.bytes = len(self._backend), self._backend.bytes
        return self._stats

    def tiers(self) -> Mapping[str, CacheStats]:
        """There is this one."""
        return {"memory": self.stats()}


def check_bytes(value: bytes) -> None:
    """Raise `TypeError` for what could change after it was kept, or would have to be turned into bytes somehow."""
    if type(value) is not bytes:
        raise TypeError(f"a cache keeps bytes, not {type(value).__name__}")


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
