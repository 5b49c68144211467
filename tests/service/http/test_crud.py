"""Every route of a resource, over both databases."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from domain.entity import new_id
from service.http.application import Service
from tests.sample import ITEMS as RESOURCE
from tests.sample import builder, serving, settings

ITEMS = "/api/v1/items"
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


async def create(client: httpx.AsyncClient, **values: Any) -> dict[str, Any]:
    reply = await client.post(ITEMS, json={"name": "thing", **values})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_a_new_entity_is_answered_with_its_location_and_tag(client: httpx.AsyncClient) -> None:
    reply = await client.post(ITEMS, json={"name": "thing", "tags": ["a-1", "b_2", "é"]})
    assert reply.status_code == 201
    assert reply.headers["location"] == f"http://sample.test{ITEMS}/{reply.json()['id']}"
    assert reply.json()["tags"] == ["a-1", "b_2", "é"]
    read = await client.get(reply.headers["location"])
    assert read.json() == reply.json()
    assert read.headers["etag"] == reply.headers["etag"]


async def test_timestamps_are_utc_with_microseconds(client: httpx.AsyncClient) -> None:
    made = await create(client, seen_at="2025-01-31T12:00:00+02:00")
    for name in ("created_at", "updated_at", "seen_at"):
        assert len(made[name]) == len("2025-01-31T10:00:00.000000Z")
        assert made[name].endswith("Z")
    assert made["seen_at"] == "2025-01-31T10:00:00.000000Z"


async def test_a_client_may_choose_the_id_in_either_case(client: httpx.AsyncClient) -> None:
    chosen = new_id()
    made = await create(client, id=chosen.lower())
    assert made["id"] == chosen
    assert (await client.get(f"{ITEMS}/{chosen.lower()}")).json()["id"] == chosen


async def test_an_existing_id_is_a_conflict_and_overwrites_nothing(client: httpx.AsyncClient) -> None:
    made = await create(client)
    reply = await client.post(ITEMS, json={"name": "other", "id": made["id"]})
    assert reply.status_code == 409
    assert reply.headers["content-type"] == PROBLEM
    assert reply.json()["type"] == "urn:servicekit:error:conflict"
    assert reply.json()["detail"] == f"Entity with id {made['id']} already exists"
    assert (await client.get(f"{ITEMS}/{made['id']}")).json() == made


async def test_an_unknown_id_is_not_found(client: httpx.AsyncClient) -> None:
    missing = new_id()
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {"json": {"name": "x"}} if method in {"PUT", "PATCH"} else {}
        reply = await client.request(method, f"{ITEMS}/{missing}", **body)  # type: ignore[arg-type]
        assert reply.status_code == 404
        assert reply.json()["detail"] == f"Entity with id {missing} not found"
        assert reply.json()["title"] == "Resource Not Found"
        assert reply.json()["instance"] == f"{ITEMS}/{missing}"


@pytest.mark.parametrize("wrong", ["not-a-ulid", "81111111111111111111111111", "0" * 25, "%00", "ı" * 26, "U" * 26])
async def test_a_path_that_is_no_ulid_is_a_bad_request(client: httpx.AsyncClient, wrong: str) -> None:
    reply = await client.get(f"{ITEMS}/{wrong}")
    assert reply.status_code == 400
    assert reply.json()["type"] == "urn:servicekit:error:invalid-ulid"


async def test_put_resets_what_it_leaves_out_and_keeps_tags(client: httpx.AsyncClient) -> None:
    made = await create(client, note="old", size=5, tags=["keep"])
    reply = await client.put(f"{ITEMS}/{made['id']}", json={"name": "new", "id": new_id()})
    assert reply.status_code == 200
    changed = reply.json()
    assert (changed["id"], changed["name"], changed["note"], changed["size"]) == (made["id"], "new", None, 0)
    assert changed["tags"] == ["keep"]
    assert changed["created_at"] == made["created_at"]
    assert changed["updated_at"] > made["updated_at"]


async def test_an_entity_may_be_sent_back_as_it_was_read(client: httpx.AsyncClient) -> None:
    made = await create(client, note="x", ratio=0.1, price="12.5", meta={"a": [1]})
    reply = await client.put(f"{ITEMS}/{made['id']}", json=made)
    assert reply.status_code == 200
    # Nothing has changed, so neither has the version.
    assert reply.json() == made


async def test_patch_changes_what_it_names_and_null_clears(client: httpx.AsyncClient) -> None:
    made = await create(client, note="old", size=5, meta={"a": 1, "b": {"c": 2}}, detail={"width": 3})
    patch = {"note": None, "meta": {"a": None, "b": {"d": 4}}, "detail": {"unit": "m"}}
    headers = {"content-type": "application/merge-patch+json"}
    reply = await client.patch(f"{ITEMS}/{made['id']}", json=patch, headers=headers)
    assert reply.status_code == 200
    changed = reply.json()
    assert changed["note"] is None
    assert changed["size"] == 5
    assert changed["meta"] == {"b": {"c": 2, "d": 4}}
    assert changed["detail"] == {"width": 3, "unit": "m"}
    assert (await client.get(f"{ITEMS}/{made['id']}")).json() == changed


async def test_patch_refuses_null_where_there_must_be_a_value(client: httpx.AsyncClient) -> None:
    made = await create(client)
    reply = await client.patch(f"{ITEMS}/{made['id']}", json={"name": None, "size": "3", "nope": 1})
    assert reply.status_code == 422
    assert {error["pointer"] for error in reply.json()["errors"]} == {"/nope"}
    reply = await client.patch(f"{ITEMS}/{made['id']}", json={"name": None, "size": "3"})
    assert {error["pointer"] for error in reply.json()["errors"]} == {"/name", "/size"}
    assert (await client.get(f"{ITEMS}/{made['id']}")).json() == made


async def test_a_deleted_entity_is_gone(client: httpx.AsyncClient) -> None:
    made = await create(client)
    reply = await client.delete(f"{ITEMS}/{made['id']}")
    assert (reply.status_code, reply.content) == (204, b"")
    assert (await client.delete(f"{ITEMS}/{made['id']}")).status_code == 404
    assert (await client.get(ITEMS)).json() == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_change_of_an_outdated_version_is_refused(client: httpx.AsyncClient, method: str) -> None:
    made = await create(client)
    path = f"{ITEMS}/{made['id']}"
    old = (await client.get(path)).headers["etag"]
    current = (await client.patch(path, json={"size": 1})).headers["etag"]
    body = {} if method == "DELETE" else {"json": {"name": "late"}}
    refused = await client.request(method, path, headers={"if-match": old}, **body)  # type: ignore[arg-type]
    assert refused.status_code == 412
    assert refused.json()["type"] == "urn:servicekit:error:precondition-failed"
    weak = await client.request(method, path, headers={"if-match": f"W/{current}"}, **body)  # type: ignore[arg-type]
    assert weak.status_code == 412
    several = f'"nope", {current}'
    taken = await client.request(method, path, headers={"if-match": several}, **body)  # type: ignore[arg-type]
    assert taken.status_code in {200, 204}


async def test_if_match_with_a_star_takes_any_version_that_exists(client: httpx.AsyncClient) -> None:
    made = await create(client)
    anything = {"if-match": "*"}
    assert (await client.patch(f"{ITEMS}/{made['id']}", json={"size": 1}, headers=anything)).status_code == 200
    assert (await client.delete(f"{ITEMS}/{new_id()}", headers=anything)).status_code == 404


async def test_a_known_version_is_not_sent_again(client: httpx.AsyncClient) -> None:
    path = f"{ITEMS}/{(await create(client))['id']}"
    tag = (await client.get(path)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await client.get(path, headers={"if-none-match": known})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", tag)
    await client.patch(path, json={"size": 9})
    assert (await client.get(path, headers={"if-none-match": tag})).status_code == 200


async def test_selected_fields_have_a_tag_of_their_own_that_still_names_the_version(client: httpx.AsyncClient) -> None:
    path = f"{ITEMS}/{(await create(client))['id']}"
    whole = (await client.get(path)).headers["etag"]
    part = await client.get(path, params={"fields": "id,name"})
    assert part.json().keys() == {"id", "name"}
    assert part.headers["etag"] != whole
    assert (await client.patch(path, json={"size": 2}, headers={"if-match": part.headers["etag"]})).status_code == 200


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    made = await create(client)
    for path in (f"{ITEMS}/{made['id']}", ITEMS, f"{ITEMS}/$stats", "/health"):
        get, head = await client.get(path), await client.head(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(len(get.content))
    assert (await client.head(f"{ITEMS}/{new_id()}")).status_code == 404


async def test_the_schema_says_what_a_query_may_do(client: httpx.AsyncClient) -> None:
    schema = (await client.get(f"{ITEMS}/$schema")).json()
    assert schema["title"] == "Item"
    assert schema["properties"]["name"]["maxLength"] == 50
    assert "Detail" in schema["$defs"]
    rules = schema["x-query"]
    assert "icontains" in rules["filterable"]["name"]
    assert rules["filterable"]["labels"] == ["has", "null"]
    assert "labels" not in rules["sortable"]
    assert rules["searchable"] == ["name", "note"]
    assert rules["limits"]["list_length"] == 10_000


async def test_stats_count_the_entities(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ITEMS}/$stats")).json() == {"total": 0}
    await create(client)
    assert (await client.get(f"{ITEMS}/$stats")).json() == {"total": 1}


async def test_percent_encoded_operations_are_the_same(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ITEMS}/%24stats")).json() == {"total": 0}


# Rubbish


async def test_all_invalid_fields_are_reported_at_once(client: httpx.AsyncClient) -> None:
    body = {
        "name": "",
        "size": 2**40,
        "color": "pink",
        "tags": ["a b", "", "x", "x"],
        "seen_at": "2025-01-01T00:00:00",
        "detail": {"width": "1", "depth": 2},
        "labels": ["ok", 5],
        "price": "x",
        "bogus": 1,
    }
    reply = await client.post(ITEMS, json=body)
    assert reply.status_code == 422
    problem = reply.json()
    assert problem["title"] == "Validation Error"
    assert problem["detail"].startswith("Request validation failed")
    assert problem["trace_id"] == reply.headers["x-request-id"]
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {
        "/name",
        "/size",
        "/color",
        "/tags/0",
        "/tags/1",
        "/tags",
        "/seen_at",
        "/detail/width",
        "/detail/depth",
        "/labels/1",
        "/price",
        "/bogus",
    }
    color = next(error for error in problem["errors"] if error["pointer"] == "/color")
    assert color["allowed"] == ["red", "green", "blue"]
    assert color["loc"] == ["body", "color"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"name":"\xff"}',
        b'{"name":"a\\u0000b"}',
        b'{"name":"\\ud800"}',
        b'{"name":"x","size":1e400}',
        b'{"name":"x","size":' + b"9" * 5000 + b"}",
        b'{"name":"x","ratio":NaN}',
        b'{"name":"x","meta":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"name":"x","meta":{"a\\u0000":1}}',
        b'{"name":"x","seen_at":"9999-12-31T23:59:59-12:00"}',
        b'{"name":"x","price":"123456789012.5"}',
        b'{"name":"x","price":"1.005"}',
        b'{"name":"x","price":"NaN"}',
        b'{"name":"x","id":"nope"}',
    ],
)
async def test_a_body_that_cannot_be_right_is_unprocessable(client: httpx.AsyncClient, body: bytes) -> None:
    reply = await client.post(ITEMS, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == PROBLEM
    assert reply.json()["errors"]
    assert (await client.get(ITEMS)).json() == []


async def test_the_offending_value_is_cut_short(client: httpx.AsyncClient) -> None:
    reply = await client.post(ITEMS, json={"name": "x" * 100_000, "y" * 50_000: ["z" * 10_000]})
    assert reply.status_code == 422
    assert len(reply.content) < 3000


async def test_a_body_needs_to_say_that_it_is_json(client: httpx.AsyncClient) -> None:
    unnamed = await client.post(ITEMS, content=b'{"name":"x"}')
    assert unnamed.status_code == 422
    form = await client.post(ITEMS, data={"name": "x"})
    assert form.status_code == 415
    assert "application/json" in form.json()["detail"]
    vendor = {"content-type": "application/vnd.items+json; charset=utf-8"}
    assert (await client.post(ITEMS, content=b'{"name":"x"}', headers=vendor)).status_code == 201


async def test_a_body_beyond_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post(
        ITEMS, content=b'{"name":"' + b"x" * 11_000_000, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 413
    assert reply.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE"])
async def test_an_unknown_parameter_is_an_error_on_every_route(client: httpx.AsyncClient, method: str) -> None:
    made = await create(client)
    path = ITEMS if method == "POST" else f"{ITEMS}/{made['id']}"
    body = {"json": {"name": "x"}} if method in {"POST", "PUT", "PATCH"} else {}
    reply = await client.request(method, path, params={"bogus": "1"}, **body)  # type: ignore[arg-type]
    assert reply.status_code == 400
    assert "bogus" in reply.json()["detail"]
