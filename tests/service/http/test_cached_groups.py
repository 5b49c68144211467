"""Replies of single entities that are in groups: a change of one leaves those of most others, and none is ever old."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.managers.cached import Cached
from tests.sample import ITEMS as RESOURCE
from tests.sample import Items, serving, settings

ITEMS, GROUPS, STEPS = "/api/v1/items", 64, 150


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Those of two services on one database."""
    async with AsyncExitStack() as stack:
        made = (
            ServiceBuilder(info=ServiceInfo(id="grouped", display_name="Grouped"))
            .with_database(database_url)
            .with_crud(RESOURCE, table=Items, hooks=[Cached(groups=GROUPS)])
            .with_cache()
        )
        yield [await stack.enter_async_context(serving(made.build(settings()))) for _ in range(2)]


async def make(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    return [(await client.post(ITEMS, json={"name": f"thing {number}"})).json() for number in range(count)]


def is_hit(reply: httpx.Response) -> bool:
    return reply.headers["cache-status"].startswith("millrace; hit")


async def test_a_change_of_one_entity_leaves_the_replies_of_most_others(clients: list[httpx.AsyncClient]) -> None:
    client = clients[0]
    items = await make(client, 20)
    paths = [f"{ITEMS}/{item['id']}" for item in items]
    tags = [(await client.get(path)).headers["etag"] for path in paths]
    assert all([is_hit(await client.get(path)) for path in paths])
    listed = await client.get(f"{ITEMS}?sort=name")
    assert (await clients[1].patch(paths[0], json={"size": 7})).status_code == 200
    changed = await client.get(paths[0])
    assert (changed.json()["size"], is_hit(changed)) == (7, False)
    assert changed.headers["etag"] != tags[0]
    # Two of twenty may be in one group; more than a few of them are not.
    assert sum([is_hit(await client.get(path)) for path in paths[1:]]) > 12
    again = await client.get(f"{ITEMS}?sort=name")
    assert (is_hit(again), again.json() != listed.json()) == (False, True)


@pytest.mark.parametrize("seed", range(2))
async def test_no_reply_is_older_than_the_last_change(clients: list[httpx.AsyncClient], seed: int) -> None:
    chance = random.Random(seed)
    alive = {item["id"]: item["size"] for item in await make(clients[0], 6)}
    gone: set[str] = set()
    for step in range(STEPS):
        writer, reader = chance.choice(clients), chance.choice(clients)
        match chance.choice(["read", "read", "patch", "bulk", "delete", "create"]):
            case "patch":
                id = chance.choice([*alive])
                assert (await writer.patch(f"{ITEMS}/{id}", json={"size": step})).status_code == 200
                alive[id] = step
            case "bulk":
                some = chance.sample([*alive], min(3, len(alive)))
                todo = [{"op": "update", "id": id, "data": {"size": step}} for id in some]
                assert (await writer.post(f"{ITEMS}/$bulk", json={"items": todo})).status_code == 200
                alive.update(dict.fromkeys(some, step))
            case "delete" if len(alive) > 3:
                id = chance.choice([*alive])
                assert (await writer.delete(f"{ITEMS}/{id}")).status_code == 204
                del alive[id]
                gone.add(id)
            case "create":
                # Perhaps one that it is kept of that there is none.
                known = {"id": chance.choice([*gone])} if gone else {}
                made = await writer.post(ITEMS, json={"name": "new", "size": step, **known})
                assert made.status_code == 201
                alive[made.json()["id"]] = step
                gone.discard(made.json()["id"])
        for id in chance.sample([*alive, *gone], 3):
            path = f"{ITEMS}/{id if chance.random() < 0.5 else id.lower()}"
            reply = await reader.get(path)
            found = reply.json().get("size") if reply.status_code == 200 else None
            assert found == alive.get(id), (step, id, reply.headers["cache-status"])
