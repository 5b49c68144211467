"""How a cache is shown among what is measured: by tier, by what became of the questions, and by route."""

from collections.abc import Iterator, Mapping

from domain.caching import CacheStats
from domain.computations import ComputationStats
from domain.measures import Family, Kind, Spread

_BREAKER = {None: 0, "closed": 0, "half-open": 1, "open": 2}
_BY_TIER = {
    "hits": "What a tier had",
    "misses": "What a tier did not have",
    "evictions": "What had to make room for something else",
    "errors": "Questions and changes that a tier failed at",
    "skipped": "Questions and changes that a tier was spared while it was away",
}
_BY_QUESTION = {
    "stale": "Answers that were no longer fresh",
    "coalesced": "Questions that waited for the computation of another",
    "invalidations": "Invalidations that were asked for by name",
}


def cache_families(
    computations: ComputationStats, tiers: Mapping[str, CacheStats], routes: Mapping[str, Mapping[str, int]]
) -> Iterator[Family]:
    """What is shown of a cache; `routes` are what became of requests, by route and outcome."""
    for name, words in _BY_TIER.items():
        yield _of_tiers(
            f"millrace_cache_{name}_total", words, Kind.COUNTER, {t: getattr(s, name) for t, s in tiers.items()}
        )
    for name, words in (("entries", "What a tier holds"), ("bytes", "How large that is")):
        yield _of_tiers(f"millrace_cache_{name}", words, Kind.GAUGE, {t: getattr(s, name) for t, s in tiers.items()})
    yield _of_tiers(
        "millrace_cache_breaker_state",
        "Whether a tier is asked: 0 as always, 1 to see whether it is back, 2 not at all",
        Kind.GAUGE,
        {tier: _BREAKER.get(stats.breaker, 2) for tier, stats in tiers.items()},
    )
    for name, words in _BY_QUESTION.items():
        yield Family(
            name=f"millrace_cache_{name}_total",
            description=words,
            kind=Kind.COUNTER,
            values=[((), getattr(computations, name))],
        )
    yield Family(
        name="millrace_cache_load_seconds",
        description="How long computations took whose results are kept",
        kind=Kind.SUMMARY,
        values=[((), Spread(counts=[computations.loads], total=computations.load_seconds))],
    )
    yield Family(
        name="millrace_cache_requests_total",
        description="What became of requests to routes that are cached",
        kind=Kind.COUNTER,
        labels=("http_route", "outcome"),
        values=[((route, name), count) for route, counts in routes.items() for name, count in counts.items()],
    )


def _of_tiers(name: str, description: str, kind: Kind, values: Mapping[str, int]) -> Family:
    return Family(
        name=name,
        description=description,
        kind=kind,
        labels=("tier",),
        values=[((tier,), value) for tier, value in values.items()],
    )
