"""Clients that take their time in the middle of a transaction: which are waited for, and which are not."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from domain.errors import Unavailable
from infra.database import postgres_opening
from service.http import bulk_stream
from service.http.lines import LEAST_BYTES, Lines
from tests.sample import ITEMS as RESOURCE
from tests.sample import builder, serving, settings
from tests.service.http.test_bulk import lines, new, scope_of


def slowly(pieces: Iterable[bytes], seconds: float) -> Any:
    """What a client sends that waits before each piece, and never ends by itself."""
    left = iter(pieces)

    async def receive() -> Any:
        await asyncio.sleep(seconds)
        piece = next(left, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return receive


async def told(app: Any, receive: Any, query: bytes) -> tuple[int, list[dict[str, Any]]]:
    """The status and the lines that a client gets."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope_of(query), receive, send)
    body = b"".join(message.get("body", b"") for message in said)
    return said[0]["status"], [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("query", [b"", b"dry_run=true&mode=partial"])
async def test_in_a_transaction_lines_are_carried_out_before_their_chunk_is_full(
    database_url: str, monkeypatch: pytest.MonkeyPatch, query: bytes
) -> None:
    monkeypatch.setattr(bulk_stream, "CHUNK_SECONDS", 0.0)
    names = [f"item {number}" for number in range(20)]
    app = builder(database_url).build(settings())
    async with serving(app):
        bad = [*new(*names[:10]), {"op": "shout"}, *new(*names[10:])]
        status, found = await told(app, slowly([lines([item]) for item in bad], 0.001), b"dry_run=true")
        assert (status, found[-1]["summary"]["succeeded"]) == (200, 20)
        assert [line["item"]["line"] for line in found if "item" in line] == [11]
        status, found = await told(app, slowly([lines([item]) for item in new(*names)], 0.001), query)
        told_of = [line["progress"]["lines"] for line in found if "progress" in line]
        # The last line ends the request, so it is no progress.
        assert told_of
        assert told_of == sorted(set(told_of))
        assert told_of[-1] < len(names)
        assert found[-1]["summary"]["counts"]["created"] == 20
        kept = [item.name for item in await app.manager(RESOURCE).find_all()]
        assert sorted(kept) == ([] if query else sorted(names))


async def test_of_one_line_the_status_is_known_however_slow_it_was(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_stream, "CHUNK_SECONDS", 0.0)
    app = builder(sqlite_url).build(settings())
    async with serving(app):
        status, found = await told(app, slowly([lines(new(""))], 0.001), b"")
        assert (status, len(found)) == (422, 2)


async def test_a_database_that_ends_idle_transactions_does_not_end_a_slow_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_opening, "MOST_IDLE_SECONDS", 2)
    monkeypatch.setattr(bulk_stream, "CHUNK_SECONDS", 0.3)
    app = builder(postgres_url).build(settings())
    async with serving(app):
        status, found = await told(app, slowly([lines([item]) for item in new(*"abcdefghijklmnop")], 0.2), b"")
        assert (status, found[-1]["summary"]["succeeded"]) == (200, 16)
        assert await app.manager(RESOURCE).count() == 16


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="a byte now and then"),
        pytest.param(b"1\n", id="lines without much in them"),
        pytest.param(b" " * LEAST_BYTES, id="much without the end of a line"),
        pytest.param(b" " * LEAST_BYTES + b"\n", id="blank lines"),
    ],
)
async def test_who_gets_no_further_in_a_transaction_loses_it(piece: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield piece

    endless = pieces()

    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": await anext(endless), "more_body": True}

    with pytest.raises(Unavailable, match=r"less than a line and 1024 bytes in 0\.1 seconds in the middle of a trans"):
        [line async for line in Lines(receive, idle_seconds=0.1)]


async def test_who_gets_on_is_waited_for_as_often_as_it_takes() -> None:
    piece = b"1" * LEAST_BYTES + b"\n"
    found = [number async for number, _ in Lines(slowly([piece] * 8, 0.1), idle_seconds=0.5)]
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_how_long_the_service_takes_is_not_counted() -> None:
    async for _ in Lines(slowly([b"1\n"] * 3, 0.0), idle_seconds=0.2):
        await asyncio.sleep(0.25)


async def test_a_transaction_that_was_lost_is_told_of_and_kept_by_nobody(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_stream, "IDLE_SECONDS", 0.2)
    app = builder(database_url).build(settings())
    async with serving(app) as client:
        status, found = await told(app, slowly(lines(new("a")).split(b"r"), 0.15), b"")
        assert (status, found[0]["type"]) == (503, "urn:servicekit:error:unavailable")
        # Nobody waits for it any more.
        assert (await client.post("/api/v1/items", json={"name": "b"})).status_code == 201
        assert await app.manager(RESOURCE).count() == 1
