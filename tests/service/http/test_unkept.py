"""Replies that the cache does not keep: who waits for them, who gets them, and what caches on their way are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from domain.cache_options import MIB
from domain.context import Context, enter
from service.http.application import Service
from service.http.cached_routes import CachedRoute, CachedRoutes
from service.http.response_cache import ResponseCache
from tests.sample import builder, serving, settings

MOST = MIB // 16
LONG = b"x" * (MOST + 1)
ROUTE = CachedRoute(template="/x", names=("items",), ttl_seconds=60)
VARY = "Authorization, Cookie, X-Api-Key, Accept-Encoding"


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    # What is counted in a file is known without a round through the loop.
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'database.sqlite3'}"
    app = builder(url).with_cache(max_entry_bytes=MOST).build(settings())
    async with serving(app):
        yield app


@pytest.fixture
async def cached(running: Service) -> AsyncIterator[Callable[[Any], ResponseCache]]:
    """Puts a cache, which has nothing yet, in front of an ASGI app at `/x`."""
    yield lambda app: ResponseCache(
        app, CachedRoutes({"/x": ROUTE}, {}), lambda: running.running.caching, credential_headers=["X-API-Key"]
    )
    await running.cache.clear()


async def send_reply(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def replying(status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"short") -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_reply(send, status, headers or {}, body)

    return app


async def ask(app: Any, headers: dict[str, str] | None = None, url: str = "/x") -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x.test") as client:
        return await client.get(url, headers={"Accept-Encoding": "identity", **(headers or {})})


async def rounds() -> None:
    """Let all that can go on go on, until it waits for something else."""
    for _ in range(50):
        await asyncio.sleep(0)


class SlowClient:
    """A client that takes nothing before it is told to."""

    def __init__(self, app: Any) -> None:
        self.is_ready = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.messages: list[Any] = []
        self.request = asyncio.create_task(app(SCOPE, self._receive, self._send))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    async def _receive(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        self.has_begun.set()
        await self.is_ready.wait()
        self.messages.append(message)


SCOPE: Any = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": [], "client": None}


@pytest.mark.parametrize("headers", [{}, {"Set-Cookie": "sid=secret"}])
async def test_a_client_that_is_slow_to_take_what_is_not_kept_keeps_nobody_waiting(
    cached: Any, headers: dict[str, str]
) -> None:
    app = cached(replying(headers=headers, body=LONG))
    slow = SlowClient(app)
    others = [asyncio.create_task(ask(app)) for _ in range(5)]
    await slow.has_begun.wait()
    try:
        async with asyncio.timeout(10):
            assert [reply.content for reply in await asyncio.gather(*others)] == [LONG] * 5
        assert not slow.request.done()
    finally:
        slow.is_ready.set()
        await slow.request
    assert slow.body == LONG


async def test_what_goes_wrong_after_the_others_were_let_go_is_told_to_the_client(cached: Any) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send_reply(send, 400, {}, b"no")
        raise LookupError("after the reply")

    slow = SlowClient(cached(failing))
    await slow.has_begun.wait()
    slow.is_ready.set()
    with pytest.raises(LookupError, match="after the reply"):
        await slow.request


async def test_a_client_that_goes_away_ends_the_app_whose_reply_is_its_own(cached: Any) -> None:
    ended = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send_reply(send, 200, {}, LONG)
        except asyncio.CancelledError:
            ended.append(scope["path"])
            raise

    slow = SlowClient(cached(endless))
    await slow.has_begun.wait()
    slow.request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow.request
    assert ended == ["/x"]


async def test_a_client_that_goes_away_before_its_reply_is_seen_to_be_its_own_leaves_no_app_behind(
    cached: Any,
) -> None:
    gate, calls, ended = asyncio.Event(), [], []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["path"])
        await gate.wait()
        try:
            await send_reply(send, 200, {}, LONG)
        except asyncio.CancelledError:
            ended.append(scope["path"])
            raise

    app = cached(late)
    gone, other = SlowClient(app), SlowClient(app)
    other.is_ready.set()
    await rounds()
    assert calls == ["/x"]
    gone.request.cancel()
    await asyncio.gather(gone.request, return_exceptions=True)
    gate.set()
    async with asyncio.timeout(10):
        await other.request
    assert other.body == LONG
    assert gone.messages == []
    assert ended == ["/x"]
    assert calls == ["/x", "/x"]


@pytest.mark.parametrize("headers", [{"Set-Cookie": "sid=secret"}, {"Cache-Control": "Private"}])
async def test_a_refusal_that_is_for_one_client_is_not_shared(cached: Any, headers: dict[str, str]) -> None:
    count, gate = 0, asyncio.Event()

    async def down(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        count += 1
        body = b"%d" % count
        await gate.wait()
        await send_reply(send, 503, headers, body)

    app = cached(down)
    waiting = [asyncio.create_task(ask(app)) for _ in range(5)]
    await rounds()
    assert count == 1
    gate.set()
    assert {reply.text for reply in await asyncio.gather(*waiting)} == {"1", "2", "3", "4", "5"}


async def test_a_refusal_that_is_shared_names_the_request_of_each(cached: Any) -> None:
    calls, gate = 0, asyncio.Event()

    async def down(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        await gate.wait()
        await send_reply(send, 503, {}, b'{"title":"down","trace_id":"mine"}')

    async def ask_as(name: str) -> httpx.Response:
        enter(Context(request_id=name))
        return await ask(app)

    app = cached(down)
    waiting = [asyncio.create_task(ask_as(name)) for name in "abc"]
    await rounds()
    gate.set()
    replies = await asyncio.gather(*waiting)
    assert [reply.json()["trace_id"] for reply in replies] == ["a", "b", "c"]
    assert calls == 1
    assert {reply.headers["vary"] for reply in replies} == {VARY}


BYPASSING = [
    {"Range": "bytes=0-1"},
    {"If-Match": '"a"'},
    {"If-Modified-Since": "Sat, 28 Nov 2026 00:00:00 GMT"},
    {"Cache-Control": "No-Store"},
]


@pytest.mark.parametrize("asked", [{}, *BYPASSING])
@pytest.mark.parametrize("status", [200, 400])
async def test_caches_on_the_way_are_told_of_what_is_not_kept_whose_it_is(
    cached: Any, asked: dict[str, str], status: int
) -> None:
    app = cached(replying(status, body=LONG))
    reply = await ask(app, asked)
    assert reply.headers["vary"] == VARY
    assert reply.headers["cache-control"] == "no-cache"
    reply = await ask(app, {**asked, "X-API-Key": "secret"})
    assert reply.headers["vary"] == VARY
    assert reply.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("body", [b"short", LONG])
async def test_what_the_app_says_to_caches_is_kept(cached: Any, body: bytes) -> None:
    app = cached(replying(headers={"Vary": "origin, cookie", "Cache-Control": "max-age=5"}, body=body))
    for _ in range(2):
        reply = await ask(app)
        assert reply.headers.get_list("vary") == [f"{VARY}, origin"]
        assert reply.headers.get_list("cache-control") == ["max-age=5"]


async def test_what_sets_a_cookie_is_for_nobody_else(cached: Any) -> None:
    reply = await ask(cached(replying(headers={"Set-Cookie": "sid=secret"})))
    assert reply.headers["cache-control"] == "private, no-cache"


async def test_who_has_what_is_too_long_to_be_kept_need_not_take_it_again(cached: Any) -> None:
    app = cached(replying(headers={"ETag": '"one"', "Content-Length": str(len(LONG))}, body=LONG))
    assert (await ask(app)).headers["etag"] == '"one"'
    known = await ask(app, {"If-None-Match": '"one"'})
    assert known.status_code == 304
    assert known.content == b""
    assert known.headers["etag"] == '"one"'
    assert known.headers["vary"] == VARY
    assert "content-length" not in known.headers
    for headers in ({"If-None-Match": '"two"'}, {"If-None-Match": '"one"', "Cache-Control": "no-cache"}):
        reply = await ask(app, headers)
        assert reply.status_code == 200
        assert reply.content == LONG
