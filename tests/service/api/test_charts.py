"""Charts of artifacts over HTTP: drawn, known by their content, and kept."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from domain.backtest_reports import BacktestReport
from domain.frames import sample_geo
from domain.registration import ServiceInfo
from domain.scores import Metrics
from service.builder import ServiceBuilder
from tests.domain.charts import grammar
from tests.sample import serving, settings

ARTIFACTS = "/api/v1/artifacts"
FRAME_TYPE = "application/vnd.chapkit.dataframe+json"
PERIODS = ("2024-01", "2024-02", "2024-03")
FORECAST = {
    "columns": ["time_period", "location", "sample_0", "sample_1", "sample_2"],
    "data": [[period, f"location_{n}", 10 * n, 10 * n + 1, 10 * n + 5] for period in PERIODS for n in range(3)],
}
HISTORY = {
    "columns": ["time_period", "location", "disease_cases", "rainfall"],
    "data": [[f"2023-{month:02}", f"location_{n}", 10 * n + month, 1.5] for month in (10, 11, 12) for n in range(3)],
}


def metrics(skill: float | None) -> Metrics:
    return Metrics(n=6, mae=1, rmse=1, crps=1, wis=1, coverage_50=0.4, coverage_80=0.7, coverage_95=0.9, skill=skill)


def report() -> Any:
    names = ("good", "bad", "seasonal_naive")
    whole = BacktestReport(
        target="disease_cases",
        horizon=2,
        cutoffs=["2023-10"],
        models=["good", "bad"],
        overall={name: metrics(0.1) for name in names},
        by_horizon={name: [metrics(0.2), metrics(-0.1)] for name in names},
        by_location={},
        by_split={},
        pit={name: [0.1] * 10 for name in names},
    )
    return msgspec.to_builtins(whole)


@pytest.fixture(scope="module")
async def client(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    builder = ServiceBuilder(info=ServiceInfo(id="charts", display_name="Charts"))
    app = (
        builder.with_database(module_database_url)
        .with_artifacts()
        .build(settings(storage_folder=tmp_path_factory.mktemp("charts")))
    )
    async with serving(app) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


async def stored(client: httpx.AsyncClient, content: Any, kind: str = "x", media_type: str = FRAME_TYPE) -> str:
    data = {"type": kind, "metadata": {}, "content": content, "content_type": media_type}
    reply = await client.post(ARTIFACTS, json={"data": data})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


async def spec_of(client: httpx.AsyncClient, id: str, **params: Any) -> Any:
    reply = await client.get(f"{ARTIFACTS}/{id}/$chart", params=params)
    assert reply.status_code == 200, reply.text
    assert reply.json()["description"]
    return grammar.check(reply.json())


async def refused(client: httpx.AsyncClient, id: str, **params: Any) -> str:
    reply = await client.get(f"{ARTIFACTS}/{id}/$chart", params=params)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json"), reply.text
    assert {error["loc"][0] for error in reply.json().get("errors", [])} <= {"query"}
    return str(reply.json()["detail"])


async def test_a_prediction_is_a_fan_with_its_past(client: httpx.AsyncClient) -> None:
    id, history = await stored(client, FORECAST, "ml_prediction"), await stored(client, HISTORY)
    spec = await spec_of(client, id, history=history, target="disease_cases")
    assert (spec["facet"]["sort"], len(spec["spec"]["layer"])) == (["location_0", "location_1", "location_2"], 5)
    assert "3 periods, 2024-01 to 2024-03" in spec["description"]
    assert "9 observations from 10 to 32" in spec["description"]
    one = await spec_of(client, id, location="location_2")
    rows = one["data"]["values"]
    assert [(row["time_period"], row["median"]) for row in rows] == [(period, 21.0) for period in PERIODS]
    assert (rows[0]["low_50"], rows[0]["high_50"]) == (20.5, 23.0)
    assert "2 more locations not shown" in one["description"]
    picture = await client.get(
        f"{ARTIFACTS}/{id}/$chart", params={"format": "svg", "history": history, "target": "disease_cases"}
    )
    assert picture.headers["content-type"] == "image/svg+xml"
    # Three bands in each of three places, and nine observations.
    assert len(re.findall(r'aria-roledescription="area mark"', picture.text)) == 9
    assert len(re.findall(r'aria-roledescription="line mark"', picture.text)) == 3
    assert len(re.findall(r'aria-roledescription="point"', picture.text)) >= 9


async def test_forecasts_are_compared(client: httpx.AsyncClient) -> None:
    id, other = await stored(client, FORECAST, "ml_prediction"), await stored(client, FORECAST, "ml_prediction")
    spec = await spec_of(client, id, compare=other)
    assert {row["model"] for row in spec["data"]["values"]} == {id, other}
    assert len(spec["data"]["values"]) == 18


async def test_places_are_coloured(client: httpx.AsyncClient) -> None:
    geo = await stored(client, msgspec.to_builtins(sample_geo(4)), media_type="application/geo+json")
    id = await stored(client, FORECAST, "ml_prediction")
    spec = await spec_of(client, id, geo=geo)
    assert [feature["value"] for feature in spec["data"]["values"]] == [1, 11, 21, None]
    assert "Highest in location_2 (21), lowest in location_0 (1)" in spec["description"]
    assert "1 place without a number" in spec["description"]
    picture = await client.get(f"{ARTIFACTS}/{id}/$chart", params={"format": "svg", "geo": geo})
    assert len(re.findall(r'aria-roledescription="geoshape"', picture.text)) == 4
    assert picture.text.count('fill="#dddddd"') == 1
    table = await stored(client, HISTORY)
    spec = await spec_of(client, table, geo=geo, period="2023-10")
    assert [feature["value"] for feature in spec["data"]["values"]] == [10, 20, 30, None]
    assert "Period '1999-01' not found" in await refused(client, table, geo=geo, period="1999-01")
    assert "No location" in await refused(client, table, geo=geo, key="population")
    assert "is no FeatureCollection" in await refused(client, table, geo=table)


async def test_a_backtest_is_its_skill_or_its_calibration(client: httpx.AsyncClient) -> None:
    id = await stored(client, report(), "ml_backtest", "application/json")
    spec = await spec_of(client, id)
    assert [row["skill"] for row in spec["data"]["values"]] == [0.2, -0.1, 0.2, -0.1]
    assert "good: best 0.2 at 1, worst -0.1 at 2" in spec["description"]
    spec = await spec_of(client, id, chart="calibration")
    assert "40% within the 50 % interval" in spec["description"]
    picture = await client.get(f"{ARTIFACTS}/{id}/$chart", params={"chart": "calibration", "format": "svg"})
    assert len(re.findall(r'aria-roledescription="bar"', picture.text)) == 30
    assert "A backtest has these: skill, calibration" in await refused(client, id, chart="fan")
    broken = await stored(client, {"target": 1}, "ml_backtest", "application/json")
    assert "is no report on a backtest" in await refused(client, broken)


async def test_a_table_is_drawn_as_it_suits(client: httpx.AsyncClient) -> None:
    id = await stored(client, HISTORY)
    spec = await spec_of(client, id)
    assert spec["mark"]["type"] == "line"
    assert [spec["encoding"][name]["field"] for name in ("x", "y", "color")] == [
        "time_period",
        "disease_cases",
        "location",
    ]
    spec = await spec_of(client, id, chart="heatmap", x="time_period", y="location", color="rainfall", width=300)
    assert (spec["mark"], spec["width"], spec["encoding"]["color"]["field"]) == ("rect", 300, "rainfall")
    assert await refused(client, id, x="nope") == "Field 'nope' not found in data"
    assert "Unsupported chart type: pie" in await refused(client, id, chart="pie")
    assert "Location 'Oslo' not found" in await refused(client, id, location="Oslo")
    assert await refused(client, id, format="pdf") == "Unsupported format: pdf. Use json, png, svg, or html"
    assert '"colour"' in await refused(client, id, colour="red")
    assert "stands twice" in await refused(client, id, x=["a", "b"])
    assert "width" in await refused(client, id, width="wide")
    assert "width" in await refused(client, id, width="100000")


async def test_what_is_no_data_has_no_chart(client: httpx.AsyncClient) -> None:
    id = await stored(client, {"a": 1}, "x", "application/json")
    assert "there are charts of predictions, frames, backtests and charts" in await refused(client, id)
    reply = await client.get(f"{ARTIFACTS}/01K5T0V9G8ZJ8Q6N4X3B7RM2WD/$chart")
    assert reply.status_code == 404
    frame = await stored(client, HISTORY)
    reply = await client.get(
        f"{ARTIFACTS}/{frame}/$chart", params={"history": "01K5T0V9G8ZJ8Q6N4X3B7RM2WD", "chart": "fan"}
    )
    assert reply.status_code == 404
    torn = await stored(client, {"columns": ["a", "b"], "data": [[1]]})
    assert "is no frame" in await refused(client, torn)


async def test_a_client_that_has_a_chart_is_told_so(client: httpx.AsyncClient) -> None:
    url = f"{ARTIFACTS}/{await stored(client, HISTORY)}/$chart"
    first = await client.get(url, params={"format": "svg"})
    tag = first.headers["etag"]
    again = await client.get(url, params={"format": "svg"}, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for params in ({"format": "png"}, {"format": "svg", "title": "T"}):
        reply = await client.get(url, params=params, headers={"if-none-match": tag})
        assert reply.status_code == 200
    same = f"{ARTIFACTS}/{await stored(client, HISTORY)}/$chart"
    assert (await client.get(same, params={"format": "svg"})).headers["etag"] == tag


async def test_a_chart_is_kept_below_its_data(client: httpx.AsyncClient) -> None:
    id, history = await stored(client, FORECAST, "ml_prediction"), await stored(client, HISTORY)
    params = {"history": history, "target": "disease_cases", "title": "Three places"}
    reply = await client.post(f"{ARTIFACTS}/{id}/$chart", params=params)
    assert reply.status_code == 201, reply.text
    made = reply.json()
    assert reply.headers["location"].endswith(f"{ARTIFACTS}/{made['id']}")
    assert reply.headers["location"].startswith("http://")
    assert (made["parent_id"], made["level"], made["parents"]) == (id, 1, [id, history])
    assert sorted(made["inputs"]) == sorted([id, history])
    assert "signature" not in made
    data = made["data"]
    assert (data["type"], data["content_type"]) == ("vega_chart", "application/vnd.vegalite.v5+json")
    about = data["metadata"]
    assert (about["chart"], about["artifact_id"], about["spec_version"], about["params"]) == ("fan", id, "5", params)
    assert data["content"]["title"] == "Three places"
    assert about["description"] == data["content"]["description"]
    assert (await spec_of(client, made["id"])) == data["content"]
    picture = await client.get(f"{ARTIFACTS}/{made['id']}/$chart", params={"format": "svg"})
    assert ">Three places</text>" in picture.text
    tree = (await client.get(f"{ARTIFACTS}/{id}/$tree")).json()
    assert [child["id"] for child in tree["children"]] == [made["id"]]
    assert (await client.post(f"{ARTIFACTS}/{id}/$chart", params={"format": "svg"})).status_code == 400


@pytest.mark.parametrize(
    "content, said",
    [
        ({"data": {"url": "https://example.org/x.csv"}, "mark": "bar"}, '"data.url" is refused'),
        ({"mark": "bar", "transform": [{"calculate": "1", "as": "x"}]}, "expressions are not run"),
        ({"mark": "bar", "encoding": {"href": {"value": "javascript:alert(1)"}}}, '"encoding.href" is refused'),
        ([], "no JSON object"),
    ],
)
async def test_a_stored_spec_of_somebody_is_refused_when_it_does_more_than_show(
    client: httpx.AsyncClient, content: Any, said: str
) -> None:
    id = await stored(client, content, "vega_chart", "application/vnd.vegalite.v5+json")
    for format in ("json", "svg", "html"):
        assert said in await refused(client, id, format=format)


async def test_the_death_of_what_draws_is_one_error(client: httpx.AsyncClient) -> None:
    url = f"{ARTIFACTS}/{await stored(client, HISTORY)}/$chart"
    assert (await client.get(url, params={"format": "svg"})).status_code == 200
    heavy = {"data": {"sequence": {"start": 0, "stop": 3_000_000}}, "mark": "point", "encoding": {}}
    slow = await stored(client, heavy, "vega_chart", "application/vnd.vegalite.v5+json")
    asking = asyncio.create_task(client.get(f"{ARTIFACTS}/{slow}/$chart", params={"format": "svg"}))
    await asyncio.sleep(0.5)
    renderer = client.app.running.charts._renderer  # type: ignore[attr-defined]
    os.kill(renderer.pid, signal.SIGKILL)
    reply = await asking
    assert (reply.status_code, reply.headers["content-type"]) == (503, "application/problem+json")
    assert "the next request starts another one" in reply.json()["detail"]
    assert (await client.get(url, params={"format": "svg"})).status_code == 200
