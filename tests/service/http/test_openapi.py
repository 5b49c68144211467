"""The OpenAPI document tells the truth, and the page that shows it needs no internet."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from domain.query.parse import PARAMETERS
from service.http.application import Service
from tests.sample import builder, serving, settings

ITEMS = "/api/v1/items"


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    app = builder("sqlite:///:memory:").build(settings())
    async with serving(app) as client:
        yield app, client


@pytest.fixture
def client(running: tuple[Service, httpx.AsyncClient]) -> httpx.AsyncClient:
    return running[1]


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    made: dict[str, Any] = (await client.get("/openapi.json")).json()
    return made


async def test_every_route_is_documented_with_the_methods_it_takes(
    running: tuple[Service, httpx.AsyncClient], document: dict[str, Any]
) -> None:
    app, _ = running
    documented = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    undocumented = {"/", "/docs", "/redoc", "/openapi.json"}
    routed = {
        (re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method)
        for route in app.routes
        for method in route.methods  # type: ignore[union-attr]
        if method != "OPTIONS" and route.path not in undocumented and not route.path.startswith("/docs/")
    }
    assert documented == routed


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(member) for member in value.values()))
    return set().union(*(references(member) for member in value)) if isinstance(value, list) else set()


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


async def test_a_list_documents_all_its_parameters(document: dict[str, Any]) -> None:
    names = {parameter["name"] for parameter in document["paths"][ITEMS]["get"]["parameters"]}
    assert set(PARAMETERS) <= names
    assert {"name", "color", "seen_at"} <= names


async def test_bodies_show_the_constraints_that_are_enforced(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    create = schemas["ItemCreate"]
    assert create["required"] == ["name"]
    assert create["additionalProperties"] is False
    assert create["properties"]["name"]["maxLength"] == 50
    # Not in the Struct: the column holds 32 bits.
    assert create["properties"]["size"]["maximum"] == 2**31 - 1
    assert create["properties"]["created_at"]["readOnly"] is True
    assert not schemas["ItemPatch"].get("required")
    assert set(schemas["Item"]["required"]) == set(schemas["Item"]["properties"])


async def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert "application/problem+json" in response["content"], operation["operationId"]


@pytest.mark.parametrize("path, target", [("/", "/docs"), ("/redoc", "/docs")])
async def test_old_and_short_names_lead_to_the_page(client: httpx.AsyncClient, path: str, target: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.headers["location"]) == (307, target)


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    for asset in re.findall(r'(?:src|href)="(docs/[^"]+)"', page):
        reply = await client.get(f"/{asset}")
        assert reply.status_code == 200
        again = await client.get(f"/{asset}", headers={"if-none-match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = await client.get(f"/{asset}", headers={"accept-encoding": "identity"})
        assert plain.content == reply.content


async def test_an_own_page_at_the_root_is_left_alone() -> None:
    from litestar import get

    @get("/")
    async def root() -> str:
        return "mine"

    async with serving(builder("sqlite:///:memory:").include_router(root).build(settings())) as client:
        assert (await client.get("/")).text == "mine"


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="NO BROWSER: the documentation page was not looked at; install chromium")
async def test_a_browser_shows_every_operation_without_internet(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = builder("sqlite:///:memory:").build(settings())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    async with app.lifespan():
        serving_ = asyncio.create_task(server.serve())
        try:
            arguments = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--virtual-time-budget=10000",
                "--dump-dom",
            ]
            browser = await asyncio.create_subprocess_exec(
                str(BROWSER),
                *arguments,
                f"--user-data-dir={tmp_path}",
                f"http://127.0.0.1:{port}/docs",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            async with asyncio.timeout(60):
                page = (await browser.communicate())[0].decode()
        finally:
            server.should_exit = True
            await serving_
    assert "<title>Sample</title>" in page
    for path in (ITEMS, f"{ITEMS}/{{id}}", f"{ITEMS}/$query", "/health"):
        assert f'data-path="{path}"' in page
    assert "Failed to load" not in page
