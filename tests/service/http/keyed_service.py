"""A service whose handlers do, with a key, everything that could go wrong with one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream

from domain.errors import Conflict, NotFound, TooManyRequests, Unauthorized
from domain.idempotency import MOST_REPLY_BYTES
from service.http.application import Service
from service.http.effects import NO_EFFECT
from service.managers.base import Manager
from tests.sample import Item, builder

KEY = "Idempotency-Key"
NAMES = "/api/v1/items?fields=name&sort=name"
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
calls: defaultdict[str, int] = defaultdict(int)
_ERRORS = {
    "401": Unauthorized("no"),
    "404": NotFound("no"),
    "409": Conflict("no"),
    "429": TooManyRequests("no", extensions={"retry_after": 7}),
    "500": RuntimeError("no"),
}


@post("/fail")
async def fail(status: FromQuery[str], items_manager: NamedDependency[Manager[Item]]) -> None:
    """Change something, and fail."""
    calls[f"fail{status}"] += 1
    await items_manager.save(Item(name=f"fail{status}"))
    raise _ERRORS[status]


@post("/wait")
async def wait(name: FromQuery[str], items_manager: NamedDependency[Manager[Item]]) -> str:
    """Change something, and wait."""
    calls[name] += 1
    await items_manager.save(Item(name=name))
    reached[name].set()
    await gates[name].wait()
    return name


@post("/events")
async def events(items_manager: NamedDependency[Manager[Item]]) -> Stream:
    """Change something, and tell without an end."""
    await items_manager.save(Item(name="events"))

    async def told() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        reached["events"].set()
        await gates["events"].wait()
        await items_manager.save(Item(name="events-after"))
        yield b"data: 2\n\n"

    return Stream(told(), media_type="text/event-stream")


@post("/pieces")
async def pieces(size: FromQuery[int], items_manager: NamedDependency[Manager[Item]]) -> Stream:
    """Change something, and reply in pieces."""
    calls["pieces"] += 1
    await items_manager.save(Item(name="pieces"))

    async def made() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x" * 1024

    return Stream(made(), media_type="text/plain")


@post("/inside")
async def inside(items_manager: NamedDependency[Manager[Item]]) -> Stream:
    """Reply at length from inside of a transaction."""

    async def made() -> AsyncIterator[bytes]:
        async with items_manager.transactions.transaction():
            await items_manager.save(Item(name="inside"))
            for _ in range(MOST_REPLY_BYTES // 1024 + 1):
                yield b"x" * 1024

    return Stream(made(), media_type="text/plain")


@post("/large")
async def large(items_manager: NamedDependency[Manager[Item]]) -> Response[bytes]:
    """Change something, and reply at length."""
    await items_manager.save(Item(name="large"))
    return Response(b"x" * (MOST_REPLY_BYTES + 1), media_type="text/plain")


@post("/cookie")
async def cookie() -> Response[dict[str, int]]:
    """Reply with a cookie."""
    return Response({"a": 1}, headers={"X-Own": "é".encode().decode("latin-1"), "Set-Cookie": "sid=alice"})


@post("/later")
async def later(items_manager: NamedDependency[Manager[Item]]) -> Response[str]:
    """Change something after the reply."""

    async def work() -> None:
        await items_manager.save(Item(name="later"))
        reached["later"].set()

    return Response("soon", background=BackgroundTask(work))


@post("/upload", request_max_body_size=None)
async def upload(request: Request[Any, Any, Any]) -> int:
    """How much there is, of any size."""
    return sum([len(piece) async for piece in request.stream()])


@post("/small", request_max_body_size=10)
async def small(request: Request[Any, Any, Any]) -> int:
    """How much there is, of which there may be little."""
    return len(await request.body())


@post("/swallow")
async def swallow(items_manager: NamedDependency[Manager[Item]]) -> Response[str]:
    """Fail in the database without a transaction of its own, and say so in its own words."""
    item = Item(name="swallow")
    await items_manager.save(item)
    try:
        await items_manager.save(item)
    except Conflict:
        return Response("twice", status_code=400)
    return Response("once")


@post("/compute", opt=dict(NO_EFFECT))
async def compute() -> int:
    """Change nothing."""
    calls["compute"] += 1
    return calls["compute"]


def keyed_app(url: str) -> Service:
    """A service with the handlers above, on the database at `url`."""
    made = builder(url)
    for handler in (fail, wait, events, inside, pieces, large, cookie, later, upload, small, swallow, compute):
        made.include_router(handler)
    return made.build()


@asynccontextmanager
async def keyed_service(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that service."""
    for known in (gates, reached, calls):
        known.clear()
    app = keyed_app(url)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://sample.test") as client:
        yield client


async def names(client: httpx.AsyncClient) -> list[str]:
    """The names of all items there are."""
    return [item["name"] for item in (await client.get(NAMES)).json()]
