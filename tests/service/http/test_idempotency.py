"""Requests with an `Idempotency-Key`: the effect once, the reply as often as it is asked for."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from domain.idempotency import MOST_REPLY_BYTES
from infra.database.engine import DatabaseEngine
from tests.infra.database.engines import opened
from tests.sample import serving
from tests.service.http.keyed_service import KEY, calls, gates, keyed_app, keyed_service, names, reached

ITEMS = "/api/v1/items"
REPLAYED = "idempotency-replayed"


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with keyed_service(database_url) as client:
        yield client


@pytest.fixture
async def database(client: httpx.AsyncClient, database_url: str) -> AsyncIterator[DatabaseEngine]:
    async with opened(database_url) as engine:
        yield engine


async def send(client: httpx.AsyncClient, path: str, key: str = "k", **options: Any) -> httpx.Response:
    headers = {KEY: key, **options.pop("headers", {})}
    return await client.request(options.pop("method", "POST"), path, headers=headers, **options)


async def kept(database: DatabaseEngine) -> int:
    [(count,)] = await database.fetch("SELECT count(*) FROM millrace_idempotency")
    return int(count)


async def test_a_repeated_creation_creates_once_and_replies_the_same(client: httpx.AsyncClient) -> None:
    first = await send(client, ITEMS, json={"name": "a"})
    again = await send(client, ITEMS, json={"name": "a"})
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    own = {"x-request-id", REPLAYED}
    assert {name: value for name, value in first.headers.items() if name not in own} == {
        name: value for name, value in again.headers.items() if name not in own
    }
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert await names(client) == ["a"]


async def test_without_a_key_or_with_another_everything_happens_again(
    client: httpx.AsyncClient, database: DatabaseEngine
) -> None:
    for key in ("k1", "k2"):
        assert REPLAYED not in (await send(client, ITEMS, key, json={"name": key})).headers
    assert await kept(database) == 2
    for _ in range(2):
        assert (await client.post(ITEMS, json={"name": "plain"})).status_code == 201
    assert await names(client) == ["k1", "k2", "plain", "plain"]
    assert await kept(database) == 2


async def test_every_method_that_changes_something_is_repeated(client: httpx.AsyncClient) -> None:
    made = (await send(client, ITEMS, "post", json={"name": "a", "size": 1})).json()
    path = f"{ITEMS}/{made['id']}"
    for method, body in (("PUT", {"name": "b"}), ("PATCH", {"size": 3}), ("DELETE", None)):
        first = await send(client, path, method, method=method, json=body)
        assert first.is_success
        assert REPLAYED not in first.headers
        again = await send(client, path, method, method=method, json=body)
        assert again.headers[REPLAYED] == "true"
        assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (await client.get(path)).status_code == 404


async def test_a_read_takes_no_notice_of_a_key(client: httpx.AsyncClient, database: DatabaseEngine) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        reply = await send(client, ITEMS, "not a key", method=method)
        assert reply.is_success
    assert await kept(database) == 0


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (ITEMS, {"json": {"name": "b"}}),
        (ITEMS, {"method": "PUT", "json": {"name": "a"}}),
        (f"{ITEMS}?x=1", {"json": {"name": "a"}}),
        ("/compute-not", {"json": {"name": "a"}}),
        ("/cookie", {"json": {"name": "a"}}),
    ],
)
async def test_a_key_belongs_to_one_request(client: httpx.AsyncClient, path: str, options: dict[str, Any]) -> None:
    await send(client, ITEMS, json={"name": "a"})
    reply = await send(client, path, **options)
    if path == "/compute-not" or options.get("method") == "PUT":
        # There is nothing that it could be a key to.
        assert reply.status_code in {404, 405}
    else:
        assert reply.status_code == 422
        assert reply.json()["type"] == "urn:servicekit:error:key-reused"
        assert reply.headers["content-type"] == "application/problem+json"
    assert await names(client) == ["a"]


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\tb", " "])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    reply = await client.post(ITEMS, json={"name": "a"}, headers=[(KEY.encode(), key.encode())])
    assert reply.status_code == 400
    problem = reply.json()
    assert problem["type"] == "urn:servicekit:error:validation-failed"
    assert problem["trace_id"] == reply.headers["x-request-id"]
    [error] = problem["errors"]
    assert error["loc"] == ["header", KEY]
    assert error["input"] == key.encode().decode("latin-1")[:200] + ("…" if len(key) > 200 else "")
    assert error["allowed"] == ["1 to 255 visible ASCII characters"]
    assert await names(client) == []


async def test_the_longest_key_is_taken_and_two_are_not(client: httpx.AsyncClient) -> None:
    assert (await send(client, ITEMS, "~" * 255, json={"name": "a"})).status_code == 201
    twice = await client.post(ITEMS, json={"name": "b"}, headers=[(KEY, "a"), (KEY, "a")])
    assert twice.status_code == 400
    assert "2 times" in twice.json()["detail"]
    assert await names(client) == ["a"]


async def test_nobody_gets_the_reply_to_somebody_else(client: httpx.AsyncClient) -> None:
    everybody = [{}, {"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {"x-api-key": "Bearer a"}]
    found = [await send(client, ITEMS, json={"name": "a"}, headers=headers) for headers in everybody]
    assert len({reply.json()["id"] for reply in found}) == len(everybody)
    for headers, reply in zip(everybody, found, strict=True):
        again = await send(client, ITEMS, json={"name": "a"}, headers=headers)
        assert again.json() == reply.json()


async def test_while_it_is_answered_a_request_cannot_be_repeated(client: httpx.AsyncClient) -> None:
    first = asyncio.create_task(send(client, "/wait?name=w"))
    await reached["w"].wait()
    early = await send(client, "/wait?name=w")
    assert early.status_code == 409
    assert early.json()["type"] == "urn:servicekit:error:request-in-flight"
    assert early.headers["retry-after"] == "1"
    # Nothing of it can be seen yet.
    assert await names(client) == []
    gates["w"].set()
    assert (await first).text == "w"
    assert (await send(client, "/wait?name=w")).headers[REPLAYED] == "true"
    assert calls["w"] == 1
    assert await names(client) == ["w"]


async def test_many_at_once_are_carried_out_once(client: httpx.AsyncClient) -> None:
    found = await asyncio.gather(*(send(client, ITEMS, json={"name": "a"}) for _ in range(20)))
    assert {reply.status_code for reply in found} <= {201, 409}
    assert len({reply.content for reply in found if reply.status_code == 201}) == 1
    assert await names(client) == ["a"]


async def test_a_final_refusal_is_repeated_with_what_was_changed(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        reply = await send(client, "/fail?status=404")
        assert reply.status_code == 404
    assert reply.headers[REPLAYED] == "true"
    assert calls["fail404"] == 1
    assert await names(client) == ["fail404"]


@pytest.mark.parametrize("status", ["401", "409", "429", "500"])
async def test_what_may_pass_is_tried_again_and_leaves_nothing(
    client: httpx.AsyncClient, database: DatabaseEngine, status: str
) -> None:
    for _ in range(2):
        reply = await send(client, f"/fail?status={status}")
        assert reply.status_code == int(status)
        assert REPLAYED not in reply.headers
        assert (reply.headers.get("retry-after") == "7") is (status == "429")
    assert calls[f"fail{status}"] == 2
    assert await names(client) == []
    assert await kept(database) == 0


async def test_an_invalid_body_is_refused_once_and_for_all(client: httpx.AsyncClient) -> None:
    first, again = [await send(client, ITEMS, json={"name": ""}) for _ in range(2)]
    assert first.status_code == again.status_code == 422
    assert first.json() == again.json()
    assert again.headers[REPLAYED] == "true"


async def test_a_statement_that_failed_takes_the_rest_along(
    client: httpx.AsyncClient, database: DatabaseEngine
) -> None:
    is_postgres = database.dialect.name == "postgres"
    for _ in range(2):
        reply = await send(client, "/swallow")
        assert (reply.status_code, reply.text) == (400, "twice")
    # PostgreSQL undoes the whole transaction, in which the reply could then not be stored either.
    assert await names(client) == ([] if is_postgres else ["swallow"])
    assert (REPLAYED in reply.headers) is not is_postgres


async def test_a_cookie_is_given_once(client: httpx.AsyncClient) -> None:
    first, again = [await send(client, "/cookie") for _ in range(2)]
    assert first.headers["set-cookie"] == "sid=alice"
    assert "set-cookie" not in again.headers
    assert again.headers["x-own"] == first.headers["x-own"]
    assert again.json() == {"a": 1}


async def test_what_follows_the_reply_is_outside_of_the_transaction(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await send(client, "/later")).text == "soon"
    await reached["later"].wait()
    assert await names(client) == ["later"]


async def test_an_event_stream_begins_at_once_and_is_not_repeated(client: httpx.AsyncClient) -> None:
    first = asyncio.create_task(send(client, "/events"))
    await reached["events"].wait()
    # It is committed while the stream goes on, and others can write.
    assert await names(client) == ["events"]
    assert (await client.post(ITEMS, json={"name": "other"})).status_code == 201
    again = await send(client, "/events")
    assert again.status_code == 422
    assert again.json()["type"] == "urn:servicekit:error:reply-not-kept"
    gates["events"].set()
    assert (await first).text == "data: 1\n\ndata: 2\n\n"
    assert await names(client) == ["events", "events-after", "other"]


@pytest.mark.parametrize(("path", "size"), [("/large", 1024**2 + 1), ("/pieces?size=1025", 1025 * 1024)])
async def test_a_long_reply_arrives_whole_and_is_not_repeated(client: httpx.AsyncClient, path: str, size: int) -> None:
    first = await send(client, path)
    assert first.content == b"x" * size
    again = await send(client, path)
    assert again.status_code == 422
    assert again.json()["type"] == "urn:servicekit:error:reply-not-kept"
    assert len(await names(client)) == 1


async def test_a_long_reply_from_inside_of_a_transaction_is_refused_and_keeps_nothing(
    client: httpx.AsyncClient, database: DatabaseEngine
) -> None:
    for _ in range(2):
        reply = await send(client, "/inside")
        assert (reply.status_code, "under way at its end" in reply.json()["detail"]) == (409, True)
        assert await names(client) == []
    assert await kept(database) == 0
    assert (await client.post("/inside")).status_code == 201
    assert await names(client) == ["inside"]


@pytest.mark.parametrize(
    ("options", "status", "stored"),
    [("mode=atomic", 422, 0), ("mode=partial&dry_run=true", 207, 0), ("mode=partial", 207, 1_100)],
)
async def test_many_lines_with_a_long_reply_are_one_change(
    client: httpx.AsyncClient, options: str, status: int, stored: int
) -> None:
    # Two chunks, and what is wrong with the first one is longer than what is kept of a reply.
    wrong = json.dumps({"op": "create", "data": {f"unknown{number}": number for number in range(100)}})
    lines = [wrong] * 60 + [json.dumps({"op": "create", "data": {"name": f"line {n}"}}) for n in range(1_100)]
    path, sent = f"{ITEMS}/$bulk?{options}", {"content": "\n".join(lines).encode()}
    first = await send(client, path, headers={"Content-Type": "application/x-ndjson"}, **sent)
    assert len(first.content) > MOST_REPLY_BYTES
    assert first.status_code == status
    summary = json.loads(first.text.splitlines()[-1])["summary"]
    assert (summary["total"], summary["failed"]) == (1_160, 60)
    assert summary["succeeded"] == (1_100 if status == 207 else 0)
    assert (await client.get(f"{ITEMS}/$stats")).json()["total"] == stored
    again = await send(client, path, headers={"Content-Type": "application/x-ndjson"}, **sent)
    assert again.json()["type"] == "urn:servicekit:error:reply-not-kept"
    assert (await client.get(f"{ITEMS}/$stats")).json()["total"] == stored


async def test_a_reply_in_pieces_is_repeated_as_a_whole(client: httpx.AsyncClient) -> None:
    first, again = [await send(client, "/pieces?size=1024") for _ in range(2)]
    assert first.content == again.content == b"x" * 1024**2
    assert calls["pieces"] == 1


async def test_how_much_a_request_with_a_key_may_hold(client: httpx.AsyncClient) -> None:
    most = 16 * 1024**2

    async def body(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024**2):
            yield b"x" * 1024**2
        yield b"x" * (size % 1024**2)

    first, again = [await send(client, "/upload", content=body(most)) for _ in range(2)]
    assert first.json() == again.json() == most
    assert again.headers[REPLAYED] == "true"
    longer = await send(client, "/upload", "other", content=body(most + 1))
    assert longer.status_code == 413
    assert str(most) in longer.json()["detail"]
    assert (await client.post("/upload", content=body(most + 1))).json() == most + 1
    with_key = await send(client, "/small", "small", content=b"x" * 11)
    without = await client.post("/small", content=b"x" * 11)
    assert with_key.status_code == without.status_code == 413
    own = {"trace_id"}
    assert {name: value for name, value in with_key.json().items() if name not in own} == {
        name: value for name, value in without.json().items() if name not in own
    }
    assert (await send(client, "/small", "fits", content=b"x" * 10)).json() == 10


async def test_what_changes_nothing_is_computed_again(client: httpx.AsyncClient, database: DatabaseEngine) -> None:
    assert [(await send(client, "/compute")).json() for _ in range(2)] == [1, 2]
    assert (await send(client, "/compute", "a b")).status_code == 400
    assert (await send(client, f"{ITEMS}/$query", json={})).json() == []
    assert await kept(database) == 0


async def test_after_a_day_a_key_is_free_again(client: httpx.AsyncClient, database: DatabaseEngine) -> None:
    await send(client, ITEMS, json={"name": "a"})
    later = database.dialect.later("86390"), database.dialect.later("86401")
    rows = await database.fetch(f"SELECT expires_at > {later[0]}, expires_at < {later[1]} FROM millrace_idempotency")
    assert [tuple(map(bool, row)) for row in rows] == [(True, True)]
    await database.execute(f"UPDATE millrace_idempotency SET expires_at = {database.dialect.now}")
    assert REPLAYED not in (await send(client, ITEMS, json={"name": "b"})).headers
    assert (await send(client, ITEMS, json={"name": "b"})).headers[REPLAYED] == "true"
    assert await names(client) == ["a", "b"]


async def test_a_request_that_is_cut_short_has_done_nothing(client: httpx.AsyncClient) -> None:
    first = asyncio.create_task(send(client, "/wait?name=gone"))
    await reached["gone"].wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await names(client) == []
    gates["gone"].set()
    assert (await send(client, "/wait?name=gone")).text == "gone"
    assert await names(client) == ["gone"]


async def test_a_request_that_breaks_off_has_done_nothing(database_url: str) -> None:
    app = keyed_app(database_url)
    sent: list[dict[str, Any]] = []
    came = [
        {"type": "http.request", "body": b'{"name": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = [(KEY.lower().encode(), b"k"), (b"content-type", b"application/json")]
    whole = httpx.Request("POST", f"http://sample.test{ITEMS}", json={"name": "a"}, headers={KEY: "k"})

    async def receive() -> Any:
        return came.pop(0)

    async def reply(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": ITEMS,
        "raw_path": ITEMS.encode(),
        "query_string": b"",
        "headers": headers,
        "client": None,
        "server": None,
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }
    async with serving(app) as client:
        await app(scope, receive, reply)
        assert (sent[0]["status"], came) == (400, [])
        assert await names(client) == []
        assert (await client.send(whole)).status_code == 201
        assert await names(client) == ["a"]
