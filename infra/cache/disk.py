"""The cache in a folder: what is kept there is still there after a restart."""

import asyncio
import hashlib
import os
import shutil
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from domain.caching import CacheStats
from infra.cache.memory import check_bytes

_DIGEST = 16
_HEAD = struct.Struct(f">d{_DIGEST}s")
# After so many new entries it is looked what other processes have added.
_LOOK_EVERY = 100
# How much of the room is used once there was too little.
_FILLED = 0.9


class DiskCache:
    """Keeps at most about `most_bytes` in `folder`, in files of the name `namespace`; the oldest used go first.

    Several processes may share it. Entries of other namespaces in the folder are those of code that is gone. A disk
    that is full or cannot be read has nothing; that is counted.
    """

    def __init__(
        self, folder: Path, *, namespace: str, most_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._place = folder / namespace
        self._most_bytes = most_bytes
        self._clock = clock
        self._until_look = 0
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
        found = await asyncio.to_thread(self._read, key)
        self._stats.hits += found is not None
        self._stats.misses += found is None
        return found

    async def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for `ttl_seconds`."""
        check_bytes(value)
        if ttl_seconds <= 0 or len(value) > self._most_bytes:
            await self.delete(key)
            return
        await asyncio.to_thread(self._write, key, value, self._clock() + ttl_seconds)

    async def delete(self, key: str) -> None:
        """Forget what is kept under `key`."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def clear(self) -> int:
        """Forget everything; returns how many entries that were."""
        return await asyncio.to_thread(self._empty)

    def stats(self) -> CacheStats:
        """What has happened so far; how much there is, as of the last look."""
        return self._stats

    def tiers(self) -> Mapping[str, CacheStats]:
        """There is this one."""
        return {"disk": self.stats()}

    def _path(self, key: str) -> Path:
        return self._place / hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()

    def _read(self, key: str) -> tuple[bytes, float] | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            self._stats.errors += 1
            return None
        value, seconds = data[_HEAD.size :], 0.0
        if len(data) >= _HEAD.size:
            until, digest = _HEAD.unpack_from(data)
            # A power cut may leave half of a file.
            seconds = until - self._clock() if digest == _digest(value) else 0.0
        with suppress(OSError):
            if seconds <= 0:
                path.unlink()
            else:
                os.utime(path)
        return (value, seconds) if seconds > 0 else None

    def _write(self, key: str, value: bytes, until: float) -> None:
        path = self._path(key)
        incoming = path.with_name(f"{uuid4().hex}.incoming")
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            incoming.write_bytes(_HEAD.pack(until, _digest(value)) + value)
            incoming.replace(path)
        except OSError:
            self._stats.errors += 1
            with suppress(OSError):
                incoming.unlink(missing_ok=True)
            return
        self._stats.sets += 1
        self._stats.entries += 1
        self._stats.bytes += _HEAD.size + len(value)
        self._until_look -= 1
        if self._until_look <= 0 or self._stats.bytes > self._most_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Look at what there is, and remove what is of other code, and what was used longest ago if need be."""
        self._until_look = _LOOK_EVERY
        for other in self._folder.iterdir():
            if other != self._place:
                shutil.rmtree(other, ignore_errors=True)
        found = sorted(self._entries())
        total = sum(size for _, size, _ in found)
        is_full, removed = total > self._most_bytes, 0
        for _, size, path in found:
            if not is_full or total <= self._most_bytes * _FILLED:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
            total, removed = total - size, removed + 1
        self._stats.evictions += removed
        self._stats.entries, self._stats.bytes = len(found) - removed, total

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each was used last, how large it is, and where."""
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._place):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, Path(entry.path)))
        return found

    def _empty(self) -> int:
        count = len(self._entries())
        shutil.rmtree(self._place, ignore_errors=True)
        self._stats.entries = self._stats.bytes = 0
        return count


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_DIGEST).digest()
