"""What the cache in front of a service promises: never an old answer, never another's, and no work twice."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from litestar import Router, get
from piccolo.columns import Varchar

from domain.entity import Entity, new_id
from domain.query import Resource
from infra.database.postgres import PostgresEngine
from infra.database.sqlite import SqliteEngine
from infra.database.table import EntityTable
from service.http import cached_exchange, response_cache
from service.http.application import Service
from service.http.cached_routes import CachedRoute, CachedRoutes
from service.http.response_cache import ResponseCache
from tests.sample import ITEMS as RESOURCE
from tests.sample import builder, serving, settings

ITEMS = "/api/v1/items"


@pytest.fixture(scope="module")
async def running(module_database_url: str) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    app = builder(module_database_url).with_cache().build(settings())
    async with serving(app) as client:
        caching = app.running.caching
        assert caching is not None
        # A PostgreSQL is asked each time until all others know that this service caches.
        async with asyncio.timeout(10):
            while caching.generations.known(["items"]) is None:
                await caching.generations.current(["items"])
                await asyncio.sleep(0.05)
        yield app, client


@pytest.fixture
async def client(running: tuple[Service, httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    app, client = running
    yield client
    manager = app.manager(RESOURCE)
    await manager.delete_all([item.id for item in await manager.find_all()])


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that reaches the database while the block lasts."""
    seen: list[str] = []
    with monkeypatch.context() as patch:
        for kind in (PostgresEngine, SqliteEngine):
            for name in ("fetch", "execute"):
                patch.setattr(kind, name, _noted(getattr(kind, name), seen))
        yield seen


def _noted(method: Any, seen: list[str]) -> Any:
    async def noted(self: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return await method(self, sql, *args)

    return noted


async def create(client: httpx.AsyncClient, **values: Any) -> dict[str, Any]:
    reply = await client.post(ITEMS, json={"name": "thing", **values})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


def outcome(reply: httpx.Response) -> str:
    return reply.headers["cache-status"].removeprefix("millrace; ").partition("; ttl")[0]


READS = ("", "?sort=-name&size=2&page=1", "?filter=%7B%22size%22%3A3%7D", "/$stats", "/{id}", "/{id}?fields=id,name")


@pytest.mark.parametrize("read", READS)
async def test_what_is_asked_again_is_answered_without_a_statement(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    made = await create(client)
    url = ITEMS + read.format(id=made["id"])
    first = await client.get(url)
    assert outcome(first) == "fwd=miss; stored"
    with statements(monkeypatch) as seen:
        second = await client.get(url)
        third = await client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert seen == []
    assert second.content == first.content
    assert outcome(second) == "hit"
    assert second.headers["etag"] == first.headers["etag"]
    assert third.status_code == 304
    assert third.content == b""
    assert third.headers["etag"] == first.headers["etag"]
    assert "age" in second.headers


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("change", ["post", "patch", "put", "delete", "manager"])
async def test_every_change_is_seen_by_the_next_read(
    running: tuple[Service, httpx.AsyncClient], client: httpx.AsyncClient, read: str, change: str
) -> None:
    made = await create(client, size=3)
    url = ITEMS + read.format(id=made["id"])
    for _ in range(2):
        before = await client.get(url)
    match change:
        case "post":
            await create(client, size=3)
        case "patch":
            await client.patch(f"{ITEMS}/{made['id']}", json={"name": "other", "size": 4})
        case "put":
            await client.put(f"{ITEMS}/{made['id']}", json={"name": "other", "size": 4})
        case "delete":
            await client.delete(f"{ITEMS}/{made['id']}")
        case _:
            await running[0].manager(RESOURCE).patch(made["id"], {"name": "other", "size": 4})
    after = await client.get(url)
    uncached = await client.get(url, headers={"Cache-Control": "no-cache"})
    assert outcome(after) != "hit"
    assert after.status_code == uncached.status_code
    if after.status_code == 200:
        assert after.content == uncached.content
        known = await client.get(url, headers={"If-None-Match": before.headers["etag"]})
        assert (known.status_code == 304) == (after.headers["etag"] == before.headers["etag"])


async def test_the_order_of_parameters_makes_no_difference(client: httpx.AsyncClient) -> None:
    await create(client)
    await client.get(f"{ITEMS}?page=1&size=5")
    assert outcome(await client.get(f"{ITEMS}?size=5&page=1")) == "hit"
    assert outcome(await client.get(f"{ITEMS}?size=%35&page=1")) == "hit"
    assert outcome(await client.get(f"{ITEMS}?size=6&page=1")) != "hit"


async def test_a_fresh_answer_can_be_asked_for(client: httpx.AsyncClient) -> None:
    await create(client)
    await client.get(ITEMS)
    for url, headers in ((f"{ITEMS}?nocache", {}), (f"{ITEMS}?nocache=1", {}), (ITEMS, {"Cache-Control": "no-cache"})):
        reply = await client.get(url, headers=headers)
        assert reply.status_code == 200
        assert outcome(reply) == "fwd=request; stored"
    assert outcome(await client.get(ITEMS)) == "hit"
    assert "cache-status" not in (await client.get(ITEMS, headers={"Cache-Control": "no-store"})).headers


async def test_what_is_not_there_is_remembered_and_each_request_has_its_own_trace(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{ITEMS}/{new_id()}"
    first = await client.get(url)
    with statements(monkeypatch) as seen:
        second = await client.get(url, headers={"X-Request-ID": "mine"})
        assert seen == []
    assert second.status_code == first.status_code == 404
    assert second.json() == {**first.json(), "trace_id": "mine"}
    assert "etag" not in second.headers


async def test_mistakes_are_answered_each_time(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        reply = await client.get(f"{ITEMS}?sort=nothing")
        assert reply.status_code == 400
        assert "cache-status" not in reply.headers


@pytest.mark.parametrize(
    ("header", "outcomes"), [("No-Cache", "fwd=request; stored"), ("MAX-AGE=0", "fwd=request; stored")]
)
async def test_directives_are_understood_in_any_case(client: httpx.AsyncClient, header: str, outcomes: str) -> None:
    await client.get(ITEMS)
    assert outcome(await client.get(ITEMS, headers={"Cache-Control": header})) == outcomes
    assert "cache-status" not in (await client.get(ITEMS, headers={"Cache-Control": "No-Store"})).headers


async def test_callers_that_differ_in_their_credentials_share_nothing(client: httpx.AsyncClient) -> None:
    await create(client)
    callers = [{}, {"Authorization": "a"}, {"Authorization": "b"}, {"X-API-Key": "a"}, {"Cookie": "a=b"}]
    for headers in callers:
        reply = await client.get(ITEMS, headers=headers)
        assert outcome(reply) == "fwd=miss; stored", headers
        assert reply.headers["vary"] == "Authorization, Cookie, X-Api-Key, Accept-Encoding"
        assert reply.headers["cache-control"] == ("private, no-cache" if headers else "no-cache")
    tags = {(await client.get(ITEMS, headers=headers)).headers["etag"] for headers in callers}
    assert len(tags) == len(callers)


async def test_long_replies_are_packed_for_those_who_can_unpack_them(client: httpx.AsyncClient) -> None:
    for _ in range(20):
        await create(client, note="x" * 100)
    plain = await client.get(ITEMS, headers={"Accept-Encoding": "identity"})
    packed = await client.get(ITEMS, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    for unwanted in ("gzip;q=0", "br, *;q=0", "not-gzip"):
        assert "content-encoding" not in (await client.get(ITEMS, headers={"Accept-Encoding": unwanted})).headers
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    made = await create(client, note="y" * 5000)
    url = f"{ITEMS}/{made['id']}"
    whole = await client.get(url, headers={"Accept-Encoding": "identity"})
    packed = await client.get(url, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["etag"] == whole.headers["etag"][:-1] + '-gzip"'
    assert (await client.get(url, headers={"If-None-Match": packed.headers["etag"]})).status_code == 304
    for own, accepted in ((packed, "identity"), (packed, "gzip"), (whole, "identity"), (whole, "gzip")):
        headers = {"If-None-Match": own.headers["etag"], "Accept-Encoding": accepted}
        known = await client.get(url, headers=headers)
        assert known.status_code == 304
        # Another tag would make another encoding of what the client has.
        assert known.headers["etag"] == own.headers["etag"]
    changed = await client.patch(url, json={"name": "z"}, headers={"If-Match": packed.headers["etag"]})
    assert changed.status_code == 200


async def test_a_reply_is_packed_once_for_all_who_ask(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(client, note="x" * 5000)
    url, count, compress = f"{ITEMS}/{made['id']}", 0, gzip.compress

    def counted(*args: Any, **options: Any) -> bytes:
        nonlocal count
        count += 1
        return compress(*args, **options)

    monkeypatch.setattr(gzip, "compress", counted)
    replies = await asyncio.gather(*[client.get(url, headers={"Accept-Encoding": "gzip"}) for _ in range(20)])
    replies.append(await client.get(url, headers={"Accept-Encoding": "gzip"}))
    assert {reply.headers["content-encoding"] for reply in replies} == {"gzip"}
    assert {reply.json()["id"] for reply in replies} == {made["id"]}
    assert count == 1


async def test_what_one_process_has_packed_others_find(
    sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, count, compress = "", 0, gzip.compress

    def counted(*args: Any, **options: Any) -> bytes:
        nonlocal count
        count += 1
        return compress(*args, **options)

    monkeypatch.setattr(gzip, "compress", counted)
    for expected in ("fwd=miss; stored", "hit"):
        # The first one has ended before the other begins, so everything is in Redis.
        service = builder(sqlite_url).with_cache().build(settings(redis_url=redis_url))
        async with serving(service) as client:
            url = url or f"{ITEMS}/{(await create(client, note='x' * 5000))['id']}"
            reply = await client.get(url, headers={"Accept-Encoding": "gzip"})
            assert reply.headers["content-encoding"] == "gzip"
            assert outcome(reply) == expected
    assert count == 1


async def test_what_is_made_anew_is_packed_anew(running: tuple[Service, httpx.AsyncClient]) -> None:
    count = 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        count += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d " % count + b"x" * 2000, "more_body": False})

    routes = CachedRoutes({"/packed": CachedRoute(template="/packed", names=("items",), ttl_seconds=60)}, {})
    cached = ResponseCache(counting, routes, lambda: running[0].running.caching)
    transport = httpx.ASGITransport(app=cached)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://x.test") as client:
        for url, expected in (("", "1"), ("", "1"), ("?nocache", "2"), ("", "2")):
            reply = await client.get(f"/packed{url}", headers={"Accept-Encoding": "gzip"})
            assert reply.headers["content-encoding"] == "gzip"
            assert reply.text.split()[0] == expected


async def test_what_is_long_is_not_remembered_beside_the_cache(client: httpx.AsyncClient) -> None:
    remembered = (response_cache._canonical, response_cache._takes_gzip, cached_exchange._key)
    await client.get(ITEMS)
    sizes = [kept.cache_info().misses for kept in remembered]
    long = "x" * 3000
    for _ in range(2):
        await client.get(f"{ITEMS}?search={long}")
        assert outcome(await client.get(ITEMS, headers={"Authorization": long})) in {"fwd=miss; stored", "hit"}
        await client.get(ITEMS, headers={"Accept-Encoding": f"gzip, {long}"})
    assert [kept.cache_info().misses for kept in remembered] == sizes


async def test_many_who_ask_at_once_make_one_statement(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(client)
    await client.get(ITEMS)
    with statements(monkeypatch) as seen:
        replies = await asyncio.gather(*[client.get(f"{ITEMS}?size=7&page=1") for _ in range(20)])
    assert len({reply.content for reply in replies}) == 1
    assert len([sql for sql in seen if "items" in sql]) <= 2, seen
    assert {outcome(reply) for reply in replies} <= {"fwd=miss; stored", "fwd=miss; collapsed", "hit"}


async def test_head_is_answered_from_the_cache_too(client: httpx.AsyncClient) -> None:
    await create(client)
    whole = await client.get(ITEMS)
    reply = await client.head(ITEMS)
    assert outcome(reply) == "hit"
    assert reply.content == b""
    assert reply.headers["content-length"] == whole.headers["content-length"]


async def test_the_system_says_what_the_cache_has_been_good_for_and_empties_it(client: httpx.AsyncClient) -> None:
    await create(client)
    for _ in range(4):
        await client.get(f"{ITEMS}/$stats")
    report = (await client.get("/api/v1/system/cache")).json()
    route = report["routes"][f"{ITEMS}/$stats"]
    assert route["hits"] >= 3
    assert route["misses"] >= 1
    assert 0 < route["hit_rate"] < 1
    assert report["tiers"]["memory"]["entries"] > 0
    assert report["tiers"]["memory"]["bytes"] > 0
    reply = await client.post("/api/v1/system/cache/$clear")
    assert reply.status_code == 200
    assert reply.json()["cleared"] >= 1
    assert outcome(await client.get(f"{ITEMS}/$stats")) == "fwd=miss; stored"


class Sensor(Entity, kw_only=True):
    """What measures."""

    name: str


class Sensors(EntityTable, tablename="sensors"):
    """Where sensors are kept."""

    name = Varchar(length=50)


async def test_what_else_is_beneath_a_resource_is_not_taken_for_one_of_its_entities(database_url: str) -> None:
    named, count = new_id(), 0

    @get(["/nearest", f"/{named}", "/$first"])
    async def own() -> dict[str, int]:
        nonlocal count
        count += 1
        return {"count": count}

    sensors = Resource(Sensor, "sensors", path=f"{ITEMS}/sensors")
    service = (
        builder(database_url)
        .with_crud(sensors, table=Sensors, cache_ttl=0)
        .include_router(Router(ITEMS, route_handlers=[own]))
        .with_cache()
    )
    async with serving(service.build(settings())) as client:
        for path in (f"{ITEMS}/nearest", f"{ITEMS}/{named}", f"{ITEMS}/$first", sensors.path):
            replies = [await client.get(path) for _ in range(2)]
            assert {reply.status_code for reply in replies} == {200}
            assert ["cache-status" in reply.headers for reply in replies] == [False, False]
        assert count == 6
        made = await create(client)
        for id in (made["id"], made["id"].lower()):
            await client.get(f"{ITEMS}/{id}")
            assert outcome(await client.get(f"{ITEMS}/{id}")) == "hit"
        assert (await client.get(f"{ITEMS}/no-id")).status_code == 400


CALLERS: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer alice"},
    {"Authorization": "Bearer bob"},
    {"X-API-Key": "alice"},
    {"Cookie": "session=alice"},
    {"Authorization": "Bearer alice", "X-API-Key": "bob"},
]


async def test_nobody_gets_what_was_made_for_another(running: tuple[Service, httpx.AsyncClient]) -> None:
    """The app tells each who it is, with a cookie for some: whoever got another's reply would see that."""
    calls = 0

    async def mirror(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        said = {name.decode(): value.decode() for name, value in scope["headers"] if name in SAID}
        body = f"{scope['path']} {sorted(said.items())}".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        if scope["path"].endswith(COOKIE_ID):
            headers.append((b"set-cookie", b"sid=secret"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    route = CachedRoute(template="/x", names=("items",), ttl_seconds=60)
    routes = CachedRoutes({"/x": route, "/x/$stats": route}, {"/x": [route]})
    cached = ResponseCache(mirror, routes, lambda: running[0].running.caching, credential_headers=["X-API-Key"])
    transport = httpx.ASGITransport(app=cached)  # type: ignore[arg-type]

    async def ask(path: str, caller: dict[str, str]) -> httpx.Response:
        # A client of its own each time: it keeps no cookie.
        async with httpx.AsyncClient(transport=transport, base_url="http://x.test") as client:
            return await client.get(path, headers=caller)

    cookie, entity = f"/x/{COOKIE_ID}", f"/x/{new_id()}"
    for path in ("/x", "/x/$stats", entity, f"{entity}?fields=a", cookie):
        first = [await ask(path, caller) for caller in CALLERS]
        before = calls
        second = [await ask(path, caller) for caller in reversed(CALLERS)][::-1]
        assert [reply.text for reply in second] == [reply.text for reply in first]
        assert len({reply.text for reply in first}) == len(CALLERS)
        # What sets a cookie is nobody else's, ever; all the rest came from the cache.
        assert calls - before == (len(CALLERS) if path == cookie else 0)
        assert all(("set-cookie" in reply.headers) == (path == cookie) for reply in second)


COOKIE_ID = new_id()
SAID = {b"authorization", b"x-api-key", b"cookie"}
