"""What every request gets, whatever route answers it, or none."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import get
from litestar.params import FromQuery
from litestar.response import Stream

from domain.context import current_context
from domain.entity import parse_id
from service.http.application import Service
from tests.sample import builder, serving, settings

MEMORY = "sqlite:///:memory:"


@get("/boom")
async def boom() -> None:
    raise RuntimeError("secret detail: password=hunter2")


@get("/half")
async def half() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("in the middle")

    return Stream(pieces())


@get("/context")
async def context() -> dict[str, str]:
    now = current_context()
    return {"request_id": now.request_id, "principal": now.principal, "tenant": now.tenant}


@get("/typed")
async def typed(number: FromQuery[int]) -> int:
    return number


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = builder(MEMORY)
    for handler in (boom, context, typed):
        app.include_router(handler)
    built: Service = app.with_logging(format="json").build()
    transport = httpx.ASGITransport(app=built, raise_app_exceptions=False)
    async with built.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://sample.test") as client:
        yield client


@pytest.mark.parametrize("path", ["/health", "/nope", "/boom", "/api/v1/items/bad", "/docs", "/api/v1/info"])
async def test_every_reply_has_a_request_id(client: httpx.AsyncClient, path: str) -> None:
    made = await client.get(path)
    assert parse_id(made.headers["x-request-id"])
    given = await client.get(path, headers={"x-request-id": "trace-42:a.b_c"})
    assert given.headers["x-request-id"] == "trace-42:a.b_c"


@pytest.mark.parametrize("wrong", ["a b", "x" * 129, "<script>", "é", ""])
async def test_a_harmful_request_id_is_replaced(client: httpx.AsyncClient, wrong: str) -> None:
    reply = await client.get("/health", headers={"x-request-id": wrong.encode()})
    assert parse_id(reply.headers["x-request-id"])


async def test_handlers_know_their_context(client: httpx.AsyncClient) -> None:
    reply = await client.get("/context", headers={"x-request-id": "mine"})
    assert reply.json() == {"request_id": "mine", "principal": "anonymous", "tenant": "default"}


async def test_an_unhandled_error_tells_the_log_and_not_the_client(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = await client.get("/boom")
    assert reply.status_code == 500
    problem = reply.json()
    assert problem["type"] == "urn:servicekit:error:internal"
    assert "hunter2" not in reply.text
    assert "RuntimeError" not in reply.text
    assert problem["trace_id"] == reply.headers["x-request-id"]
    [record] = [record for record in caplog.records if record.exc_info and "hunter2" in str(record.exc_info[1])]
    assert record.levelno == logging.ERROR


async def test_an_unknown_path_and_a_wrong_method_are_problems(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/nope")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert unknown.json()["detail"] == "There is nothing at /nope"
    wrong = await client.patch("/api/v1/items")
    assert wrong.status_code == 405
    assert wrong.headers.get_list("allow") == ["GET, HEAD, POST, OPTIONS"]
    assert wrong.json()["type"] == "urn:servicekit:error:method-not-allowed"
    assert isinstance(wrong.json()["detail"], str)


async def test_options_names_the_methods(client: httpx.AsyncClient) -> None:
    reply = await client.options("/api/v1/items")
    assert reply.status_code == 204
    assert {"GET", "POST"} <= set(reply.headers["allow"].split(", "))


async def test_a_wrong_parameter_of_an_own_handler_is_a_problem_too(client: httpx.AsyncClient) -> None:
    reply = await client.get("/typed", params={"number": "x"})
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["errors"][0]["loc"] == ["query", "number"]


async def test_a_reply_that_breaks_in_the_middle_is_not_completed() -> None:
    app = builder(MEMORY).include_router(half).build(settings())
    async with serving(app) as client:
        with pytest.raises(Exception, match="after response started"):
            await client.get("/half")


async def test_requests_are_logged_with_their_outcome(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="millrace.access"):
        await client.get("/api/v1/items", params={"page": "1"}, headers={"x-request-id": "logged"})
        await client.head("/nope")
    first, second = [record.__dict__ for record in caplog.records if record.name == "millrace.access"]
    assert first["msg"] == "http.request.complete"
    assert (first["request_id"], first["method"], first["path"]) == ("logged", "GET", "/api/v1/items")
    assert (first["status_code"], first["query"]) == (200, "page=1")
    assert first["duration_ms"] > 0
    assert (second["method"], second["status_code"]) == ("HEAD", 404)


async def test_nothing_is_logged_per_request_without_logging(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(builder(MEMORY).build(settings())) as quiet:
        with caplog.at_level(logging.INFO, logger="millrace.access"):
            await quiet.get("/health")
    assert not [record for record in caplog.records if record.name == "millrace.access"]


async def test_the_database_being_gone_is_unavailable_and_unhealthy() -> None:
    app = builder(MEMORY).build(settings())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sample.test") as client:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/01K00000000000000000000ZZZ")):
            reply = await client.request(method, f"/api/v1/items{path}", json={"name": "x"})
            assert reply.status_code == 503
            assert reply.json()["type"] == "urn:servicekit:error:unavailable"
        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
