"""The cache in this process: bounded in entries and bytes, and what has ended takes no room."""

import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cache.memory import ENTRY_BYTES, BoundedBackend, InMemoryCache
from tests.infra.cache.clocks import Clock

KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.binary(max_size=60), st.sampled_from([0.0, 1.0, 5.0, 50.0])),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 10.0])),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 5), st.integers(1, 5 * (ENTRY_BYTES + 40)))
def test_it_never_holds_more_than_it_may_and_lets_go_of_what_was_used_longest_ago(
    steps: list[tuple], most_entries: int, most_bytes: int
) -> None:
    clock = Clock()
    cache = InMemoryCache(most_entries=most_entries, most_bytes=most_bytes, clock=clock)
    # The model never tidies up: it knows what is alive by the order of use alone.
    model: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
    for kind, *rest in steps:
        if kind == "set":
            key, value, ttl = rest
            cache.set_now(key, value, ttl_seconds=ttl)
            model.pop(key, None)
            if ttl:
                model[key] = (value, clock.now + ttl)
                # What was used last is held if there is room for it.
                assert key in cache._backend._cache or len(key) + len(value) + ENTRY_BYTES > most_bytes
        elif kind == "get":
            (key,) = rest
            found = cache.peek(key)
            kept = model.get(key)
            assert found is None or (kept is not None and kept[0] == found and kept[1] > clock.now)
            if found is not None:
                model.move_to_end(key)
            elif kept is not None and kept[1] <= clock.now:
                del model[key]
        elif kind == "delete":
            cache._backend.drop(rest[0])
            model.pop(rest[0], None)
        else:
            clock.now += rest[0]
        stats = cache.stats()
        held = cache._backend._cache
        assert stats.entries == len(held) <= most_entries
        assert stats.bytes == sum(len(key) + len(value) + ENTRY_BYTES for key, (value, _) in held.items()) <= most_bytes
        # What is held is in the order of use.
        assert list(held) == [key for key in model if key in held]


async def test_a_miss_is_counted_once_however_often_it_was_looked_for() -> None:
    cache = InMemoryCache()
    assert cache.peek("a") is None
    assert await cache.get("a") is None
    assert await cache.renewed("a") is None
    assert (cache.stats().hits, cache.stats().misses) == (0, 1)
    cache.set_now("a", b"a", ttl_seconds=10)
    assert cache.peek("a") == await cache.get("a") == b"a"
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)


def test_the_least_recently_used_goes_first() -> None:
    cache = InMemoryCache(most_entries=2)
    for key in ("a", "b"):
        cache.set_now(key, key.encode(), ttl_seconds=10)
    assert cache.peek("a") == b"a"
    cache.set_now("c", b"c", ttl_seconds=10)
    assert [cache.peek(key) for key in "abc"] == [b"a", None, b"c"]
    assert cache.stats().evictions == 1


def test_what_is_larger_than_all_there_is_pushes_nothing_out_and_leaves_nothing_old() -> None:
    cache = InMemoryCache(most_bytes=2_000)
    cache.set_now("a", b"1", ttl_seconds=10)
    cache.set_now("b", b"1", ttl_seconds=10)
    cache.set_now("b", bytes(5_000), ttl_seconds=10)
    assert [cache.peek("a"), cache.peek("b")] == [b"1", None]


async def test_entries_start_no_timers() -> None:
    cache = InMemoryCache()
    loop = asyncio.get_running_loop()
    before = len(getattr(loop, "_scheduled", ()))
    for number in range(1_000):
        cache.set_now(str(number), b"value", ttl_seconds=60)
    assert cache._backend._handlers == {}
    assert len(getattr(loop, "_scheduled", ())) == before


@pytest.mark.parametrize("value", [bytearray(b"1"), memoryview(b"1"), "1", 1, None])
def test_it_keeps_nothing_that_could_change_afterwards(value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        InMemoryCache().set_now("a", value, ttl_seconds=10)  # type: ignore[arg-type]


async def test_its_memory_is_one_of_aiocache() -> None:
    clock = Clock()
    backend = BoundedBackend(2, 10_000, clock)
    assert await backend.set("a", b"1", ttl=10)
    assert await backend.set("b", b"2")
    assert [await backend.get("a"), await backend.get("b"), await backend.get("c")] == [b"1", b"2", None]
    clock.now += 10
    assert [await backend.get("a"), await backend.get("b")] == [None, b"2"]
    assert await backend.delete("b") == 1
    assert await backend.clear()
    assert len(backend) == 0
