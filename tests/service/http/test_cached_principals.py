"""Many who ask for the same at the same time, of a service that shows everybody what is theirs, and nothing else."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
from litestar import Request
from litestar.di import NamedDependency
from litestar.types import Receive, Scope, Send

from service.http.application import Service
from service.managers.base import Manager
from tests.sample import ITEMS as RESOURCE
from tests.sample import Item, builder, serving, settings

ITEMS = "/api/v1/items"
STATS = f"{ITEMS}/$stats"
# Whose it is depends on who asks.
MINE = f"{ITEMS}/01K5T0V9G8ZJ8Q6N4X3B7RM2WD"
READS = [ITEMS, f"{ITEMS}?fields=name,size&sort=-size", f"{ITEMS}?page=1&size=2", STATS, MINE]
CALLERS: dict[str, dict[str, str]] = {
    "nobody": {},
    "alice": {"Authorization": "Bearer alice"},
    "bob": {"Authorization": "Bearer bob"},
    "alice's key": {"X-API-Key": "alice"},
    "bob's key": {"X-API-Key": "bob"},
    "alice's session": {"Cookie": "session=alice"},
    "bob's session": {"Cookie": "session=bob"},
    "alice with bob's key": {"Authorization": "Bearer alice", "X-API-Key": "bob"},
    "bob with alice's key": {"Authorization": "Bearer bob", "X-API-Key": "alice"},
}
ROUNDS, AT_ONCE = 20, 3
_NAMES = {tuple(sorted((key.lower(), value) for key, value in said.items())): who for who, said in CALLERS.items()}


def caller_of(scope: Any) -> str:
    said = [(key.decode(), value.decode()) for key, value in scope["headers"]]
    return _NAMES[tuple(sorted(pair for pair in said if pair[0] in {"authorization", "x-api-key", "cookie"}))]


async def own_stats(request: Request[Any, Any, Any], manager: NamedDependency[Manager[Item]]) -> dict[str, Any]:
    """How many items the caller has."""
    caller = caller_of(request.scope)
    return {"name": caller, "total": sum(item.name == caller for item in await manager.find_all())}


class World:
    """What belongs to whom, as far as that was acknowledged, and what was answered."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.mine: dict[str, str] = {}
        self.totals: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.got: dict[tuple[str, str], dict[str, bytes]] = {}
        self.outcomes: Counter[str] = Counter()
        self.made = 0

    async def read(self, caller: str, path: str, known: str | None) -> None:
        """Read something, and check that it is the caller's own, and no older than what was acknowledged before."""
        size, total = self.sizes[caller], self.totals[caller]
        headers = CALLERS[caller] if known is None else {**CALLERS[caller], "If-None-Match": known}
        reply = await self.client.get(path, headers=headers)
        got = self.got.setdefault((caller, path), {})
        if reply.status_code == 304:
            self.outcomes["unmodified"] += 1
            content = got[reply.headers["etag"]]
        else:
            assert reply.status_code == 200, reply.text
            _, outcome, *more = reply.headers["cache-status"].split("; ")
            self.outcomes[more[0] if "fwd" in outcome else outcome] += 1
            content = got[reply.headers["etag"]] = reply.content
        assert ("private" in reply.headers["cache-control"]) == bool(CALLERS[caller])
        found = json.loads(content)
        if path == MINE:
            assert (found["name"], found["id"]) == (caller, self.mine[caller])
            assert found["size"] >= size
        elif path == STATS:
            assert found["name"] == caller
            assert found["total"] >= total
        else:
            rows = found["items"] if isinstance(found, dict) else found
            assert {row["name"] for row in rows} == {caller}

    async def write(self, caller: str) -> None:
        """Change something that one of them has."""
        size = self.sizes[caller] + 1
        assert (await self.client.patch(f"{ITEMS}/{self.mine[caller]}", json={"size": size})).status_code == 200
        self.sizes[caller] = size
        assert (await self.client.post(ITEMS, json={"name": caller})).status_code == 201
        self.totals[caller] += 1

    def tag(self, path: str, chance: random.Random) -> str | None:
        """A tag that somebody has got there, whoever that was."""
        # That of an entity is its version, which two may have in common.
        if path == MINE or chance.random() < 0.5:
            return None
        tags = [tag for (_, asked), got in self.got.items() if asked == path for tag in got]
        return chance.choice(tags) if tags else None


@asynccontextmanager
async def shown(url: str, monkeypatch: pytest.MonkeyPatch, ttl_seconds: float) -> AsyncIterator[World]:
    """A service where everybody sees their own rows, and their own item at the same address, with a cache in front."""
    answer = Service._answer

    async def gate(self: Service, scope: Any, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            scope = _owned(scope)
            world.made += 1
            # So that others come meanwhile.
            await asyncio.sleep(0.001)
        await answer(self, scope, receive, send)

    def _owned(scope: Any) -> Scope:
        caller, path, query = caller_of(scope), scope["path"], scope["query_string"]
        if path == ITEMS:
            query += b"&filter=" + quote(json.dumps({"name": caller})).encode()
        path = {STATS: f"{ITEMS}/$own", MINE: f"{ITEMS}/{world.mine[caller]}"}.get(path, path)
        return cast("Scope", {**scope, "path": path, "raw_path": path.encode(), "query_string": query.lstrip(b"&")})

    monkeypatch.setattr(Service, "_answer", gate)
    made = builder(url).register_collection_operation(RESOURCE, "own", own_stats).with_cache(ttl_seconds=ttl_seconds)
    app = made.build(settings())
    async with serving(app) as client:
        world = World(client)
        for number, caller in enumerate(CALLERS, 1):
            items = await app.manager(RESOURCE).save_all([Item(name=caller) for _ in range(number)])
            world.mine[caller], world.totals[caller] = items[0].id, number
        yield world


@pytest.mark.parametrize(
    "ttl_seconds, is_changing", [pytest.param(0.1, False, id="expiring"), pytest.param(60.0, True, id="changing")]
)
async def test_everybody_gets_their_own_also_while_replies_are_made_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, ttl_seconds: float, is_changing: bool
) -> None:
    chance = random.Random(1)
    async with shown(database_url, monkeypatch, ttl_seconds) as world:
        for number in range(ROUNDS):
            asked = [(caller, path) for caller in CALLERS for path in READS for _ in range(AT_ONCE)]
            chance.shuffle(asked)
            work = [world.read(caller, path, world.tag(path, chance)) for caller, path in asked]
            if is_changing and number % 2:
                work.insert(chance.randrange(len(work)), world.write(chance.choice(list(CALLERS))))
            if is_changing and number % 8 == 4:
                await world.client.post("/api/v1/system/cache/$clear")
            await asyncio.gather(*work)
            if not is_changing and number % 4 == 3:
                await asyncio.sleep(1.2 * ttl_seconds)
        assert world.made > 3 * len(CALLERS) * len(READS)
        assert world.outcomes.keys() >= {"hit", "stored", "collapsed", "unmodified"}
        for path in READS:
            tags = [tag for (_, asked), got in world.got.items() if asked == path for tag in got]
            # Whoever sends another's never hears that it is still good.
            assert path == MINE or len(tags) == len(set(tags))
