"""Transformations in a service with a cache: whatever can be known already is not computed again."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import msgspec
import pytest

from domain.errors import Misconfigured
from domain.frames import DataFrame
from domain.registration import ServiceInfo
from domain.transformations import TransformationRouter
from service.builder import ServiceBuilder
from service.http.application import Service
from tests.sample import serving, settings
from tests.service.api.transformations_service import TRANSFORMATIONS, VISITS, Visits


class Scale(msgspec.Struct):
    factor: float = 1.0


class Summed(TransformationRouter):
    """The sum of a column, and how often that was computed."""

    calls: ClassVar[list[float]] = []
    gate: ClassVar[threading.Event] = threading.Event()

    def transform(self, data: DataFrame, params: Scale) -> dict[str, float]:
        self.gate.wait(10)
        self.calls.append(params.factor)
        if params.factor < 0:
            raise ValueError("negative")
        return {"sum": sum(data["number"]) * params.factor}


class Fickle(TransformationRouter):
    """Something that is not to be kept."""

    cache_ttl = 0

    def transform(self, data: int) -> int:
        Summed.calls.append(data)
        return data


SUMMED, FICKLE = f"{TRANSFORMATIONS}/summed", f"{TRANSFORMATIONS}/fickle"
DATA: dict[str, Any] = {"columns": ["number"], "data": [[1], [2]]}


def service(
    url: str, folder: Path, redis_url: str | None = None, id: str = "cached", disk: int = 0, **options: Any
) -> Service:
    """A service that keeps what it has computed."""
    return (
        ServiceBuilder(info=ServiceInfo(id=id, display_name="Cached"))
        .with_database(url, pool_size=2, max_overflow=2)
        .with_transformations(Summed, Fickle)
        .with_crud(VISITS, table=Visits, **options)
        .with_cache(max_disk_bytes=disk)
        .with_system()
        .build(settings(home=folder, redis_url=redis_url))
    )


@pytest.fixture(autouse=True)
def calls() -> list[float]:
    Summed.calls.clear()
    Summed.gate.set()
    return Summed.calls


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service(database_url, tmp_path)) as client:
        yield client


async def asked(client: httpx.AsyncClient, url: str = SUMMED, **body: Any) -> tuple[Any, str | None]:
    """The result, and what is said of the cache without the seconds."""
    reply = await client.post(url, json=body)
    assert reply.status_code == 200, reply.text
    status = reply.headers.get("cache-status")
    return reply.json(), status and status.partition("; ttl=")[0]


MISS, HIT = "millrace; fwd=miss; stored", "millrace; hit"


async def test_what_means_the_same_is_computed_once(client: httpx.AsyncClient, calls: list[float]) -> None:
    assert await asked(client, data=DATA) == ({"sum": 3}, MISS)
    assert await asked(client, data=DATA, params={"factor": 1}) == ({"sum": 3}, HIT)
    spelled = b'{ "data": {"data":[[1], [2]], "columns": ["number"]} }'
    spaced = await client.post(SUMMED, content=spelled, headers={"content-type": "application/json"})
    assert (spaced.json(), spaced.headers["cache-status"].partition("; ttl")[0]) == ({"sum": 3}, HIT)
    assert calls == [1]
    assert await asked(client, data=DATA, params={"factor": 2}) == ({"sum": 6}, MISS)
    assert await asked(client, data={"columns": ["number"], "data": [[1], [3]]}) == ({"sum": 4}, MISS)
    assert len(calls) == 3


async def test_those_who_ask_the_same_at_once_wait_for_one_computation(
    client: httpx.AsyncClient, calls: list[float]
) -> None:
    Summed.gate.clear()
    asking = [asyncio.create_task(asked(client, data=DATA)) for _ in range(10)]
    await asyncio.sleep(0.1)
    Summed.gate.set()
    found = await asyncio.gather(*asking)
    assert [result for result, _ in found] == [{"sum": 3}] * 10
    assert sorted(status or "" for _, status in found) == ["millrace; fwd=miss; collapsed"] * 9 + [MISS]
    assert calls == [1]


async def test_rows_of_a_resource_are_computed_again_after_a_change(
    client: httpx.AsyncClient, calls: list[float]
) -> None:
    query: dict[str, Any] = {"resource": "visits", "query": {"filter": {"place": "Oslo"}}}
    assert (await client.post(VISITS.path, json={"place": "Oslo", "number": 4})).status_code == 201
    assert await asked(client, **query) == ({"sum": 4}, MISS)
    assert await asked(client, **query) == ({"sum": 4}, HIT)
    other = await client.post(VISITS.path, json={"place": "Oslo", "number": 5})
    assert await asked(client, **query) == ({"sum": 9}, MISS)
    assert (await client.delete(f"{VISITS.path}/{other.json()['id']}")).status_code == 204
    assert await asked(client, **query) == ({"sum": 4}, MISS)
    assert len(calls) == 3


async def test_rows_whose_changes_nobody_counts_are_not_kept(database_url: str, tmp_path: Path) -> None:
    async with serving(service(database_url, tmp_path, cache_ttl=0)) as client:
        await client.post(VISITS.path, json={"place": "Oslo", "number": 4})
        for _ in range(2):
            assert await asked(client, resource="visits") == ({"sum": 4}, None)
    assert len(Summed.calls) == 2


async def test_a_refusal_is_not_kept(client: httpx.AsyncClient, calls: list[float]) -> None:
    for _ in range(2):
        reply = await client.post(SUMMED, json={"data": DATA, "params": {"factor": -1}})
        assert (reply.status_code, "negative" in reply.text) == (422, True)
    assert len(calls) == 2


async def test_nothing_is_kept_of_what_is_not_to_be_kept(client: httpx.AsyncClient, calls: list[float]) -> None:
    for _ in range(2):
        assert await asked(client, FICKLE, data=3) == (3, None)
    assert len(calls) == 2


async def test_the_hit_rate_is_shown(client: httpx.AsyncClient) -> None:
    for _ in range(4):
        tag = (await client.post(SUMMED, json={"data": DATA})).headers["etag"]
    known = await client.post(SUMMED, json={"data": DATA}, headers={"if-none-match": tag})
    assert known.status_code == 304
    summed, fickle = (await client.get(TRANSFORMATIONS)).json()
    use = {"hits": 3, "misses": 1, "unmodified": 1, "coalesced": 0, "stale": 0, "bypassed": 0}
    assert summed["cache"] == {"ttl_seconds": 3600, "hit_rate": 0.8, **use}
    assert "cache" not in fickle
    routes = (await client.get("/api/v1/system/cache")).json()["routes"]
    assert routes[SUMMED]["hits"] == 3


async def test_results_on_disk_outlive_the_service_also_those_of_rows(
    database_url: str, tmp_path: Path, calls: list[float]
) -> None:
    made = service(database_url, tmp_path, disk=1_000_000)
    async with serving(made) as client:
        await client.post(VISITS.path, json={"place": "Oslo", "number": 4})
        assert await asked(client, data=DATA) == ({"sum": 3}, MISS)
        assert await asked(client, resource="visits") == ({"sum": 4}, MISS)
    async with serving(service(database_url, tmp_path, disk=1_000_000)) as client:
        assert await asked(client, data=DATA) == ({"sum": 3}, HIT)
        assert await asked(client, resource="visits") == ({"sum": 4}, HIT)
        tiers = (await client.get("/api/v1/system/cache")).json()["tiers"]
        assert (list(tiers), tiers["disk"]["hits"]) == (["memory", "disk"], 2)
        await client.post(VISITS.path, json={"place": "Oslo", "number": 5})
        await client.post("/api/v1/system/cache/$clear")
        assert await asked(client, data=DATA) == ({"sum": 3}, MISS)
    async with serving(service(database_url, tmp_path, disk=1_000_000)) as client:
        assert await asked(client, resource="visits") == ({"sum": 9}, MISS)
        assert await asked(client, data=DATA) == ({"sum": 3}, HIT)
    assert len(calls) == 4


async def test_results_outlive_the_service_and_are_those_of_all_its_processes(
    sqlite_url: str, tmp_path: Path, redis_url: str, calls: list[float]
) -> None:
    id = f"test-{uuid4().hex}"
    async with serving(service(sqlite_url, tmp_path, redis_url, id)) as client:
        assert await asked(client, data=DATA) == ({"sum": 3}, MISS)
    for _ in range(2):
        async with serving(service(sqlite_url, tmp_path, redis_url, id)) as client:
            assert await asked(client, data=DATA) == ({"sum": 3}, HIT)
    assert calls == [1]


@pytest.mark.parametrize("ttl", [-1, "1", None, float("nan")])
def test_a_time_that_is_none_is_refused(ttl: Any) -> None:
    class Odd(TransformationRouter):
        cache_ttl = ttl

        def transform(self, data: int) -> int:
            return data

    with pytest.raises(Misconfigured, match="cache_ttl"):
        ServiceBuilder(info=ServiceInfo(id="odd", display_name="Odd")).with_transformations(Odd)
