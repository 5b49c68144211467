"""The form of kept replies for clients that can unpack it."""

import asyncio
import gzip
from functools import partial

from domain.caching import NearCache
from service.managers.flights import Flights

SMALLEST_BYTES = 1024
"""Smaller replies would hardly become smaller."""

_LEVEL = 5


class Packing:
    """Makes the gzip form of a reply once for all who ask for it, and keeps it beside the reply."""

    def __init__(self) -> None:
        self._flights: Flights[bytes] = Flights()

    async def packed(self, cache: NearCache, name: str, body: bytes, *, ttl_seconds: float) -> bytes:
        """The gzip form of `body`, kept in `cache` for `ttl_seconds`; `name` is that of this body and no other."""
        key = f"gzip|{name}"
        found = cache.peek(key)
        if found is None:
            found, _ = await self._flights.join(key, partial(_pack, cache, key, body, ttl_seconds))
        return found


async def _pack(cache: NearCache, key: str, body: bytes, ttl_seconds: float) -> bytes:
    # Another process may have done that, and left it in a cache that both share.
    found = await cache.get(key)
    if found is None:
        found = await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
        cache.set_now(key, found, ttl_seconds=ttl_seconds)
    return found
