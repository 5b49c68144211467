"""`POST /$bulk` over HTTP, as JSON and as lines, over both databases."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import httpx
import pytest
from litestar.exceptions import InternalServerException

from domain.entity import new_id
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.http import bulk, bulk_stream
from service.http.application import Service
from service.http.crud import Permissions
from service.http.lines import MOST_LINE_BYTES, Lines
from tests.sample import ITEMS as RESOURCE
from tests.sample import Items, builder, http_scope, serving, settings

ITEMS = "/api/v1/items"
BULK = f"{ITEMS}/$bulk"
LINES = {"content-type": "application/x-ndjson"}
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
async def running(module_database_url: str) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    app = builder(module_database_url).build(settings())
    async with serving(app) as client:
        yield app, client


@pytest.fixture
async def client(running: tuple[Service, httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an empty collection."""
    app, client = running
    yield client
    manager = app.manager(RESOURCE)
    await manager.delete_all([item.id for item in await manager.find_all()])


def new(*names: str, **values: Any) -> list[dict[str, Any]]:
    return [{"op": "create", "data": {"name": name, **values}} for name in names]


def lines(items: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def told(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.headers["content-type"] == LINES["content-type"]
    return [json.loads(line) for line in reply.text.splitlines()]


async def count(client: httpx.AsyncClient) -> int:
    found: int = (await client.get(f"{ITEMS}/$stats")).json()["total"]
    return found


async def names(client: httpx.AsyncClient) -> list[str]:
    return sorted(item["name"] for item in (await client.get(ITEMS)).json())


# As JSON


async def test_items_of_every_kind_are_carried_out_and_answered_one_by_one(client: httpx.AsyncClient) -> None:
    made = (await client.post(BULK, json={"items": new("a", "b", "c")})).json()
    first, second, third = made["items"]
    assert {name: made[name] for name in ("mode", "dry_run", "total", "succeeded", "failed", "errors")} == {
        "mode": "atomic",
        "dry_run": False,
        "total": 3,
        "succeeded": 3,
        "failed": 0,
        "errors": [],
    }
    read = await client.get(f"{ITEMS}/{first['id']}")
    assert (first["index"], first["status"], first["outcome"], first["etag"]) == (
        0,
        201,
        "created",
        read.headers["etag"],
    )
    chosen = new_id()
    reply = await client.post(
        BULK,
        json={
            "items": [
                {"op": "update", "id": first["id"].lower(), "if_match": first["etag"], "data": {"meta": {"x": 1}}},
                {"op": "update", "id": second["id"], "data": {"name": "b"}},
                {"op": "delete", "id": third["id"], "if_match": third["etag"]},
                {"op": "upsert", "id": chosen, "data": {"name": "d"}},
            ]
        },
    )
    assert reply.status_code == 200, reply.text
    assert [(item["status"], item["outcome"], item["id"]) for item in reply.json()["items"]] == [
        (200, "updated", first["id"]),
        (200, "unchanged", second["id"]),
        (204, "deleted", third["id"]),
        (201, "created", chosen),
    ]
    assert reply.json()["items"][1]["etag"] == second["etag"]
    assert reply.json()["items"][0]["etag"] != first["etag"]
    assert "etag" not in reply.json()["items"][2]
    assert reply.json()["counts"] == {
        "created": 1,
        "updated": 1,
        "unchanged": 1,
        "deleted": 1,
        "skipped": 0,
        "failed": 0,
    }
    assert await names(client) == ["a", "b", "d"]
    again = await client.post(BULK, json={"items": [{"op": "upsert", "id": chosen, "data": {"name": "e"}}]})
    assert again.json()["items"][0]["outcome"] == "updated"


async def test_an_atomic_request_with_bad_items_writes_nothing_and_lists_them_all(client: httpx.AsyncClient) -> None:
    made = (await client.post(ITEMS, json={"name": "there"})).json()
    missing = new_id()
    items = [
        *new("good"),
        {"op": "create", "data": {"name": "", "size": "x", "nonsense": 1}},
        {"op": "shout", "data": {}},
        {"op": "create", "id": made["id"], "data": {"name": "twin"}},
        {"op": "update", "id": missing, "data": {}},
        {"op": "update", "id": made["id"], "data": {"detail": {"unit": 5}}},
        {"op": "delete", "id": made["id"], "if_match": '"1-2"'},
        "nonsense",
        {"op": "delete"},
    ]
    reply = await client.post(BULK, json={"items": items})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == PROBLEM
    problem = reply.json()
    assert problem["type"] == "urn:servicekit:error:validation-failed"
    assert problem["detail"].startswith("8 of 9 items cannot be carried out, so none was; the first is item 1: ")
    assert (problem["total"], problem["succeeded"], problem["failed"]) == (9, 0, 8)
    assert [(item["index"], item["status"]) for item in problem["items"]] == [
        (1, 422),
        (2, 422),
        (3, 409),
        (4, 404),
        (5, 422),
        (6, 412),
        (7, 422),
        (8, 422),
    ]
    pointers = [error["pointer"] for error in problem["errors"]]
    assert pointers == [
        "/items/1/data/name",
        "/items/1/data/size",
        "/items/1/data/nonsense",
        "/items/2/op",
        "/items/3",
        "/items/4",
        "/items/5/data/detail/width",
        "/items/5/data/detail/unit",
        "/items/6",
        "/items/7",
        "/items/8/id",
    ]
    assert problem["errors"][1]["loc"] == ["body", "items", 1, "data", "size"]
    assert problem["items"][2]["problem"]["detail"] == f"Entity with id {made['id']} already exists"
    assert problem["items"][3]["problem"]["detail"] == f"Entity with id {missing} not found"
    assert await names(client) == ["there"]


async def test_in_parts_only_what_is_bad_fails(client: httpx.AsyncClient) -> None:
    items = [*new("a", ""), {"op": "delete", "id": new_id()}, *new("b")]
    reply = await client.post(f"{BULK}?mode=partial", json={"items": items})
    assert reply.status_code == 207
    body = reply.json()
    assert (body["total"], body["succeeded"], body["failed"]) == (4, 2, 2)
    assert [item["status"] for item in body["items"]] == [201, 422, 404, 201]
    assert body["items"][1]["problem"]["errors"][0]["pointer"] == "/items/1/data/name"
    assert body["errors"] == [
        {"id": "/items/1", "reason": body["items"][1]["problem"]["detail"]},
        {"id": items[2]["id"], "reason": f"Entity with id {items[2]['id']} not found"},
    ]
    assert await names(client) == ["a", "b"]
    whole = await client.post(f"{BULK}?mode=partial", json={"items": new("c")})
    assert whole.status_code == 200


@pytest.mark.parametrize("place", ["query", "body"])
async def test_options_stand_in_the_query_string_or_beside_the_items(client: httpx.AsyncClient, place: str) -> None:
    made = (await client.post(ITEMS, json={"name": "there", "size": 1})).json()
    twin = {"op": "create", "id": made["id"], "data": {"name": "twin"}}

    async def ask(items: Sequence[Any], **options: Any) -> httpx.Response:
        if place == "body":
            return await client.post(BULK, json={"items": items, **options})
        return await client.post(BULK, json={"items": items}, params=options)

    skipped = (await ask([twin, *new("a")], on_conflict="skip", dry_run=True)).json()
    assert [item["outcome"] for item in skipped["items"]] == ["skipped", "created"]
    assert skipped["dry_run"] is True
    assert "etag" not in skipped["items"][1]
    assert await names(client) == ["there"]
    updated = (await ask([twin], on_conflict="update", max_affected=1)).json()
    assert updated["items"][0]["outcome"] == "updated"
    found = (await client.get(f"{ITEMS}/{made['id']}")).json()
    assert (found["name"], found["size"]) == ("twin", 1)
    refused = await ask(new("a", "b"), max_affected=1, mode="partial")
    assert refused.status_code == 409
    assert refused.json()["detail"] == "2 entities would be changed, and max_affected is 1"
    assert (refused.json()["affected"], refused.json()["max_affected"]) == (2, 1)
    assert await names(client) == ["twin"]


async def test_what_is_wrong_with_the_request_itself_is_said(client: httpx.AsyncClient) -> None:
    for params, status, message in (
        ({"mood": "atomic"}, 400, 'unknown parameter "mood"'),
        ({"mode": "atomik"}, 422, '"mode" is not valid'),
        ({"max_affected": -1}, 422, '"max_affected" is not valid'),
    ):
        reply = await client.post(BULK, json={"items": []}, params=params)
        assert reply.status_code == status
        assert message in reply.json()["detail"]
    for body, pointer in (
        ({}, "/items"),
        ({"items": {}}, "/items"),
        ({"items": [], "mode": 1, "things": 2}, "/mode"),
        ({"items": [], "dry_run": "yes"}, "/dry_run"),
    ):
        reply = await client.post(BULK, json=body)
        assert reply.status_code == 422
        assert pointer in [error["pointer"] for error in reply.json()["errors"]]
    both = await client.post(f"{BULK}?mode=partial", json={"items": [], "mode": "partial"})
    assert both.status_code == 422
    assert both.json()["errors"][0]["pointer"] == "/mode"
    for content in (b"", b"[]", b"{", b"[" * 5_000):
        reply = await client.post(BULK, content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 422
    text = await client.post(BULK, content=b"x", headers={"content-type": "text/csv"})
    assert text.status_code == 415
    assert (await client.post(BULK, json={"items": []})).json()["total"] == 0


async def test_items_that_nest_without_end_are_refused_one_by_one(client: httpx.AsyncClient) -> None:
    deep = b'{"op": "create", "data": {"name": "a", "meta": {"a":' + b"[" * 300 + b"]" * 300 + b"}}}"
    body = b'{"mode": "partial", "items": [' + deep + b', {"op": "create", "data": {"name": "good"}}]}'
    reply = await client.post(BULK, content=body, headers={"content-type": "application/json"})
    assert [item["status"] for item in reply.json()["items"]] == [422, 201]


async def test_more_than_one_request_may_hold_is_too_large(client: httpx.AsyncClient) -> None:
    reply = await client.post(BULK, json={"items": new(*["a"] * 10_001)})
    assert reply.status_code == 413
    assert reply.json()["type"] == "urn:servicekit:error:too-large"
    assert reply.json()["detail"].startswith("There are more than the 10000 items of one request; send the items as")
    large = b'{"items": [' + b" " * bulk.MOST_BYTES + b"]}"
    reply = await client.post(BULK, content=large, headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert await count(client) == 0


async def test_a_reply_explains_a_thousand_invalid_fields_and_names_all_items(client: httpx.AsyncClient) -> None:
    bad = {"op": "create", "data": {f"wrong{number}": number for number in range(30)}}
    problem = (await client.post(BULK, json={"items": [bad] * 200})).json()
    assert len(problem["errors"]) == 100
    assert len(problem["items"]) == 200
    explained = [item for item in problem["items"] if "errors" in item["problem"]]
    assert sum(len(item["problem"]["errors"]) for item in explained) <= 1_000
    assert all(item["problem"]["detail"] for item in problem["items"])


# What is allowed


@pytest.mark.parametrize(
    "allowed, expected",
    [
        (Permissions(), [201, 404, 201, 404]),
        (Permissions(update=False), [201, 403, 403, 404]),
        (Permissions(create=False), [403, 404, 403, 404]),
        (Permissions(delete=False, read=False), [201, 404, 201, 403]),
    ],
)
async def test_items_may_do_what_routes_may(allowed: Permissions, expected: list[int]) -> None:
    made = ServiceBuilder(info=ServiceInfo(id="s", display_name="S")).with_database("sqlite:///:memory:")
    app = made.with_crud(RESOURCE, table=Items, permissions=allowed).build(settings())
    async with serving(app) as client:
        items = [
            *new("a"),
            {"op": "update", "id": new_id(), "data": {}},
            {"op": "upsert", "id": new_id(), "data": {"name": "b"}},
            {"op": "delete", "id": new_id()},
        ]
        reply = await client.post(f"{BULK}?mode=partial", json={"items": items})
        assert [item["status"] for item in reply.json()["items"]] == expected
        for item in reply.json()["items"]:
            if item["status"] == 403:
                op = items[item["index"]]["op"]
                assert item["problem"]["detail"] == f'items take no items with the op "{op}" here'
        updating = await client.post(f"{BULK}?on_conflict=update", json={"items": []})
        assert updating.status_code == (200 if allowed.update else 403)


async def test_what_may_only_be_read_has_no_such_route() -> None:
    made = ServiceBuilder(info=ServiceInfo(id="s", display_name="S")).with_database("sqlite:///:memory:")
    reading = Permissions(create=False, update=False, delete=False)
    app = made.with_crud(RESOURCE, table=Items, permissions=reading).build(settings())
    async with serving(app) as client:
        assert (await client.post(BULK, json={"items": []})).status_code == 405
        assert BULK not in (await client.get("/openapi.json")).json()["paths"]


async def test_an_operation_of_the_authors_own_comes_first() -> None:
    async def own() -> dict[str, str]:
        return {"from": "the author"}

    made = builder("sqlite:///:memory:").register_collection_operation(RESOURCE, "bulk", own, method="POST")
    async with serving(made.build(settings())) as client:
        assert (await client.post(BULK)).json() == {"from": "the author"}


# As lines


async def test_lines_are_answered_by_what_failed_and_a_summary(client: httpx.AsyncClient) -> None:
    content = lines(new("a")) + b"\n  \r\n" + b"nonsense\n" + lines(new("", "b")) + json.dumps(new("c")[0]).encode()
    reply = await client.post(f"{BULK}?mode=partial", content=content, headers=LINES)
    assert reply.status_code == 207
    first, second, last = told(reply)
    assert (first["item"]["line"], first["item"]["status"]) == (4, 422)
    assert first["item"]["problem"]["errors"][0]["type"] == "json_invalid"
    assert (second["item"]["line"], second["item"]["problem"]["errors"][0]["pointer"]) == (5, "/data/name")
    summary = last["summary"]
    assert (summary["total"], summary["succeeded"], summary["failed"]) == (5, 3, 2)
    assert [error["id"] for error in summary["errors"]] == ["line 4", "line 5"]
    assert await names(client) == ["a", "b", "c"]


async def test_a_line_that_is_too_long_is_left_out(client: httpx.AsyncClient) -> None:
    wide = b'{"op": "create", "data": {"name": "wide"}' + b" " * MOST_LINE_BYTES + b"}\n"
    content = lines(new("a")) + wide + lines(new("b")) + wide
    reply = await client.post(f"{BULK}?mode=partial", content=content, headers=LINES)
    *failed, last = told(reply)
    assert [item["item"]["line"] for item in failed] == [2, 4]
    assert "is longer than the 1048576 bytes" in failed[0]["item"]["problem"]["detail"]
    assert last["summary"]["succeeded"] == 2


async def test_many_lines_are_carried_out_in_chunks_with_progress(client: httpx.AsyncClient) -> None:
    reply = await client.post(f"{BULK}?mode=partial", content=lines(new(*["a"] * 2_500, "")), headers=LINES)
    # More than one chunk: the reply began before it was known what would become of the rest.
    assert reply.status_code == 200
    *progress, item, last = told(reply)
    assert progress[-1] == {"progress": {"lines": 2_000, "succeeded": 2_000, "failed": 0}}
    assert item["item"]["line"] == 2_501
    assert last["summary"]["succeeded"] == 2_500
    assert await count(client) == 2_500


async def test_atomic_lines_are_all_or_nothing(client: httpx.AsyncClient) -> None:
    bad = await client.post(BULK, content=lines([*new("a"), *new("")]), headers=LINES)
    assert bad.status_code == 422
    assert told(bad)[-1]["summary"]["succeeded"] == 0
    much = await client.post(BULK, content=lines(new(*["a"] * 1_500, "", *["b"] * 1_000)), headers=LINES)
    assert much.status_code == 200
    summary = told(much)[-1]["summary"]
    assert (summary["total"], summary["succeeded"], summary["failed"], summary["counts"]["created"]) == (2501, 0, 1, 0)
    assert await count(client) == 0
    dry = await client.post(f"{BULK}?dry_run=true", content=lines(new("a")), headers=LINES)
    assert (dry.status_code, told(dry)[-1]["summary"]["counts"]["created"]) == (200, 1)
    assert await count(client) == 0
    good = await client.post(BULK, content=lines(new(*["a"] * 1_500)), headers=LINES)
    assert told(good)[-1]["summary"]["succeeded"] == 1_500
    assert await count(client) == 1_500


async def test_a_limit_stops_the_lines_where_it_is_reached(client: httpx.AsyncClient) -> None:
    content = lines(new(*["a"] * 2_500))
    few = await client.post(f"{BULK}?max_affected=10", content=lines(new(*["a"] * 11)), headers=LINES)
    assert (few.status_code, few.headers["content-type"]) == (409, PROBLEM)
    part = await client.post(f"{BULK}?mode=partial&max_affected=1500", content=content, headers=LINES)
    summary = told(part)[-1]["summary"]
    assert (summary["succeeded"], summary["status"]) == (1_000, 409)
    assert summary["problem"]["detail"] == "2000 entities would be changed, and max_affected is 1500"
    assert await count(client) == 1_000
    whole = await client.post(f"{BULK}?max_affected=1500", content=content, headers=LINES)
    assert told(whole)[-1]["summary"]["succeeded"] == 0
    assert await count(client) == 1_000


async def test_only_the_first_thousand_failures_are_listed(client: httpx.AsyncClient) -> None:
    reply = await client.post(f"{BULK}?mode=partial", content=lines(new(*[""] * 1_200)), headers=LINES)
    found = told(reply)
    assert sum("item" in line for line in found) == bulk_stream.MOST_LISTED
    assert found[-1]["summary"]["failed"] == 1_200
    assert len(found[-1]["summary"]["errors"]) == 100


async def test_no_lines_are_no_items(client: httpx.AsyncClient) -> None:
    reply = await client.post(BULK, content=b"", headers=LINES)
    assert (reply.status_code, told(reply)[-1]["summary"]["total"]) == (200, 0)


# Clients as they are


def scope_of(query: bytes) -> dict[str, Any]:
    return http_scope("POST", BULK, query=query, content_type=b"application/x-ndjson")


async def test_who_reads_the_reply_only_after_sending_everything_is_not_waited_for(
    running: tuple[Service, httpx.AsyncClient], client: httpx.AsyncClient
) -> None:
    app, _ = running
    everything_sent = asyncio.Event()
    pieces = [lines(new(*["a"] * 1_000)) for _ in range(5)]
    said: list[bytes] = []

    async def receive() -> Any:
        if len(pieces) == 1:
            everything_sent.set()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        await everything_sent.wait()
        said.append(message.get("body", b""))

    async with asyncio.timeout(60):
        await app(scope_of(b"mode=partial"), receive, send)  # type: ignore[arg-type]
    found = [json.loads(line) for line in b"".join(said).splitlines()]
    assert found[-1]["summary"]["succeeded"] == 5_000
    # Of the progress that nobody took, only the latest was kept.
    assert sum("progress" in line for line in found) < 4


@pytest.mark.parametrize("mode, kept", [(b"atomic", 0), (b"partial", 1_000)])
async def test_of_who_goes_away_in_the_middle_whole_chunks_are_kept_or_nothing(
    running: tuple[Service, httpx.AsyncClient], client: httpx.AsyncClient, mode: bytes, kept: int
) -> None:
    app, _ = running
    messages: list[Any] = [
        {"type": "http.request", "body": lines(new(*["a"] * 1_500)), "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    await app(scope_of(b"mode=" + mode), receive, send)  # type: ignore[arg-type]
    assert await count(client) == kept


async def collected(pieces: Sequence[bytes], **options: Any) -> list[tuple[int, bytes | None]]:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return messages.pop(0)

    return [line async for line in Lines(receive, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_lines_are_the_same_however_they_are_cut_into_pieces(size: int) -> None:
    text = b"one\n\ntwo\r\n  \nthree"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert await collected(pieces) == [(1, b"one"), (3, b"two\r"), (5, b"three")]


async def test_the_memory_of_a_line_without_an_end_is_bounded() -> None:
    piece = b"x" * MOST_LINE_BYTES
    assert await collected([piece, b"x", *[piece] * 50, b"\nshort\n"]) == [(1, None), (2, b"short")]
    assert await collected([piece, b"\n"]) == [(1, piece)]
    assert await collected([piece, b"x"]) == [(1, None)]


async def test_a_request_that_breaks_off_is_none() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(InternalServerException):
        [line async for line in Lines(receive)]
