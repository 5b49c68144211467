"""Several server processes that share a Redis: whatever happens to that, the next read is true and nothing fails."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.processes import Serving, serving
from tests.servers import RedisServer, redis
from tests.service.cli.modules import shop

ITEMS, CACHE = "/api/v1/items", "/api/v1/system/cache"
PROCESSES, READERS = 2, 4


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that is to have a hard time."""
    with redis() as server:
        yield server


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, redis_server: RedisServer
) -> Iterator[list[Serving]]:
    folder: Path = tmp_path_factory.mktemp("shop")
    shop(folder, (".with_health()", ".with_health()\n    .with_cache()"))
    variables = {"DATABASE_URL": module_database_url, "REDIS_URL": redis_server.url}
    with ExitStack() as stack:
        yield [stack.enter_context(serving(folder=folder, variables=variables)) for _ in range(PROCESSES)]


class World:
    """An item whose price goes up, and what became of those who asked for it."""

    def __init__(self, id: str, clients: list[httpx.AsyncClient]) -> None:
        self.url = f"{ITEMS}/{id}"
        self.clients = clients
        self.acknowledged = 0
        self.asked = 0
        self.is_over = False

    async def read(self, client: httpx.AsyncClient) -> None:
        """Ask again and again; what is older than the last acknowledged change is wrong."""
        while not self.is_over:
            for url in (self.url, ITEMS, f"{ITEMS}?sort=-price"):
                at_least = self.acknowledged
                reply = await client.get(url)
                assert reply.status_code == 200, reply.text
                found = reply.json()
                price = found["price"] if isinstance(found, dict) else found[0]["price"]
                assert price >= at_least, (url, price, at_least, reply.headers)
                self.asked += 1

    async def write(self) -> None:
        """Change it by one process, and then by the next."""
        price = 0
        while not self.is_over:
            price += 1
            reply = await self.clients[price % len(self.clients)].patch(self.url, json={"price": price})
            assert reply.status_code == 200, reply.text
            self.acknowledged = price
            await asyncio.sleep(0.05)

    async def until(self, state: str) -> None:
        """Wait until every process thinks so of Redis."""
        async with asyncio.timeout(40):
            for client in self.clients:
                while (await _redis(client))["breaker"] != state:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def _redis(client: httpx.AsyncClient) -> Any:
    return (await client.get(CACHE)).json()["tiers"]["redis"]


async def test_what_one_process_has_made_is_a_hit_for_another(services: list[Serving]) -> None:
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(_client(service)) for service in services]
        item = (await one.post(ITEMS, json={"name": "Lamp", "price": 1})).json()
        url = f"{ITEMS}/{item['id']}"
        made = await one.get(url)
        # It is on its way to Redis while nobody waits for it.
        async with asyncio.timeout(10):
            while not (await _redis(one))["sets"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        found = await other.get(url)
        assert (found.json(), found.headers["etag"]) == (made.json(), made.headers["etag"])
        assert found.headers["cache-status"].startswith("millrace; hit")
        assert (await one.delete(url)).status_code == 204


async def test_reads_are_true_while_redis_is_flushed_paused_and_killed(
    services: list[Serving], redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(service)) for service in services]
        item = (await clients[0].post(ITEMS, json={"name": "Lamp", "price": 0})).json()
        world = World(item["id"], clients)
        async with asyncio.TaskGroup() as group:
            for client in clients:
                for _ in range(READERS):
                    group.create_task(world.read(client))
            group.create_task(world.write())
            await world.until("closed")
            async with Redis.from_url(redis_server.url) as administrator:
                for _ in range(20):
                    await administrator.flushall()
                    await asyncio.sleep(0.02)
            os.kill(redis_server.pid, signal.SIGSTOP)
            await world.until("open")
            os.kill(redis_server.pid, signal.SIGCONT)
            await world.until("closed")
            os.kill(redis_server.pid, signal.SIGKILL)
            await world.until("open")
            await asyncio.to_thread(redis_server.stop)
            await asyncio.to_thread(redis_server.start)
            await world.until("closed")
            await asyncio.sleep(0.3)
            world.is_over = True
        assert world.asked > 200
        assert world.acknowledged > 20


def _client(service: Serving) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, timeout=30)
