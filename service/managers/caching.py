"""What a service keeps so as not to compute it again, and how much use that is."""

import time
from collections.abc import Callable, Mapping

from domain.cache_options import CacheOptions
from domain.caching import CacheStats, Generations, NearCache
from domain.computations import ComputationStats, Entry, Freshness, Lifetime, Outcomes, decode_entry
from service.managers.computations import Computations


class RouteStats(Outcomes, kw_only=True):
    """What has become of the requests to a route.

    `hits` were answered from memory, `unmodified` by a 304; `bypassed` asked for it, or their reply is not kept.
    """

    unmodified: int = 0

    @property
    def spared(self) -> int:
        return super().spared + self.unmodified


class Caching:
    """The cache of a running service: `near` is what is asked first, `replies` and the user's `computations` decide
    what of it is good.

    `fingerprint` is in every key: replies of another version, service or database are never found.
    """

    def __init__(
        self,
        near: NearCache,
        generations: Generations,
        replies: Computations,
        computations: Computations,
        *,
        fingerprint: str,
        options: CacheOptions,
        tiers: Callable[[], Mapping[str, CacheStats]],
    ) -> None:
        self.near = near
        self.tiers = tiers
        self.generations = generations
        self.replies = replies
        self.computations = computations
        self.fingerprint = fingerprint
        self.options = options
        self._routes: dict[str, RouteStats] = {}

    @property
    def routes(self) -> Mapping[str, RouteStats]:
        """What has become of requests, by route."""
        return self._routes

    @property
    def stats(self) -> ComputationStats:
        """What has become of all questions: those for replies, which memory did not have, and those of the user's."""
        both = self.replies.stats, self.computations.stats
        return ComputationStats(
            **{name: sum(getattr(stats, name) for stats in both) for name in ComputationStats.__struct_fields__}
        )

    def route(self, template: str) -> RouteStats:
        """The counts of one route."""
        found = self._routes.get(template)
        if found is None:
            found = self._routes[template] = RouteStats()
        return found

    def lifetime(self, ttl_seconds: float) -> Lifetime:
        """For how long replies of a route are good."""
        return self.options.lifetime(ttl_seconds)

    def peek(self, key: str, lifetime: Lifetime) -> tuple[bytes, float] | None:
        """What memory has under a full key, and for how long it is good; None when there is something to be done."""
        kept = self.near.peek(key)
        entry = decode_entry(kept) if kept is not None else None
        now = time.time()
        if entry is None or entry.payload is None or entry.freshness(now, lifetime) is not Freshness.FRESH:
            return None
        return entry.payload, entry.fresh_until - now

    def put(self, key: str, payload: bytes, lifetime: Lifetime) -> None:
        """Keep a payload under a full key from now on."""
        now = time.time()
        entry = Entry(payload, now, now + lifetime.ttl_seconds)
        self.near.set_now(key, entry.encode(), ttl_seconds=lifetime.ttl_seconds + lifetime.stale_seconds)
