"""The OpenAPI document tells the truth, and the page that shows it needs no internet."""

import asyncio
import itertools
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from domain.query.parse import PARAMETERS
from domain.transformations import TransformationRouter
from service.http.application import Service
from tests.sample import ITEMS as ITEM_RESOURCE
from tests.sample import Items, builder, serving, settings
from tests.service.api import jobs_service, transformations_service

ITEMS = "/api/v1/items"


@pytest.fixture(
    scope="module",
    params=[builder, jobs_service.builder, transformations_service.builder],
    ids=["items", "jobs", "transformations"],
)
async def running(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """A service of entities, one of jobs, and one of transformations."""
    app = request.param("sqlite:///:memory:").build(settings())
    async with serving(app) as client:
        yield app, client


@pytest.fixture
def client(running: tuple[Service, httpx.AsyncClient]) -> httpx.AsyncClient:
    return running[1]


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    made: dict[str, Any] = (await client.get("/openapi.json")).json()
    return made


async def document_of(app: Service) -> dict[str, Any]:
    async with serving(app) as client:
        made: dict[str, Any] = (await client.get("/openapi.json")).json()
        return made


@pytest.fixture(scope="module")
async def items() -> dict[str, Any]:
    return await document_of(builder("sqlite:///:memory:").build(settings()))


@pytest.fixture(scope="module")
async def jobs() -> dict[str, Any]:
    return await document_of(jobs_service.builder("sqlite:///:memory:").build(settings()))


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


async def test_a_list_documents_all_its_parameters(items: dict[str, Any]) -> None:
    names = {parameter["name"] for parameter in items["paths"][ITEMS]["get"]["parameters"]}
    assert set(PARAMETERS) <= names
    assert {"name", "color", "seen_at"} <= names


async def test_bodies_show_the_constraints_that_are_enforced(items: dict[str, Any]) -> None:
    schemas = items["components"]["schemas"]
    create = schemas["ItemCreate"]
    assert create["required"] == ["name"]
    assert create["additionalProperties"] is False
    assert create["properties"]["name"]["maxLength"] == 50
    # Not in the Struct: the column holds 32 bits.
    assert create["properties"]["size"]["maximum"] == 2**31 - 1
    assert create["properties"]["created_at"]["readOnly"] is True
    assert not schemas["ItemPatch"].get("required")
    assert set(schemas["Item"]["required"]) == set(schemas["Item"]["properties"])


async def test_a_transformation_documents_what_it_may_be_sent_and_what_it_answers() -> None:
    document = await document_of(transformations_service.builder("sqlite:///:memory:").build(settings()))
    schemas = document["components"]["schemas"]
    operation = document["paths"]["/api/v1/transformations/mean_of"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    names = [f"MeanOf{kind}Request" for kind in ("Data", "Frame", "Query")]
    assert content["schema"] == {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}
    assert [schemas[name]["required"] for name in names] == [["data"], ["frame_id"], ["resource"]]
    assert all(schemas[name]["additionalProperties"] is False for name in names)
    assert schemas["MeanOfQueryRequest"]["properties"]["resource"]["enum"] == ["visits"]
    assert content["examples"] == {
        name: {"value": value} for name, value in transformations_service.MeanOf.examples.items()
    }
    success = operation["responses"]["200"]
    assert success["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/DataFrame"}}}
    assert success["headers"].keys() == {"ETag", "X-Transformation", "Cache-Status"}
    assert {"304", "404", "415", "422"} <= operation["responses"].keys()
    only = document["paths"]["/api/v1/transformations/length"]["post"]["requestBody"]["content"]["application/json"]
    assert only["schema"] == {"$ref": "#/components/schemas/LengthDataRequest"}
    assert schemas["LengthDataRequest"]["properties"]["data"]["minItems"] == 2


async def test_types_of_one_name_are_told_apart() -> None:
    item = msgspec.defstruct("Item", [("weight", int, 1)])
    problem = msgspec.defstruct("Item", [("words", list[str])], module="elsewhere")

    class Weighed(TransformationRouter):
        def transform(self, data, params):  # type: ignore[no-untyped-def]
            return data

    Weighed.transform.__annotations__.update(data=problem, params=item, **{"return": problem})
    document = await document_of(builder("sqlite:///:memory:").with_transformations(Weighed).build(settings()))
    schemas = document["components"]["schemas"]
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}
    assert "color" in schemas["Item"]["properties"]
    operation = document["paths"]["/api/v1/transformations/weighed"]["post"]
    replied = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert schemas[replied.rpartition("/")[2]]["required"] == ["words"]


async def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert "application/problem+json" in response["content"], operation["operationId"]


@pytest.mark.parametrize(
    "path, method, body, is_required",
    [
        ("/api/v1/tasks/{name}/$execute", "post", "Submission", False),
        ("/api/v1/graphs", "post", "GraphRequest", True),
        ("/api/v1/graphs/{id}/$rerun", "post", "RerunRequest", False),
        ("/api/v1/jobs/$requeue", "post", "RequeueRequest", False),
        ("/api/v1/schedules/{id}/$backfill", "post", "BackfillRequest", True),
        ("/api/v1/schedules", "post", "ScheduledTaskCreate", True),
    ],
)
async def test_bodies_that_are_read_by_hand_are_documented(
    jobs: dict[str, Any], path: str, method: str, body: str, is_required: bool
) -> None:
    operation = jobs["paths"][path][method]
    asked = operation["requestBody"]
    content = asked["content"]["application/json"]
    assert (asked["required"], content["schema"]) == (is_required, {"$ref": f"#/components/schemas/{body}"})
    assert "example" in content
    assert {"415", "422"} <= operation["responses"].keys()
    assert jobs["components"]["schemas"][body]["additionalProperties"] is False


@pytest.mark.parametrize(
    "path, names",
    [
        ("/api/v1/jobs", {"status_filter", "status", "filter", "cursor"}),
        ("/api/v1/jobs/$dead", {"filter", "cursor"}),
        ("/api/v1/jobs/{id}/$events", {"id", "after", "limit"}),
        ("/api/v1/jobs/{id}/$logs", {"id", "after", "limit"}),
        ("/api/v1/jobs/{id}/$stream", {"id", "poll_interval", "Last-Event-ID"}),
        ("/api/v1/schedules/{id}/$preview", {"id", "count"}),
        ("/health/$stream", {"poll_interval"}),
    ],
)
async def test_parameters_that_are_read_by_hand_are_documented(
    jobs: dict[str, Any], path: str, names: set[str]
) -> None:
    assert names <= {parameter["name"] for parameter in jobs["paths"][path]["get"]["parameters"]}


async def test_what_is_accepted_says_where_it_is(jobs: dict[str, Any]) -> None:
    for path in ("/api/v1/tasks/{name}/$execute", "/api/v1/graphs", "/api/v1/schedules/{id}/$trigger"):
        assert "Location" in jobs["paths"][path]["post"]["responses"]["202"]["headers"]


async def test_an_operation_that_documents_itself_is_believed(jobs: dict[str, Any]) -> None:
    def reply(path: str) -> Any:
        return jobs["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

    assert reply("/api/v1/jobs/$stats") == {"$ref": "#/components/schemas/Stats"}
    assert reply("/api/v1/graphs/{id}") == {"$ref": "#/components/schemas/GraphView"}
    assert "204" in jobs["paths"]["/api/v1/jobs/{id}/$stream"]["get"]["responses"]


async def test_what_belongs_together_stands_together(jobs: dict[str, Any]) -> None:
    tags = [operation["tags"][0] for item in jobs["paths"].values() for operation in item.values()]
    groups = [
        tag for tag, _ in itertools.groupby(tag for tag in tags if tag in {"jobs", "graphs", "schedules", "tasks"})
    ]
    assert sorted(groups) == ["graphs", "jobs", "schedules", "tasks"]
    assert all(
        operation["summary"] and "_" in operation["operationId"]
        for path, item in jobs["paths"].items()
        if path.startswith(("/api/v1/jobs", "/api/v1/graphs", "/api/v1/schedules", "/api/v1/tasks"))
        for operation in item.values()
    )


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
    app = jobs_service.builder("sqlite:///:memory:").with_crud(ITEM_RESOURCE, table=Items).build(settings())
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
    assert "<title>Works</title>" in page
    jobs = ("/api/v1/jobs/{id}/$cancel", "/api/v1/tasks/{name}/$execute", "/api/v1/graphs", "/api/v1/schedules")
    for path in (ITEMS, f"{ITEMS}/{{id}}", f"{ITEMS}/$query", "/health", *jobs):
        assert f'data-path="{path}"' in page
    assert "Failed to load" not in page
