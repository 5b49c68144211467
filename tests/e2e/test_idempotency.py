"""Clients that send every request again and again: over HTTP, with a service that is killed meanwhile."""

import json
import random
import re
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.processes import ROOT, Serving, eventually, free_port, serving

OUTBREAK = str(ROOT / "examples" / "outbreak" / "main.py")
API = "/api/v1"
KEY = "Idempotency-Key"
_ID = re.compile(r"(?<=/)[0-9A-Z]{26}(?=/|$)")


class Stubborn:
    """A client that sends every request three times; `used` is what it has asked for, as OpenAPI names it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.used: set[tuple[str, str]] = set()

    def __call__(self, method: str, path: str, body: Any = None, operation: str = "") -> Any:
        sent = {"json": body, "headers": {KEY: uuid4().hex}}
        first, *others = [self.client.request(method, f"{API}/{path}", **sent) for _ in range(3)]
        assert first.is_success, (path, first.text)
        assert "idempotency-replayed" not in first.headers
        for again in others:
            assert again.headers["idempotency-replayed"] == "true"
            assert (again.status_code, again.content) == (first.status_code, first.content)
        self.used.add((method.lower(), operation or _ID.sub("{id}", path).partition("?")[0]))
        return first.json() if first.content else None

    def get(self, path: str, **parameters: Any) -> Any:
        reply = self.client.get(f"{API}/{path}", params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def ended(self, job: str) -> Any:
        def look() -> Any:
            found = self.get(f"jobs/{job}")
            return found if found["finished_at"] else None

        return eventually(look)


def test_everything_that_outbreak_can_be_told_it_can_be_told_again(tmp_path: Path, database_url: str) -> None:
    start = partial(serving, OUTBREAK, folder=tmp_path, variables={"DATABASE_URL": database_url})
    with start() as service, service.client() as client:
        service.wait_for("the same by hand")
        ask = Stubborn(client)
        data = {"members": ["seasonal"], "samples": 5}
        config = ask("POST", "configs", {"name": "k", "data": data})["id"]
        ask("PUT", f"configs/{config}", {"name": "kept", "data": data})
        ask("PATCH", f"configs/{config}", {"name": "k"})
        given = {"num_locations": 2, "num_periods": 60, "num_features": 0, "seed": 3}
        body = ask.get("ml/$generate-sample-data", kind="train", config_id=config, **given)
        trained = ask("POST", "ml/$train", body)
        assert ask.ended(trained["job_id"])["status"] == "completed"
        ahead = ask.get("ml/$generate-sample-data", kind="predict", **given)
        predicted = ask("POST", "ml/$predict", {**ahead, "artifact_id": trained["artifact_id"]})
        assert ask.ended(predicted["job_id"])["status"] == "completed"
        tried = ask("POST", "ml/$backtest", {"config_ids": [config], "data": body["data"], "horizon": 3, "splits": 1})
        assert ask.ended(tried["job_id"])["status"] == "completed"
        ask("POST", f"artifacts/{predicted['artifact_id']}/$chart?chart=fan")

        root = ask("POST", "artifacts", {"data": {"type": "generic", "metadata": {}, "content": 1}})["id"]
        ask("PATCH", f"artifacts/{root}", {"tags": ["a"]})
        ask("PUT", f"artifacts/{root}", {"data": {"type": "generic", "metadata": {}, "content": 2}})
        ask("POST", f"configs/{config}/$link-artifact", {"artifact_id": root})
        ask("POST", f"configs/{config}/$unlink-artifact", {"artifact_id": root})
        ask("DELETE", f"artifacts/{root}")

        model = ask("POST", "models", {"name": "m"})["id"]
        ask("PUT", f"models/{model}", {"name": "m", "description": "d"})
        ask("PATCH", f"models/{model}", {"description": "e"})
        for _ in range(2):
            ask("POST", f"models/{model}/versions", {"artifact_id": trained["artifact_id"]})
        assert len(ask.get(f"models/{model}/versions")) == 2
        ask("PATCH", f"models/{model}/versions/1", {"description": "f"}, "models/{id}/versions/{number}")
        alias = f"models/{model}/aliases/best", "models/{id}/aliases/{alias}"
        ask("POST", f"models/{model}/$promote", {"version": 1})
        ask("PUT", alias[0], {"version": 1}, alias[1])
        ask("PUT", alias[0], {"version": 2}, alias[1])
        rolled = ask("POST", f"{alias[0]}/$rollback", None, f"{alias[1]}/$rollback")
        assert rolled["version"] == 1
        ask("DELETE", alias[0], None, alias[1])
        ask("DELETE", f"models/{model}/aliases/champion", None, alias[1])
        for number in (1, 2):
            archived = {"status": "archived"}
            ask("PATCH", f"models/{model}/versions/{number}", archived, "models/{id}/versions/{number}")
        ask("DELETE", f"models/{model}")

        ticking = {"task": "ml.pipeline", "args": {"name": "weekly"}, "cron": "0 6 * * MON", "is_paused": True}
        schedule = ask("POST", "schedules", {"name": "s", **ticking})["id"]
        ask("PUT", f"schedules/{schedule}", {"name": "t", **ticking})
        ask("PATCH", f"schedules/{schedule}", {"name": "s"})
        ask("POST", f"schedules/{schedule}/$trigger")
        ask("POST", f"schedules/{schedule}/$backfill", {"start": "2024-01-01T00:00:00Z", "end": "2024-01-09T00:00:00Z"})
        # One of the start, one that was triggered, and one for each of the two Mondays.
        assert len(ask.get("jobs", kind="ml.pipeline")) == 4
        executed = ask(
            "POST",
            "tasks/ml.pipeline/$execute",
            {"args": {"name": "weekly"}, "delay_seconds": 3600},
            "tasks/{name}/$execute",
        )["job_id"]
        ask("POST", f"jobs/{executed}/$cancel")
        ask("POST", f"jobs/{executed}/$retry")
        ask("POST", "jobs/$requeue")
        ask("DELETE", f"jobs/{executed}")
        node = {"task": "ml.pipeline", "args": {"name": "weekly"}, "delay_seconds": 3600}
        graph = ask("POST", "graphs", {"nodes": {"a": node}})["id"]
        ask("POST", f"graphs/{graph}/$cancel")
        ask("POST", f"graphs/{graph}/$rerun")
        ask("DELETE", f"graphs/{graph}")
        ask("DELETE", f"schedules/{schedule}")
        ask("DELETE", f"configs/{config}")

        many = {
            "configs": {"name": "many", "data": data},
            "artifacts": {"data": {"type": "generic", "metadata": {}, "content": 3}},
            "models": {"name": "many"},
            "schedules": {"name": "many", **ticking},
        }
        for name, given_data in many.items():
            made = ask("POST", f"{name}/$bulk", {"items": [{"op": "create", "data": given_data}]})
            assert made["succeeded"] == 1
            client.delete(f"{API}/{name}/{made['items'][0]['id']}").raise_for_status()

        paths = client.get("/openapi.json").json()["paths"]
        taking = {
            (method, path.removeprefix(f"{API}/"))
            for path, operations in paths.items()
            for method, operation in operations.items()
            if KEY in {parameter["name"] for parameter in operation.get("parameters", ())}
        }
        assert ask.used == taking
        assert service.end() == 0


ORDERS = """
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from piccolo.columns import Varchar

from domain.entity import Entity
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.tasks import task
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.managers.base import Manager
from service.managers.jobs import Jobs


class Order(Entity, kw_only=True):
    name: str
    job: str = ""


class Orders(EntityTable, tablename="orders"):
    name = Varchar(length=100)
    job = Varchar(length=26)


@task()
async def ship() -> None:
    pass


@post("/order")
async def order(
    data: JSONBody[Order], orders_manager: NamedDependency[Manager[Order]], jobs: NamedDependency[Jobs]
) -> Order:
    made = await orders_manager.save(Order(name=data.name))
    job = (await jobs.submit(ship)).job.id
    return await orders_manager.patch(made.id, {"job": job})


app = (
    ServiceBuilder(info=ServiceInfo(id="orders", display_name="Orders"))
    .with_database()
    .with_crud(Resource(Order, "orders"), table=Orders)
    .with_tasks(ship)
    .include_router(order)
    .with_health()
    .build()
)
"""
KILLS = 4


class Customer(threading.Thread):
    """Orders one thing after the other, each until it has been told so twice, at whatever server there is."""

    def __init__(self, urls: list[str], is_over: threading.Event, chance: random.Random) -> None:
        super().__init__()
        self.urls = urls
        self.is_over = is_over
        self.chance = chance
        self.told: dict[str, set[bytes]] = {}
        self.refusals: Counter[str] = Counter()

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self.is_over.is_set():
                name = uuid4().hex
                replies = self.told[name] = set()
                for _ in range(2):
                    replies.add(self._ask(client, name))

    def _ask(self, client: httpx.Client, name: str) -> bytes:
        while True:
            url = self.chance.choice(self.urls)
            try:
                reply = client.post(f"{url}/order", json={"name": name}, headers={KEY: name})
            except httpx.TransportError as error:
                self.refusals[type(error).__name__] += 1
                time.sleep(0.02)
                continue
            if reply.status_code == 201:
                return reply.content
            assert reply.status_code in {409, 503}, reply.text
            self.refusals[str(reply.status_code)] += 1
            time.sleep(0.02)


@pytest.mark.parametrize("servers", [1, 2])
def test_every_key_has_one_effect_however_often_servers_are_killed(
    tmp_path: Path, request: pytest.FixtureRequest, servers: int
) -> None:
    """One server on SQLite, and two at once on PostgreSQL."""
    url = request.getfixturevalue("sqlite_url" if servers == 1 else "postgres_url")
    (tmp_path / "main.py").write_text(ORDERS)
    ports = [free_port() for _ in range(servers)]
    chance, is_over = random.Random(7), threading.Event()
    customers = [
        Customer([f"http://127.0.0.1:{port}" for port in ports], is_over, random.Random(seed)) for seed in range(4)
    ]
    with ExitStack() as stack:

        def start(port: int) -> Serving:
            variables = {"DATABASE_URL": url, "PORT": str(port)}
            return stack.enter_context(serving("main.py", folder=tmp_path, variables=variables))

        running = {port: start(port) for port in ports}
        for customer in customers:
            customer.start()
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.3, 1.0))
                port = chance.choice(ports)
                running[port].process.kill()
                running[port].wait()
                running[port] = start(port)
        finally:
            is_over.set()
            for customer in customers:
                customer.join(30)
        assert not any(customer.is_alive() for customer in customers)
        told = {name: replies for customer in customers for name, replies in customer.told.items()}
        with running[ports[0]].client() as client:
            orders = client.get(f"{API}/orders").json()
            jobs = client.get(f"{API}/jobs?limit=1&count=exact").json()["total"]
        for service in running.values():
            assert service.end() == 0
    # Each order was told in one way only, and is there once with its one job.
    assert {len(replies) for replies in told.values()} == {1}
    assert {order["id"]: order for order in orders} == {
        order["id"]: order for order in (json.loads(reply) for [reply] in told.values())
    }
    assert Counter(order["name"] for order in orders) == Counter(told.keys())
    assert jobs == len(orders) == len({order["job"] for order in orders}) > 4 * KILLS
    assert sum((customer.refusals for customer in customers), Counter()).total() > 0
