"""JSON requests with as many items as there may be, and with far more."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from domain.bulk import MOST_ITEMS
from service.http import bulk
from tests.processes import PATIENCE_SECONDS, ROOT
from tests.sample import builder, serving, settings
from tests.service.http.test_bulk import BULK, new

JSON = {"content-type": "application/json"}
MOST_GROWTH_MIB = 192
"""Three times what such a body takes while it is put together."""

ASKING = """
import asyncio, resource, sys
from tests.sample import builder, serving, settings
from service.http.bulk import MOST_BYTES

piece, start, end = (part.encode() for part in sys.argv[1:])
count = (MOST_BYTES - len(start) - len(end)) // (len(piece) + 1)
body = start + (piece + b",") * (count - 1) + piece + end

async def ask():
    async with serving(builder("sqlite:///:memory:").build(settings())) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await client.post("/api/v1/items/$bulk", content=body, headers={"content-type": "application/json"})
        print(reply.status_code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(ask())
"""


@pytest.fixture
async def client(sqlite_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(builder(sqlite_url).build(settings())) as client:
        yield client


@pytest.mark.parametrize(
    "piece, start, end, status",
    [
        pytest.param("[]", '{"items":[', "]}", 413, id="lists"),
        pytest.param("[]", '{"items":[', "", 422, id="without an end"),
        pytest.param("[]", '{"items":[],"mood":[', "]}", 422, id="in an unknown member"),
        pytest.param("1", '{"mode":"partial","items":[', '],"items":[1]}', 207, id="in a member that comes twice"),
    ],
)
def test_items_that_are_too_many_are_not_even_made(piece: str, start: str, end: str, status: int) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ASKING, piece, start, end],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert found.returncode == 0, found.stderr
    answered, growth = map(int, found.stdout.split())
    assert answered == status
    assert growth < MOST_GROWTH_MIB


@pytest.mark.parametrize("more, status", [(-1, 200), (0, 200), (1, 413)])
async def test_as_many_items_as_are_allowed_are_carried_out_whatever_is_in_them(
    client: httpx.AsyncClient, more: int, status: int
) -> None:
    items = new(*["a, b"] * (MOST_ITEMS + more), labels=["a", "b"])
    reply = await client.post(BULK, json={"dry_run": True, "items": items})
    assert reply.status_code == status
    if status == 200:
        assert (reply.json()["total"], reply.json()["succeeded"]) == (len(items), len(items))
        assert reply.json()["dry_run"] is True


async def test_many_commas_are_not_many_items(client: httpx.AsyncClient) -> None:
    numbers = list(range(MOST_ITEMS))
    reply = await client.post(BULK, json={"items": new("a", numbers=numbers), "mode": "partial"})
    assert (reply.status_code, reply.json()["mode"]) == (200, "partial")
    made = await client.get(f"/api/v1/items/{reply.json()['items'][0]['id']}")
    assert made.json()["numbers"] == numbers


@pytest.mark.parametrize("size", [MOST_ITEMS, bulk.MOST_EXPLAINED_BYTES])
async def test_what_is_wrong_with_a_large_request_is_said(client: httpx.AsyncClient, size: int) -> None:
    numbers = [1] * size
    items = msgspec.json.encode(new("a", numbers=numbers))
    for body, kind in (
        (b'{"mode": 1, "items": ' + items + b"}", "value_error"),
        (b'{"items": ' + items, "json_invalid"),
    ):
        reply = await client.post(BULK, content=body, headers=JSON)
        assert reply.status_code == 422
        (error,) = reply.json()["errors"]
        assert error["type"] == kind
        assert len(json.dumps(error)) < 1_000
