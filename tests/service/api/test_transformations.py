"""Transformations over HTTP: data in, a document out, and a clear word for everything that is none."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.errors import Misconfigured
from domain.registration import ServiceInfo
from domain.transformations import TransformationRouter
from service.builder import ServiceBuilder
from service.http.crud import Permissions
from tests.sample import serving, settings
from tests.service.api.transformations_service import CALLED, TRANSFORMATIONS, VISITS, MeanOf, Visits, builder

MEAN, COUNTED = f"{TRANSFORMATIONS}/mean_of", f"{TRANSFORMATIONS}/counted"
EXAMPLE: dict[str, Any] = dict(MeanOf.examples["two places"])
FRAME_TYPE = "application/vnd.chapkit.dataframe+json"
BUG = "An unexpected error occurred; the trace_id finds it in the log"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
async def client(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    folder: Path = tmp_path_factory.mktemp("transforming")
    async with serving(builder(module_database_url).build(settings(storage_folder=folder))) as client:
        for number in range(21):
            reply = await client.post(VISITS.path, json={"place": f"p{number % 3}", "number": number})
            assert reply.status_code == 201
        yield client


async def made(client: httpx.AsyncClient, url: str, body: Any, **headers: str) -> httpx.Response:
    reply = await client.post(url, json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


async def refused(client: httpx.AsyncClient, url: str, body: Any, status: int = 422) -> dict[str, Any]:
    given = {"content": body, "headers": JSON} if isinstance(body, str | bytes) else {"json": body}
    reply = await client.post(url, **given)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    found: dict[str, Any] = reply.json()
    return found


async def stored(client: httpx.AsyncClient, content: Any, **more: Any) -> str:
    reply = await client.post("/api/v1/artifacts", json={"data": {"type": "x", "content": content, **more}})
    assert reply.status_code == 201
    return str(reply.json()["id"])


# What there is


async def test_transformations_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get(TRANSFORMATIONS)).json()
    assert [item["name"] for item in listed] == ["mean_of", "length", "counted"]
    assert listed[0] == {
        "name": "mean_of",
        "title": "Mean of",
        "version": "2.1",
        "description": "The mean of a column for each value of another.",
    }


async def test_a_schema_says_what_comes_in_and_goes_out(client: httpx.AsyncClient) -> None:
    schema = (await client.get(f"{MEAN}/$schema")).json()
    assert schema["data"]["required"] == ["columns", "data"]
    assert schema["params"]["properties"]["digits"] == {"type": "integer", "minimum": 0, "maximum": 10, "default": 2}
    assert (schema["params"]["required"], schema["params"]["additionalProperties"]) == ([], False)
    assert schema["output"]["title"] == "DataFrame"
    schema = (await client.get(f"{TRANSFORMATIONS}/length/$schema")).json()
    assert schema["data"]["$defs"]["Point"]["required"] == ["x"]
    assert schema["params"] == {"type": "object", "properties": {}, "additionalProperties": False}


async def test_every_example_can_be_sent_as_it_is(client: httpx.AsyncClient) -> None:
    for item in (await client.get(TRANSFORMATIONS)).json():
        url = f"{TRANSFORMATIONS}/{item['name']}"
        for example in (await client.get(f"{url}/$examples")).json().values():
            await made(client, url, example)


# Data in, a document out


async def test_a_frame_becomes_a_frame(client: httpx.AsyncClient) -> None:
    reply = await made(client, MEAN, EXAMPLE)
    assert reply.json() == {"columns": ["place", "number"], "data": [["Oslo", 1.5], ["Bergen", 5.0]]}
    assert (reply.headers["x-transformation"], reply.headers["content-type"]) == ("mean_of@2.1", "application/json")


async def test_an_async_one_takes_any_type(client: httpx.AsyncClient) -> None:
    reply = await made(client, f"{TRANSFORMATIONS}/length", {"data": [{"x": 0}, {"x": 3, "y": 4}]})
    assert reply.json() == {"length": 5.0, "at": "2025-01-02T00:00:00.000000Z", "extra": None}


async def test_two_hundred_thousand_rows_go_in_at_once(client: httpx.AsyncClient) -> None:
    rows = [[f"p{number % 50}", number * 0.5] for number in range(200_000)]
    reply = await made(client, MEAN, {"data": {"columns": ["place", "number"], "data": rows}})
    assert len(reply.json()["data"]) == 50
    rows[150_000] = ["p"]
    error = await refused(client, MEAN, {"data": {"columns": ["place", "number"], "data": rows}})
    assert [item["pointer"] for item in error["errors"]] == ["/data/data/150000"]


async def test_a_stored_frame_gives_what_the_same_data_gives(client: httpx.AsyncClient) -> None:
    id = await stored(client, EXAMPLE["data"], content_type=FRAME_TYPE)
    body = {"frame_id": id, "params": EXAMPLE["params"]}
    reply = await made(client, MEAN, body)
    assert reply.json() == (await made(client, MEAN, EXAMPLE)).json()
    again = await client.post(MEAN, json=body, headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # The same content under another id is the same data.
    twin = await stored(client, EXAMPLE["data"], content_type=FRAME_TYPE)
    reply_of_twin = await made(client, MEAN, {"frame_id": twin, "params": EXAMPLE["params"]})
    assert reply_of_twin.headers["etag"] == reply.headers["etag"]


async def test_an_artifact_that_is_no_frame_is_refused(client: httpx.AsyncClient) -> None:
    for id in (await stored(client, {"a": 1}), await stored(client, EXAMPLE["data"])):
        error = await refused(client, MEAN, {"frame_id": id})
        assert error["errors"][0]["pointer"] == "/frame_id"
        assert f"artifact {id} holds no frame; its content is of the kind 'json'" in error["detail"]
    torn = await stored(client, {"columns": ["a", "b"], "data": [[1]]}, content_type=FRAME_TYPE)
    error = await refused(client, MEAN, {"frame_id": torn})
    assert error["errors"][0]["pointer"] == "/frame_id/data/0"
    await refused(client, MEAN, {"frame_id": "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"}, 404)
    await refused(client, MEAN, {"frame_id": "x"})


async def test_rows_of_a_resource_are_data(client: httpx.AsyncClient) -> None:
    query = {"filter": {"number": {"lt": 6}}, "sort": "-place", "fields": "place,number"}
    reply = await made(client, MEAN, {"resource": "visits", "query": query})
    assert reply.json()["data"] == [["p2", 3.5], ["p1", 2.5], ["p0", 1.5]]
    # Rows change, and nobody could tell by this request.
    assert "etag" not in reply.headers
    part = await made(client, MEAN, {"resource": "visits", "query": {"page": 2, "size": 2, "sort": "number"}})
    assert part.json()["data"] == [["p2", 2.0], ["p0", 3.0]]
    none = await made(client, MEAN, {"resource": "visits", "query": {"filter": {"number": -1}}})
    assert none.json()["data"] == []


async def test_rows_are_never_cut_in_silence(client: httpx.AsyncClient) -> None:
    error = await refused(client, MEAN, {"resource": "visits"})
    assert "the query has more than 20 rows" in error["detail"]
    twenty = await made(client, MEAN, {"resource": "visits", "query": {"filter": {"number": {"gte": 1}}}})
    assert len(twenty.json()["data"]) == 3


async def test_hidden_fields_of_a_resource_stay_hidden(client: httpx.AsyncClient) -> None:
    for query in ({"filter": {"secret": "hidden"}}, {"fields": "secret"}, {"sort": "secret"}):
        error = await refused(client, MEAN, {"resource": "visits", "query": query})
        assert error["errors"][0]["pointer"].startswith("/query/")
    narrow = {"resource": "visits", "query": {"limit": 1}, "params": {"by": "secret"}}
    error = await refused(client, MEAN, narrow)
    assert "no column 'secret' among id, created_at, updated_at, tags, place, number" in error["detail"]


# What is refused


@pytest.mark.parametrize(
    "body, pointers",
    [
        ("", [""]),
        ("{", [""]),
        ("[]", [""]),
        (b"\xff", [""]),
        ({}, [""]),
        ({"params": {}}, [""]),
        ({"data": EXAMPLE["data"], "resource": "visits"}, ["/resource"]),
        ({"data": EXAMPLE["data"], "frame_id": None}, ["/frame_id"]),
        ({"resource": "visit"}, ["/resource"]),
        ({"resource": ["visits"]}, ["/resource"]),
        (
            {"resource": "visits", "query": {"filter": {"number": "x"}, "colour": 1}},
            ["/query/colour", "/query/filter/number"],
        ),
        ({"resource": "visits", "query": []}, ["/query"]),
        ({"data": EXAMPLE["data"], "query": {}}, ["/query"]),
        ({"data": 1}, ["/data"]),
        ({"data": EXAMPLE["data"], "params": None}, ["/params"]),
        (
            {"data": EXAMPLE["data"], "params": {"digits": 11, "kind": "mode", "zz": 1}},
            ["/params/digits", "/params/kind", "/params/zz"],
        ),
    ],
)
async def test_rubbish_is_named_where_it_is(client: httpx.AsyncClient, body: Any, pointers: list[str]) -> None:
    error = await refused(client, MEAN, body)
    assert [item["pointer"] for item in error["errors"]] == pointers


async def test_what_is_too_deep_is_refused(client: httpx.AsyncClient) -> None:
    for levels in (101, 900, 100_000):
        error = await refused(client, COUNTED, '{"data":' + "[" * levels + "]" * levels + "}")
        assert "nests more than 100 levels" in error["detail"]
    assert (await made(client, COUNTED, {"data": json.loads("[" * 90 + "]" * 90)})).json()["n"] == 0


async def test_parameters_other_types_and_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    for method, url in (
        ("POST", MEAN),
        ("GET", f"{MEAN}/$schema"),
        ("GET", f"{MEAN}/$examples"),
        ("GET", TRANSFORMATIONS),
    ):
        assert (await client.request(method, url, params={"a": 1})).status_code == 400
    assert (await client.post(MEAN, content="data=1", headers={"content-type": "text/csv"})).status_code == 415
    assert (await client.get(MEAN)).status_code == 405
    assert (await client.post(f"{TRANSFORMATIONS}/mean")).status_code == 404


@pytest.mark.parametrize(
    "kind, status, detail",
    [
        ("value", 422, "counted@1 cannot work with this: negative rainfall in row 3"),
        ("domain", 409, "there is one already"),
        *((kind, 500, BUG) for kind in ("bug", "exit", "stop", "output", "alien")),
    ],
)
async def test_errors_of_the_client_are_told_and_bugs_are_not(
    client: httpx.AsyncClient, kind: str, status: int, detail: str
) -> None:
    error = await refused(client, COUNTED, {"data": 1, "params": {"kind": kind}}, status)
    assert error["detail"] == detail


async def test_a_column_that_is_missing_is_named(client: httpx.AsyncClient) -> None:
    error = await refused(client, MEAN, {"data": {"columns": ["a"], "data": [[1]]}})
    assert error["detail"] == "mean_of@2.1 cannot work with this: no column 'place' among a"


# What the client has already


async def test_a_result_that_the_client_has_is_not_made_again(client: httpx.AsyncClient) -> None:
    tag = (await made(client, COUNTED, {"data": {"a": 1, "b": 2}})).headers["etag"]
    assert tag.startswith('"')
    before = len(CALLED)
    same = '{"params": {"n": 0}, "data": {"b": 2, "a": 1}}'
    for known in (tag, f'"other", W/{tag}'):
        reply = await client.post(COUNTED, content=same, headers={**JSON, "if-none-match": known})
        assert (reply.status_code, reply.content) == (304, b"")
        assert (reply.headers["etag"], reply.headers["x-transformation"]) == (tag, "counted@1")
    assert len(CALLED) == before
    for known, body in ((tag, {"data": {"a": 1, "b": 3}}), ("*", {"data": {"a": 1, "b": 2}}), ('"x"', {"data": 1})):
        await made(client, COUNTED, body, **{"if-none-match": known})
    assert len(CALLED) == before + 3


# Threads


class Meeting(TransformationRouter):
    """Waits until two are there."""

    barrier = threading.Barrier(2)
    inside = 0
    most = 0

    def transform(self, data: int) -> int:
        Meeting.inside += 1
        Meeting.most = max(Meeting.most, Meeting.inside)
        self.barrier.wait(10)
        Meeting.inside -= 1
        self.barrier.wait(10)
        return data


async def test_only_so_many_compute_at_a_time_and_the_service_goes_on() -> None:
    made = ServiceBuilder(info=ServiceInfo(id="x", display_name="X")).with_health()
    async with serving(made.with_transformations(Meeting, max_threads=2).build(settings())) as client:
        url = f"{TRANSFORMATIONS}/meeting"
        replies = [asyncio.create_task(client.post(url, json={"data": number})) for number in range(8)]
        assert (await client.get("/health")).status_code == 200
        assert [(await reply).json() for reply in replies] == list(range(8))
        assert Meeting.most == 2
        error = await refused(client, url, {"frame_id": "x"})
        assert error["errors"][0]["allowed"] == ["data"]


# How it is put together


@asynccontextmanager
async def only(*items: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    made = ServiceBuilder(info=ServiceInfo(id="x", display_name="X")).with_database("sqlite:///:memory:")
    async with serving(made.with_transformations(*items, **options).build(settings())) as client:
        yield client


async def test_they_may_be_elsewhere() -> None:
    async with only(MeanOf, prefix="/t/") as client:
        assert (await client.post("/t/mean_of", json=EXAMPLE)).status_code == 200


def test_what_does_not_fit_together_is_refused() -> None:
    made = ServiceBuilder(info=ServiceInfo(id="x", display_name="X"))
    for wrong, said in (
        ({"prefix": "t"}, "starts with '/'"),
        ({"max_threads": 0}, "max_threads=0"),
        ({"max_rows": 0}, "max_rows=0"),
    ):
        with pytest.raises(Misconfigured, match=said):
            made.with_transformations(MeanOf, **wrong)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="two transformations have the name 'mean_of'"):
        made.with_transformations(MeanOf).with_transformations(MeanOf())


async def test_a_resource_that_nobody_may_read_is_no_data(sqlite_url: str) -> None:
    made = ServiceBuilder(info=ServiceInfo(id="x", display_name="X")).with_database(sqlite_url)
    made.with_crud(VISITS, table=Visits, permissions=Permissions(read=False)).with_transformations(MeanOf)
    async with serving(made.build(settings())) as client:
        error = await refused(client, MEAN, {"resource": "visits"})
        assert "/resource" in [item["pointer"] for item in error["errors"]]
