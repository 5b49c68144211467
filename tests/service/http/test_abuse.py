"""What a hostile or careless client can do: make the service fail, talk too much, or give away what is hidden."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from litestar import Response, get
from litestar.di import NamedDependency
from msgspec import Meta
from piccolo.columns import JSONB, Array, BigInt, Numeric, Varchar

from domain.entity import Entity
from domain.errors import Conflict
from domain.query import Resource
from domain.registration import ServiceInfo
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.http.application import Service
from service.managers.base import Manager
from tests.sample import builder, serving, settings

VAULTS = "/api/v1/vaults"


class Vault(Entity, kw_only=True):
    """Something with a secret."""

    name: Annotated[str, Meta(max_length=50)]
    codes: dict[str, int] = {}
    key: Annotated[str, Meta(max_length=50)] = "opens-it"
    numbers: list[int] = []
    price: Decimal = Decimal("0")


class Vaults(EntityTable, tablename="vaults"):
    name = Varchar(length=50)
    codes = JSONB()
    key = Varchar(length=50)
    numbers = Array(base_column=BigInt())
    price = Numeric(digits=(12, 2))


class Wrapped(msgspec.Struct):
    """An entity somewhere inside."""

    vault: Vault
    note: str = "found"


class TooGreedy(Conflict):
    """A user's own error, with a code of its own."""

    code = "too-greedy"
    title = "Too Greedy"


RESOURCE = Resource(Vault, "vaults", hidden={"codes", "key"}, read_only={"key"})


@get("/anywhere")
async def anywhere(vaults_manager: NamedDependency[Manager[Vault]]) -> dict[str, Any]:
    return {"first": (await vaults_manager.find_all())[0], "all": {"them": await vaults_manager.find_all()}}


@get("/response")
async def response(vaults_manager: NamedDependency[Manager[Vault]]) -> Response[list[Vault]]:
    return Response(await vaults_manager.find_all(), headers={"x-kept": "yes"})


@get("/wrapped")
async def wrapped(vaults_manager: NamedDependency[Manager[Vault]]) -> Wrapped:
    return Wrapped(vault=(await vaults_manager.find_all())[0])


@get("/greedy")
async def greedy() -> None:
    raise TooGreedy("leave some for the others")


@pytest.fixture(scope="module")
async def running(module_database_url: str) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    made = ServiceBuilder(info=ServiceInfo(id="vaults", display_name="Vaults")).with_database(module_database_url)
    made.with_crud(RESOURCE, table=Vaults).with_health()
    for handler in (anywhere, response, wrapped, greedy):
        made.include_router(handler)
    app = made.build(settings())
    async with serving(app) as client:
        yield app, client


@pytest.fixture
async def vault(running: tuple[Service, httpx.AsyncClient]) -> AsyncIterator[dict[str, Any]]:
    """A vault with a code that no client may see."""
    app, client = running
    reply = await client.post(VAULTS, json={"name": "north", "codes": {"pin": 123456789}})
    assert reply.status_code == 201
    made: dict[str, Any] = reply.json()
    yield made
    await app.manager(RESOURCE).delete(made["id"])


@pytest.fixture
def client(running: tuple[Service, httpx.AsyncClient]) -> httpx.AsyncClient:
    return running[1]


# Giving away


@pytest.mark.parametrize("path", ["/anywhere", "/response", "/wrapped"])
async def test_hidden_fields_stay_hidden_wherever_an_entity_is_returned(
    client: httpx.AsyncClient, vault: dict[str, Any], path: str
) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    assert vault["id"] in reply.text
    assert "opens-it" not in reply.text
    assert "123456789" not in reply.text
    # The rest is as the read of one entity has it.
    assert vault["created_at"] in reply.text


async def test_an_error_shows_what_was_sent_and_never_what_is_stored(
    client: httpx.AsyncClient, vault: dict[str, Any]
) -> None:
    reply = await client.patch(f"{VAULTS}/{vault['id']}", json={"codes": {"x": "bad"}})
    assert reply.status_code == 422
    assert "bad" in reply.text
    assert "123456789" not in reply.text


async def test_a_field_nobody_may_see_or_set_is_an_unknown_one(client: httpx.AsyncClient) -> None:
    reply = await client.post(VAULTS, json={"name": "x", "key": "mine"})
    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/key"]
    assert "key" not in reply.json()["errors"][0]["allowed"]


# Talking too much


@pytest.mark.parametrize(
    "method, body",
    [
        ("POST", {"name": "x", **{f"unknown{n}": n for n in range(20_000)}}),
        ("PATCH", {f"unknown{n}": n for n in range(20_000)}),
        ("POST", {"name": "x", "tags": ["same", "other"] * 10_000}),
        ("POST", {"name": "x", "tags": ["\0"] * 20_000}),
        ("POST", {"name": "x", "numbers": ["no"] * 20_000}),
        ("QUERY", {"sort": ",".join(["nama"] * 20_000)}),
        ("QUERY", {"fields": ["nama"] * 20_000}),
        ("QUERY", {"filter": {f"nam{n}": 1 for n in range(10_000)}}),
        ("QUERY", {"filter": {"or": [{"nama": 1}] * 10_000}}),
        ("QUERY", {"filter": {"and": [{}] * 10_000}}),
        ("QUERY", {"filter": {"or": [{"name": {"eq": 1}}] * 5_000}}),
    ],
)
async def test_a_body_full_of_errors_gets_a_short_reply(
    client: httpx.AsyncClient, vault: dict[str, Any], method: str, body: Any
) -> None:
    path = {"POST": VAULTS, "PATCH": f"{VAULTS}/{vault['id']}", "QUERY": f"{VAULTS}/$query"}[method]
    reply = await client.request("PATCH" if method == "PATCH" else "POST", path, json=body)
    assert reply.status_code == 422
    assert len(reply.json()["errors"]) <= 100
    assert len(reply.content) < 100_000


async def test_empty_conditions_count_like_any_other(client: httpx.AsyncClient) -> None:
    filter = '{"and":[' + ",".join(["{}"] * 1500) + "]}"
    reply = await client.get(VAULTS, params={"filter": filter})
    assert reply.status_code == 400
    assert "comparisons" in reply.text
    assert (await client.get(VAULTS, params={"filter": '{"and":[{},{"or":[{}]}]}'})).status_code == 200


# Failing


@pytest.mark.parametrize("host", ["a:b:c", "a:99999999", "[::1", "", "x" * 500])
async def test_a_strange_host_is_no_server_error(client: httpx.AsyncClient, host: str) -> None:
    for path in ("/nope", f"{VAULTS}/bad", VAULTS):
        reply = await client.get(path, headers={"host": host})
        assert reply.status_code < 500


async def test_an_error_of_the_users_own_has_the_status_of_the_one_it_derives_from(client: httpx.AsyncClient) -> None:
    reply = await client.get("/greedy")
    assert reply.status_code == 409
    assert reply.json()["title"] == "Too Greedy"


async def test_members_of_lists_keep_to_64_bits_on_both_databases(client: httpx.AsyncClient) -> None:
    for number in (2**63, -(2**63) - 1, 2**200):
        reply = await client.post(VAULTS, json={"name": "x", "numbers": [1, number]})
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["pointer"] == "/numbers/1"


async def test_a_default_looks_the_same_when_made_and_when_read(
    client: httpx.AsyncClient, vault: dict[str, Any]
) -> None:
    assert vault["price"] == "0.00"
    assert (await client.get(f"{VAULTS}/{vault['id']}")).json() == vault


async def test_if_none_match_protects_what_exists_from_being_replaced(
    client: httpx.AsyncClient, vault: dict[str, Any]
) -> None:
    path = f"{VAULTS}/{vault['id']}"
    tag = (await client.get(path)).headers["etag"]
    for known in ("*", tag, f"W/{tag}"):
        reply = await client.put(path, json={"name": "other"}, headers={"if-none-match": known})
        assert reply.status_code == 412
    assert (await client.put(path, json={"name": "o"}, headers={"if-none-match": '"other"'})).status_code == 200


async def test_the_headers_of_an_endless_stream_can_be_asked_for(client: httpx.AsyncClient) -> None:
    app = builder("sqlite:///:memory:").build(settings())
    sent: list[Any] = []
    is_answered = asyncio.Event()

    async def receive() -> Any:
        await is_answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            is_answered.set()

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "HEAD",
        "path": "/health/$stream",
        "raw_path": b"/health/$stream",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
        "client": None,
        "server": None,
    }
    async with app.lifespan(), asyncio.timeout(20):
        await app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert [message.get("body") for message in sent[1:]] == [b""]


async def test_an_upload_that_breaks_off_is_nobodys_failure(
    running: tuple[Service, httpx.AsyncClient], caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = running
    messages = iter([{"type": "http.request", "body": b'{"na', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": VAULTS,
        "raw_path": VAULTS.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"1000")],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
