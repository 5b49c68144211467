"""Several server processes with one database, each with a cache: whatever happens, the next read is true."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Serving, eventually, serving
from tests.servers import Postgres
from tests.service.cli.modules import shop

ITEMS = "/api/v1/items"
PROCESSES = 3
STEPS = 120
LEAST_CHANGES = 25
# Whichever process is free runs it.
TASK = """
import msgspec

from domain.tasks import task

ITEMS = Resource(Item, "items")


class Repricing(msgspec.Struct):
    id: str
    price: int


@task()
async def reprice(given: Repricing) -> None:
    await app.manager(ITEMS).patch(given.id, {"price": given.price})


app = ("""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    shop(
        folder,
        ("app = (", TASK),
        ('with_crud(Resource(Item, "items"), table=Items)', "with_crud(ITEMS, table=Items)"),
        (".with_health()", ".with_health()\n    .with_tasks(reprice)\n    .with_cache()"),
    )
    return folder


@pytest.fixture(scope="module")
def services(folder: Path, module_database_url: str) -> Iterator[list[Serving]]:
    """The same shop several times, all of which cache."""
    variables = {"DATABASE_URL": module_database_url, "MILLRACE_SECRET_KEY": "all the same"}
    with ExitStack() as stack:
        services = [stack.enter_context(serving(folder=folder, variables=variables)) for _ in range(PROCESSES)]
        for service in services:
            with service.client() as client:
                eventually(lambda client=client: is_answering_alone(client))  # type: ignore[misc]
        yield services


def is_answering_alone(client: httpx.Client) -> bool:
    """Whether a hit comes out of memory; on PostgreSQL that begins after some seconds."""
    client.get(ITEMS)
    started = time.monotonic()
    return "hit" in client.get(ITEMS).headers["cache-status"] and time.monotonic() - started < 1


READS: list[Callable[[str], str]] = [
    lambda _: ITEMS,
    lambda _: f"{ITEMS}?sort=-price&page=1&size=3",
    lambda _: f"{ITEMS}/$stats",
    lambda id: f"{ITEMS}/{id}",
    lambda id: f"{ITEMS}/{id}?fields=name",
]


@pytest.mark.parametrize("seed", range(2))
def test_a_cached_read_equals_the_database_at_every_step_of_a_random_history(
    services: list[Serving], seed: int
) -> None:
    chance = random.Random(seed)
    hits = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(service.client()) for service in services]
        changes = Changes(chance, str(seed))
        tags: dict[str, str] = {}
        for step in range(STEPS):
            changes.change(chance.choice(clients))
            for _ in range(4):
                url = chance.choice(READS)(chance.choice(changes.ids))
                given = {"If-None-Match": tags[url]} if url in tags and chance.random() < 0.3 else {}
                cached = chance.choice(clients).get(url, headers=given)
                true = chance.choice(clients).get(url, headers={"Cache-Control": "no-store"})
                hits += "hit" in cached.headers.get("cache-status", "")
                if cached.status_code == 304:
                    assert cached.headers["etag"] == tags[url], (step, url)
                    assert seen[url] == true.content, (step, url)
                    continue
                assert cached.status_code == true.status_code, (step, url)
                if cached.status_code == 200:
                    assert cached.content == true.content, (step, url)
                    tags[url] = cached.headers["etag"]
                    seen[url] = cached.content
    # Else nothing would have been shown.
    assert hits > STEPS / 10
    assert changes.kinds.keys() == {"create", "patch", "delete", "bulk", "lines", "task", "nothing"}


seen: dict[str, bytes] = {}


class Changes:
    """Items, and all ways in which a client changes them. What was deleted is asked for on."""

    def __init__(self, chance: random.Random, name: str) -> None:
        self.chance = chance
        self.name = name
        self.made = 0
        self.ids: list[str] = []
        self.gone: set[str] = set()
        self.kinds: Counter[str] = Counter()

    def change(self, client: httpx.Client) -> None:
        """Change something, or nothing, and check that this was so."""
        kind = "create"
        if len(self.ids) > 2:
            kind = self.chance.choice(["create", "patch", "delete", "bulk", "lines", "task", "nothing", "nothing"])
        self.kinds[kind] += 1
        id, price = self.chance.choice(self.ids or [""]), self.chance.randrange(100)
        is_gone = id in self.gone
        match kind:
            case "create":
                made = client.post(ITEMS, json=self.new())
                assert made.status_code == 201, made.text
                self.ids.append(made.json()["id"])
            case "patch":
                assert client.patch(f"{ITEMS}/{id}", json={"price": price}).status_code == (404 if is_gone else 200)
            case "delete":
                assert client.delete(f"{ITEMS}/{id}").status_code == (404 if is_gone else 204)
                self.gone.add(id)
            case "bulk":
                items = [{"op": "create", "data": self.new()}, {"op": "upsert", "id": id, "data": self.new()}]
                done = client.post(f"{ITEMS}/$bulk", json={"items": items})
                assert (done.status_code, done.json()["succeeded"]) == (200, 2), done.text
                self.ids.append(done.json()["items"][0]["id"])
                self.gone.discard(id)
            case "lines":
                lines = [{"op": "update", "id": id, "data": {"price": price}}, {"op": "create", "data": self.new()}]
                content = "".join(json.dumps(line) + "\n" for line in lines)
                headers = {"Content-Type": "application/x-ndjson"}
                done = client.post(f"{ITEMS}/$bulk?mode=partial", content=content, headers=headers)
                assert done.status_code == (207 if is_gone else 200), done.text
            case "task" if not is_gone:
                sent = client.post("/api/v1/tasks/reprice/$execute", json={"args": {"id": id, "price": price}})
                assert sent.status_code == 202, sent.text
                job = f"/api/v1/jobs/{sent.json()['job_id']}"
                eventually(lambda: client.get(job).json()["status"] == "completed")

    def new(self) -> dict[str, Any]:
        """An item with a name of its own."""
        self.made += 1
        return {"name": f"{self.name}.{self.made}", "price": self.chance.randrange(100)}


def test_no_reader_sees_less_than_what_was_acknowledged_before_it_asked(services: list[Serving]) -> None:
    acknowledged = -1
    faults: list[str] = []
    reads = 0

    async def write(url: str, until: float) -> None:
        nonlocal acknowledged
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            made = (await client.post(ITEMS, json={"name": "counter", "price": 0})).json()["id"]
            path.append(f"{ITEMS}/{made}")
            number = 0
            # On a machine that is busy with other things it takes longer to show something.
            while time.monotonic() < until or number < LEAST_CHANGES:
                number += 1
                (await client.patch(path[0], json={"price": number})).raise_for_status()
                acknowledged = number
                await asyncio.sleep(0.002)
        is_over.set()

    async def read(url: str) -> None:
        nonlocal reads
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            while not is_over.is_set():
                least = acknowledged
                reply = await client.get(path[0])
                reads += 1
                if reply.json()["price"] < least:
                    faults.append(f"{reply.json()['price']} after {least} at {url}: {reply.headers['cache-status']}")

    path: list[str] = []
    is_over = asyncio.Event()

    async def all_at_once() -> None:
        until = time.monotonic() + 4
        writing = asyncio.create_task(write(services[0].url, until))
        while not path:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await asyncio.gather(writing, *[read(service.url) for service in services for _ in range(4)])

    asyncio.run(all_at_once())
    assert faults == []
    assert acknowledged >= LEAST_CHANGES
    assert reads > 10 * LEAST_CHANGES


def test_a_process_that_stood_still_does_not_go_on_with_what_it_knew(services: list[Serving]) -> None:
    with services[0].client() as writer, services[1].client() as reader:
        path = f"{ITEMS}/{writer.post(ITEMS, json={'name': 'still', 'price': 1}).json()['id']}"
        eventually(lambda: "hit" in reader.get(path).headers["cache-status"])
        os.kill(services[1].process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert writer.patch(path, json={"price": 2}).status_code == 200
            assert time.monotonic() - began < 5
        finally:
            os.kill(services[1].process.pid, signal.SIGCONT)
        assert reader.get(path).json()["price"] == 2


def test_what_is_changed_past_the_service_is_seen_after_a_second_at_the_latest(
    services: list[Serving], module_database_url: str, request: pytest.FixtureRequest
) -> None:
    with services[0].client() as client:
        path = f"{ITEMS}/{client.post(ITEMS, json={'name': 'past', 'price': 1}).json()['id']}"
        eventually(lambda: "hit" in client.get(path).headers["cache-status"])
        sql = "UPDATE items SET price = 7 WHERE name = 'past'"
        if module_database_url.startswith("sqlite"):
            with sqlite3.connect(module_database_url.removeprefix("sqlite:///"), timeout=10) as database:
                database.execute(sql)
            database.close()
        else:
            server: Postgres = request.getfixturevalue("postgres_server")
            _run(server, module_database_url, sql)
            time.sleep(1.1)
        assert client.get(path).json()["price"] == 7


def _run(server: Postgres, url: str, sql: str) -> Any:
    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql)
        await connection.close()

    asyncio.run(run())
