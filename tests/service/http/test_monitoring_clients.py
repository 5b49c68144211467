"""What is measured of apps and clients that do as little as they may."""

from typing import Any

import pytest
from litestar import asgi
from litestar.types import Message, Receive, Scope, Send

from service.http.monitoring import Requests
from service.http.routing import UNMATCHED
from tests.metrics import scraped
from tests.sample import builder, http_scope, serving, settings
from tests.service.http.test_monitoring import bare, count, routes


async def test_an_app_that_leaves_out_what_is_optional_is_answered_and_measured() -> None:
    @asgi("/mounted", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202})  # type: ignore[arg-type]
        await send({"type": "http.response.body", "body": b"all", "more_body": True})
        await send({"type": "http.response.body"})  # type: ignore[typeddict-item]

    async with serving(bare().include_router(mounted).with_monitoring().build(settings())) as client:
        reply = await client.get("/mounted/here")
        assert (reply.status_code, reply.text) == (202, "all")
        samples = await scraped(client)
    # The framework knows no template for what is mounted.
    assert count(samples, "GET", UNMATCHED, 202) == 1


def leaving(method: str, path: str, *messages: dict[str, Any]) -> tuple[dict[str, Any], Receive]:
    """The scope of a request and what it brings before its client goes away."""
    left = [*messages, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return http_scope(method, path), receive


async def test_who_goes_away_before_the_end_of_the_request_is_no_mistake_of_anybody(sqlite_url: str) -> None:
    async def send(message: Message) -> None:
        pass

    begun = {"type": "http.request", "body": b'{"name": ', "more_body": True}
    whole = {"type": "http.request", "body": b'{"name": "one"}', "more_body": False}
    app = builder(sqlite_url).with_monitoring().build(settings())
    async with serving(app) as client:
        for path in ("/api/v1/items", "/api/v1/items/$bulk"):
            for messages in ([begun], [], [whole]):
                scope, receive = leaving("POST", path, *messages)
                await app(scope, receive, send)  # type: ignore[arg-type]
        samples = await scraped(client)
    assert count(samples, "POST", "/api/v1/items", 499) == 2
    assert count(samples, "POST", "/api/v1/items/$bulk", 499) == 2
    # Whoever has asked is answered, whether or not that arrives.
    assert {status for _, _, status in routes(samples)} == {"201", "422", "499"}


async def test_an_app_that_breaks_when_its_client_goes_away_has_not_failed() -> None:
    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass
        raise ValueError("gone")

    requests = Requests()
    scope, receive = leaving("PUT", "/x", {"type": "http.request", "body": b"x", "more_body": True})
    with pytest.raises(ValueError, match="gone"):
        await requests.layer(breaking)(scope, receive, None)  # type: ignore[arg-type]
    found = {family.name: family.values for family in requests.families()}
    assert [labels for labels, _ in found["http_server_request_duration_seconds"]] == [("PUT", "unmatched", "499")]
