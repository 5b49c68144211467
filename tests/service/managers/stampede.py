"""A process that asks for one result many times at once as soon as it hears a line, and says how often it computed."""

import asyncio
import sys

from domain.redis_url import parse_redis_url
from infra.cache.generations import MemoryGenerations
from infra.cache.link import RedisLink
from infra.cache.memory import InMemoryCache
from infra.cache.redis import RedisCache, RedisLocks
from infra.cache.tiers import TieredCache
from service.managers.computations import Computations


def shared(link: RedisLink, namespace: str, **options: float) -> Computations:
    """Computations of one of several processes."""
    cache = TieredCache(InMemoryCache(), RedisCache(link, namespace=namespace))
    return Computations(cache, MemoryGenerations(), RedisLocks(link, namespace=namespace), **options)


async def main(url: str, namespace: str, callers: int) -> None:
    link = RedisLink(parse_redis_url(url), answer_seconds=5)
    cached = shared(link, namespace)
    count = 0

    async def work() -> str:
        nonlocal count
        count += 1
        await asyncio.sleep(0.4)
        return "result"

    # Everything is loaded and connected before the others are let loose, too.
    await cached.get_or_load("warm", work, ttl_seconds=60)
    count = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    answers = await asyncio.gather(*[cached.get_or_load("cold", work, ttl_seconds=60) for _ in range(callers)])
    assert set(answers) == {"result"}
    sys.stdout.write(f"{count} {cached.stats.misses} {cached.stats.coalesced} {cached.stats.hits}\n")
    await link.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
