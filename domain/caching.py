"""What a cache promises, and by which marks it knows that what it holds is still true."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol
from zlib import crc32

import msgspec

EVERYTHING = "*"
"""The name behind which all is that a service caches: when its generation changes, nothing cached is found any more."""

LONGEST_SHARED_BYTES = 1024 * 1024
"""Longer values take longer than anybody waits for a shared cache; they are for the memory of one process."""


def group_of(id: str, groups: int) -> int:
    """The number of the group that an entity is in, of so many."""
    return crc32(id.encode()) % groups


def group_name(table: str, number: int) -> str:
    """The name behind which a group of the entities of a table is."""
    return f"{table}#{number}"


class CacheStats(msgspec.Struct, kw_only=True):
    """What has happened in one tier since it was opened, and what is in it now (`entries`, `bytes`).

    `breaker` says whether a tier that may be away is asked at all: "closed" (it is), "open" or "half-open" (soon
    again); None for a tier that is always there. `skipped` counts what it was not asked for.
    """

    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: int = 0
    errors: int = 0
    skipped: int = 0
    entries: int = 0
    bytes: int = 0
    breaker: str | None = None


class Cache(Protocol):
    """Bytes by key, for a while. It may forget anything at any time, and never fails: trouble is counted."""

    async def get(self, key: str) -> bytes | None:
        """What is kept under `key`; None without it."""
        ...

    async def renewed(self, key: str) -> bytes | None:
        """Like `get`, but what other processes have put there lately counts more than what this one remembers."""
        ...

    async def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for `ttl_seconds`; bytes and nothing else."""
        ...

    async def delete(self, key: str) -> None:
        """Forget what is kept under `key`, as far as it can be reached: it makes room and invalidates nothing."""
        ...

    async def clear(self) -> int:
        """Forget everything that this service keeps here; returns how many entries that were, as far as known."""
        ...

    def stats(self) -> CacheStats:
        """What has happened so far."""
        ...

    def tiers(self) -> Mapping[str, CacheStats]:
        """The same by tier, the nearest first."""
        ...


class NearCache(Cache, Protocol):
    """A cache with a tier in this process, which can be asked without waiting."""

    def peek(self, key: str) -> bytes | None:
        """What this process remembers under `key`."""
        ...

    def set_now(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Remember `value` in this process at once; other tiers get it soon."""
        ...


class Locks(Protocol):
    """Locks between the processes that share a cache. They save work, and nothing else may rely on them.

    Where they are out of reach, every lock is granted: work is then done more than once, and never not at all.
    """

    async def take(self, key: str, *, seconds: float) -> str | None:
        """The token of a lock that ends by itself after `seconds`; None while somebody else has it."""
        ...

    async def extend(self, key: str, token: str, *, seconds: float) -> None:
        """Have it for `seconds` from now on, if it is still ours."""
        ...

    async def release(self, key: str, token: str) -> None:
        """Give it back, if it is still ours."""
        ...


class Generations(Protocol):
    """How often the data behind each name has changed, by the database's own account.

    A name is that of a table, or a tag of the user's. Who caches something reads the generations of all that it
    depends on *before* it reads the data, and keeps the result under them: after the next change nobody finds it.
    """

    def known(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations, when they are certain without asking anybody; otherwise None."""
        ...

    async def current(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The generations: those of every change that was acknowledged before this call. Raises `Unavailable`.

        None inside of a transaction: what it reads may never be true for others, so nothing of it may be cached.
        """
        ...

    async def bump(self, names: Sequence[str]) -> None:
        """Count a change of what is behind these names, in the current transaction if there is one."""
        ...


def fingerprint(*parts: str) -> str:
    """What stands in every key: as soon as one of `parts` changes, nothing that was kept before is found."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
