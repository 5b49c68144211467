"""Results that are computed once and kept: by one of many callers and processes, until what they are of changes."""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar, Unpack, overload

import msgspec

from domain.caching import EVERYTHING, LONGEST_SHARED_BYTES, Generations, Locks, NearCache
from domain.computations import (
    JITTER,
    Answer,
    ComputationStats,
    Entry,
    Freshness,
    Lifetime,
    Outcome,
    Seconds,
    checked_tags,
    decode_entry,
    decoded,
    encoded,
    full_key,
)
from domain.errors import Unavailable
from service.managers.flights import Flights
from service.managers.turns import Turns, Worth

ResultT = TypeVar("ResultT")
Load = Callable[[], Awaitable[Any]]

# Of whose tags the generations seen last are remembered, for when nobody can say what they are.
MOST_REMEMBERED = 1_000

# No generation is ever this.
_UNKNOWN = (-1,)

_GIVEN_AWAY = {Freshness.FRESH, Freshness.EARLY, Freshness.STALE}


class Question(msgspec.Struct, frozen=True):
    """What is asked for: how it is computed, what type it has, and how long it is good.

    `work` names the computation whatever its data is, and `group` all those that are like it.
    """

    key: str
    load: Load
    kind: Any
    lifetime: Lifetime
    work: str
    group: str


class Computations:
    """Keeps results in `cache` under their key and the generations of their tags, and computes what is not there.

    `locks` are those between processes, where there are several; work that takes less than `least_seconds` does not
    wait for them. `prefix` keeps keys apart from those of others in the same cache. In a transaction nothing is kept,
    nor is anything that is kept given away.
    """

    def __init__(
        self,
        cache: NearCache,
        generations: Generations,
        locks: Locks | None = None,
        *,
        prefix: str = "",
        clock: Callable[[], float] = time.time,
        most_wait_seconds: float = 10.0,
        lock_seconds: float = 5.0,
        least_seconds: float = 0.0,
    ) -> None:
        self._cache = cache
        self._generations = generations
        self._turns = Turns(locks, most_wait_seconds=most_wait_seconds, lock_seconds=lock_seconds) if locks else None
        self._worth = Worth(least_seconds)
        self._prefix = prefix
        self._clock = clock
        self._flights: Flights[tuple[Entry, Outcome] | None] = Flights()
        self._remembered: dict[tuple[str, ...], tuple[int, ...]] = {}
        self.stats = ComputationStats()

    @overload
    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[ResultT]],
        *,
        returns: type[ResultT],
        tags: Sequence[str] = (),
        **seconds: Unpack[Seconds],
    ) -> ResultT: ...

    @overload
    async def get_or_load(
        self, key: str, load: Load, *, returns: Any = Any, tags: Sequence[str] = (), **seconds: Unpack[Seconds]
    ) -> Any: ...

    async def get_or_load(
        self, key: str, load: Load, *, returns: Any = Any, tags: Sequence[str] = (), **seconds: Unpack[Seconds]
    ) -> Any:
        """What `load` returns, or returned before for the same `key`, read as the type that it `returns`.

        Without one it is what JSON would make of it. It is computed again after `ttl_seconds` and whenever one of the
        `tags`, or of the tables with these names, has changed. For the lengths of time see `Lifetime`.
        """
        return (await self.look_up(key, load, kind=returns, lifetime=Lifetime(**seconds), tags=tags)).value

    async def look_up(
        self, key: str, load: Load, *, kind: Any = Any, lifetime: Lifetime, tags: Sequence[str] = (), group: str = ""
    ) -> Answer[Any]:
        """The same, with where it has come from. Computations of a `group`, if it has one, take about as long."""
        lifetime.check()
        key = self._prefix + key
        names = (*checked_tags(tags), EVERYTHING)
        # Before anything is read: what changes from now on has another generation.
        generations = self._generations.known(names)
        question = partial(Question, load=load, kind=kind, lifetime=lifetime, work=key, group=group)
        if generations is None:
            try:
                generations = await self._generations.current(names)
            except Unavailable:
                if not tags:
                    # It depends on nothing that could have changed.
                    return await self._answered(question(full_key(key, kind, _UNKNOWN)))
                return await self._without_generations(question(key), names)
            if generations is None:
                return await self._bypass(question(key))
        if lifetime.stale_if_error_seconds:
            self._remember(names, generations)
        return await self._answered(question(full_key(key, kind, generations)))

    async def invalidate(self, *tags: str) -> None:
        """Have everything with one of these tags computed again, in all processes; part of the current transaction."""
        await self._generations.bump(checked_tags(tags))
        self.stats.invalidations += len(tags)

    async def clear(self) -> int:
        """Have everything computed again, in all processes; returns how many entries are gone, as far as known."""
        await self.invalidate(EVERYTHING)
        return await self._cache.clear()

    async def close(self) -> None:
        """End what is being computed."""
        await self._flights.close()

    async def _answered(self, question: Question) -> Answer[Any]:
        entry = decode_entry(await self._cache.get(question.key))
        freshness = self._freshness(entry, question.lifetime)
        if entry is None or freshness not in _GIVEN_AWAY:
            return await self._waited(question, entry)
        if freshness is not Freshness.FRESH:
            work = partial(self._compute, question, entry, is_urgent=False)
            self.stats.refreshes += self._flights.begin(question.key, work)
        return self._answer(entry, question.kind, Outcome.STALE if freshness is Freshness.STALE else Outcome.HIT)

    async def _waited(self, question: Question, entry: Entry | None) -> Answer[Any]:
        work = partial(self._compute, question, entry, is_urgent=True)
        while True:
            found, is_under_way = await self._flights.join(question.key, work)
            # None is work in the background that was left to another process, which this caller cannot do.
            if found is not None:
                made, outcome = found
                is_coalesced = is_under_way and outcome is Outcome.MISS
                return self._answer(made, question.kind, Outcome.COALESCED if is_coalesced else outcome)

    async def _compute(self, question: Question, old: Entry | None, *, is_urgent: bool) -> tuple[Entry, Outcome] | None:
        """The entry, computed here or by another process; None for work that can be left to that."""
        if self._turns is None or not self._worth.is_given(question.group, question.work):
            return await self._load(question, old)
        good = {Freshness.FRESH, Freshness.EARLY} if is_urgent else {Freshness.FRESH}

        async def look() -> Entry | None:
            found = decode_entry(await self._cache.renewed(question.key))
            return found if self._freshness(found, question.lifetime) in good else None

        async with self._turns.turn(question.key, look, is_urgent=is_urgent) as turn:
            if turn.found is not None:
                return turn.found, Outcome.COALESCED if turn.has_waited else Outcome.HIT
            return await self._load(question, old, is_awaited=True) if turn.is_ours else None

    async def _load(self, question: Question, old: Entry | None, *, is_awaited: bool = False) -> tuple[Entry, Outcome]:
        lifetime, started = question.lifetime, time.perf_counter()
        try:
            payload = await self._loaded(question)
        except Unavailable:
            if old is None or self._freshness(old, lifetime) is Freshness.DEAD:
                raise
            return old, Outcome.STALE
        now, seconds = self._clock(), lifetime.fresh_seconds(payload is None)
        seconds *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - nothing to guess here
        entry = Entry(payload, now, now + seconds, time.perf_counter() - started)
        if not seconds:
            return entry, Outcome.MISS
        data, kept_seconds = entry.encode(), seconds + lifetime.stale_seconds
        if len(data) > LONGEST_SHARED_BYTES:
            self._worth.failed(question.work)
        if is_awaited:
            # Whoever gets the lock next looks for it in the shared cache.
            await self._cache.set(question.key, data, ttl_seconds=kept_seconds)
        else:
            self._cache.set_now(question.key, data, ttl_seconds=kept_seconds)
        return entry, Outcome.MISS

    async def _loaded(self, question: Question) -> bytes | None:
        started = time.perf_counter()
        self.stats.loads += 1
        try:
            payload = encoded(await question.load(), question.kind)
            # What it is not said to be must not be kept.
            decoded(payload, question.kind)
        except Exception:
            self.stats.errors += 1
            self._worth.failed(question.work)
            raise
        finally:
            seconds = time.perf_counter() - started
            self.stats.load_seconds += seconds
        self._worth.took(question.group, question.work, seconds)
        return payload

    async def _bypass(self, question: Question) -> Answer[Any]:
        now = self._clock()
        return self._answer(Entry(await self._loaded(question), now, now), question.kind, Outcome.BYPASS)

    async def _without_generations(self, question: Question, names: tuple[str, ...]) -> Answer[Any]:
        """Nobody can say what is good: compute it, or else take what was good when that could last be said."""
        try:
            return await self._bypass(question)
        except Unavailable:
            generations, is_wanted = self._remembered.get(names), question.lifetime.stale_if_error_seconds > 0
            if generations is None or not is_wanted:
                raise
            entry = decode_entry(await self._cache.get(full_key(question.key, question.kind, generations)))
            if entry is None or self._freshness(entry, question.lifetime) is Freshness.DEAD:
                raise
            return self._answer(entry, question.kind, Outcome.STALE)

    def _freshness(self, entry: Entry | None, lifetime: Lifetime) -> Freshness:
        return entry.freshness(self._clock(), lifetime) if entry is not None else Freshness.DEAD

    def _answer(self, entry: Entry, kind: Any, outcome: Outcome) -> Answer[Any]:
        self.stats.count(outcome)
        return Answer(decoded(entry.payload, kind), outcome, max(0.0, entry.fresh_until - self._clock()))

    def _remember(self, names: tuple[str, ...], generations: tuple[int, ...]) -> None:
        self._remembered.pop(names, None)
        self._remembered[names] = generations
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
