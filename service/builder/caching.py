"""The cache."""

from collections.abc import Sequence
from typing import Self

from domain.cache_options import MIB, CacheOptions
from service.builder.core import Core


class CacheOffered(Core):
    """What is kept so as not to be computed again."""

    def with_cache(
        self,
        ttl_seconds: float = 60.0,
        *,
        stale_while_revalidate_seconds: float = 0.0,
        stale_if_error_seconds: float = 0.0,
        max_entries: int = 10_000,
        max_bytes: int = 64 * MIB,
        max_entry_bytes: int = MIB,
        max_disk_bytes: int = 0,
        credential_headers: Sequence[str] = ("X-API-Key",),
    ) -> Self:
        """Keep the replies to reads of resources, until their data changes and for `ttl_seconds` at most.

        A resource has a `cache_ttl` of its own in `with_crud`. See `CacheOptions` for the rest, docs/caching.md for
        what is promised.
        """
        options = CacheOptions(
            ttl_seconds=ttl_seconds,
            stale_while_revalidate_seconds=stale_while_revalidate_seconds,
            stale_if_error_seconds=stale_if_error_seconds,
            max_entries=max_entries,
            max_bytes=max_bytes,
            max_entry_bytes=max_entry_bytes,
            max_disk_bytes=max_disk_bytes,
            credential_headers=tuple(credential_headers),
        )
        options.check("with_cache")
        self._choices.cache = options
        return self
