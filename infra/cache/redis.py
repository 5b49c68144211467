"""The cache that the processes of a service share."""

import asyncio
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

from domain.caching import LONGEST_SHARED_BYTES, CacheStats
from infra.cache.link import RedisLink
from infra.cache.memory import check_bytes

# How long this process may go on with what another one has cleared.
EPOCH_SECONDS = 1.0
# An epoch that nobody has asked for this long belongs to code that is gone.
EPOCH_LIFE_SECONDS = 30 * 24 * 3600

_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('pexpire', KEYS[1], ARGV[2]) end"


class RedisCache:
    """Keeps entries of the service and fingerprint that `namespace` names. A Redis that does not answer has nothing.

    A clearing begins another epoch, so nothing is searched for; what is of an old one ends by itself. How much there
    is in Redis is not known here.
    """

    def __init__(self, link: RedisLink, *, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._namespace = namespace
        self._clock = clock
        self._epoch = ""
        self._epoch_until = 0.0
        self._stats = CacheStats()

    async def get(self, key: str) -> bytes | None:
        """What is kept under `key`; None without it."""
        found = await self.get_with_ttl(key)
        return found[0] if found is not None else None

    async def renewed(self, key: str) -> bytes | None:
        """The same: nothing is remembered here."""
        return await self.get(key)

    async def get_with_ttl(self, key: str) -> tuple[bytes, float] | None:
        """What is kept under `key`, and for how many seconds more."""
        found = await self._link.ask(lambda: self._read(key))
        if found is None or found[0] is None:
            self._stats.misses += 1
            return None
        self._stats.hits += 1
        return found[0]

    async def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for `ttl_seconds`, unless it is very long."""
        check_bytes(value)
        milliseconds = int(ttl_seconds * 1000)
        if milliseconds < 1 or len(value) > LONGEST_SHARED_BYTES:
            await self.delete(key)
            return
        if await self._link.ask(lambda: self._write(key, value, milliseconds)) is not None:
            self._stats.sets += 1

    async def delete(self, key: str) -> None:
        """Forget what is kept under `key`, if Redis answers."""
        await self._link.ask(lambda: self._remove(key))

    async def clear(self) -> int:
        """Have nobody find anything that is there now; how much that is nobody knows."""
        epoch = uuid4().hex
        await self._link.ask(lambda: self._link.backend.set(self._epoch_key, epoch.encode(), ttl=EPOCH_LIFE_SECONDS))
        self._epoch_until = 0.0
        return 0

    def stats(self) -> CacheStats:
        """What has happened so far."""
        self._stats.errors, self._stats.skipped = self._link.errors, self._link.skipped
        self._stats.breaker = self._link.breaker.state
        return self._stats

    def tiers(self) -> Mapping[str, CacheStats]:
        """There is this one."""
        return {"redis": self.stats()}

    async def _read(self, key: str) -> tuple[bytes, float] | None:
        name = await self._name(key)
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.get(name)
            pipeline.pttl(name)
            value, milliseconds = await pipeline.execute()
        # It may have ended between the two.
        return (value, milliseconds / 1000) if value is not None and milliseconds > 0 else None

    async def _write(self, key: str, value: bytes, milliseconds: int) -> None:
        await self._link.backend.set(await self._name(key), value, ttl=milliseconds / 1000)

    async def _remove(self, key: str) -> None:
        await self._link.backend.delete(await self._name(key))

    async def _name(self, key: str) -> str:
        if self._clock() >= self._epoch_until:
            self._epoch = await self._current_epoch()
            self._epoch_until = self._clock() + EPOCH_SECONDS
        return f"{self._namespace}:{self._epoch}:{key}"

    async def _current_epoch(self) -> str:
        """The epoch there is, or a new one: should Redis have forgotten it, it must not be one there has been."""
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.set(self._epoch_key, uuid4().hex, nx=True, ex=EPOCH_LIFE_SECONDS)
            pipeline.expire(self._epoch_key, EPOCH_LIFE_SECONDS)
            pipeline.get(self._epoch_key)
            *_, epoch = await pipeline.execute()
        return str(epoch, "ascii") if epoch is not None else uuid4().hex

    @property
    def _epoch_key(self) -> str:
        return f"{self._namespace}:epoch"


class RedisLocks:
    """Locks that end by themselves; only who took one can give it back. Without Redis each of them is granted."""

    _EXTEND = (
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
    )

    def __init__(self, link: RedisLink, *, namespace: str) -> None:
        self._link = link
        self._namespace = namespace
        self._returning: set[asyncio.Task[None]] = set()

    async def take(self, key: str, *, seconds: float) -> str | None:
        """The token of a lock that ends by itself after `seconds`; None while somebody else has it."""
        name, token = self._name(key), uuid4().hex
        try:
            taken = await self._link.ask(lambda: self._link.client.set(name, token, nx=True, px=int(seconds * 1000)))
        except asyncio.CancelledError:
            # Redis may have heard the question; nobody is to wait for a lock that nobody knows of.
            returning = asyncio.create_task(self.release(key, token))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            raise
        # Whoever gets no answer may have taken it all the same, so the token is that of the lock.
        return token if taken is None or taken[0] else None

    async def extend(self, key: str, token: str, *, seconds: float) -> None:
        """Have it for `seconds` from now on, if it is still ours."""
        milliseconds = int(seconds * 1000)
        await self._link.ask(lambda: self._link.backend.raw("eval", _EXTEND, 1, self._name(key), token, milliseconds))

    async def release(self, key: str, token: str) -> None:
        """Give it back, if it is still ours."""
        await self._link.ask(lambda: self._link.backend._redlock_release(self._name(key), token))

    def _name(self, key: str) -> str:
        return f"{self._namespace}:lock:{key}"
