"""The visualization service over HTTP: what existing clients send is answered as they know it, and gaps are closed."""

import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from tests.domain.charts import grammar
from tests.sample import serving, settings

PATH = "/api/v1/visualizations"
RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "domain" / "charts" / "exchanges.json").read_text())
"""Exchanges with an existing service; its specs come without what its library adds of its own."""
BETTER = {
    "missing_color": "Color field 'nope' not found in data; there are: m, s, g",
    "bad_agg": "Unsupported aggregate: bogus. Use ",
    "agg_bad_func": "Unsupported aggregation function: bogus. Use mean, sum, count, median, min, max",
    "agg_empty_group": "group_by names no field; there are: m, s, g",
}
"""What was accepted or an error of the server there is a clear refusal here."""
FRAME = {"columns": ["m", "s", "g"], "data": [["Jan", 100, "a"], ["Feb", 150, "b"], ["Jan", 50, "a"]]}


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    builder = ServiceBuilder(info=ServiceInfo(id="charts", display_name="Charts")).with_charts()
    async with serving(builder.build(settings())) as client:
        yield client


def as_known(spec: Any) -> Any:
    """A spec as the existing service's library writes it: marks as objects, its own schema; without what is new."""
    mark = spec["mark"]
    known = {name: member for name, member in spec.items() if name != "description"}
    return {**known, "mark": {"type": mark} if isinstance(mark, str) else mark, "$schema": "v5"}


@pytest.mark.parametrize("name", RECORDED)
async def test_what_clients_send_is_answered_as_they_know_it(client: httpx.AsyncClient, name: str) -> None:
    known = RECORDED[name]
    reply = await client.post(f"{PATH}/{known['path']}", json=known["request"])
    if name in BETTER:
        assert reply.status_code == 400
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["detail"].startswith(BETTER[name])
        return
    assert reply.status_code == known["status"], reply.text
    if reply.status_code != 200:
        assert reply.status_code == 422 or reply.json()["detail"] == known["body"]["detail"]
        return
    assert reply.headers["content-type"] == known["content_type"]
    if "body" in known:
        found = reply.json()
        assert found["spec"]["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json"
        assert found["spec"]["description"]
        grammar.check(found["spec"])
        spec = {**known["body"]["spec"], "$schema": "v5"}
        assert as_known(found["spec"]) == spec
        assert (found["row_count"], found["columns"]) == (known["body"]["row_count"], known["body"]["columns"])


@pytest.mark.parametrize("kind, mark", [("heatmap", "rect"), ("histogram", "bar")])
async def test_two_marks_are_bare_names(client: httpx.AsyncClient, kind: str, mark: str) -> None:
    body = {"data": FRAME, "chart_type": kind, "x_field": "m", "y_field": "s"}
    assert (await client.post(f"{PATH}/$generate", json=body)).json()["spec"]["mark"] == mark


async def test_no_data_is_a_chart_without_any(client: httpx.AsyncClient) -> None:
    body = {"data": {"columns": [], "data": []}, "chart_type": "line"}
    found = (await client.post(f"{PATH}/$generate", json=body)).json()
    assert (found["row_count"], found["columns"], found["spec"]["encoding"]) == (0, [], {})
    assert found["spec"]["description"] == "Line chart. There is no data."


async def test_a_picture_shows_what_the_spec_says(client: httpx.AsyncClient) -> None:
    body = {"data": FRAME, "chart_type": "bar", "x_field": "m", "y_field": "s", "aggregate": "sum", "title": "Sums"}
    reply = await client.post(f"{PATH}/$generate", json={**body, "format": "svg"})
    assert len(re.findall(r'aria-roledescription="bar"', reply.text)) == 2
    assert 'aria-label="Sum of s: 150; m: Feb"' in reply.text or "150" in reply.text
    assert ">Sums</text>" in reply.text
    assert "sandbox" in reply.headers["content-security-policy"]
    reply = await client.post(f"{PATH}/$generate", json={**body, "format": "png", "width": 300, "height": 200})
    assert reply.content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack("!II", reply.content[16:24])
    # Twice the size, and what is around the axes.
    assert 600 <= width <= 800
    assert 400 <= height <= 600


@pytest.mark.parametrize(
    "change, status, said",
    [
        ({"width": 100_000}, 422, "width"),
        ({"height": 0}, 422, "height"),
        ({"title": "x" * 2_000}, 422, "title"),
        ({"data": {"columns": ["m", "s"], "data": [["a", 1]] * 50_001}}, 422, "50,001 rows"),
        ({"data": {"columns": ["m", "s"], "data": [["a"]]}}, 422, "row 0 has 1 cells instead of 2"),
        ({"chart_type": 1}, 422, "chart_type"),
        ({"data": {"columns": ["m", "s"], "data": [["x" * 34_000_000, 1]]}}, 413, ""),
    ],
)
async def test_what_is_too_much_is_refused(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, said: str
) -> None:
    body = {"data": FRAME, "chart_type": "bar", "x_field": "m", "y_field": "s", **change}
    reply = await client.post(f"{PATH}/$generate", json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert said in reply.text


async def test_hostile_names_and_texts_are_only_shown(client: httpx.AsyncClient) -> None:
    names = ["a.b[0]", 'it\'s "quoted"', "</script><script>alert(1)</script>", "__proto__", "datum['x']"]
    frame = {"columns": names, "data": [["<img src=x onerror=alert(1)>", 2, 3, 4, 5]]}
    for name in names[1:]:
        body = {"data": frame, "chart_type": "bar", "x_field": names[0], "y_field": name, "title": names[2]}
        reply = (await client.post(f"{PATH}/$generate", json=body)).json()
        grammar.check(reply["spec"])
        picture = (await client.post(f"{PATH}/$generate", json={**body, "format": "svg"})).text
        assert len(re.findall(r'aria-roledescription="bar"', picture)) == 1
        assert "<script" not in picture
        assert "<img" not in picture
    page = (await client.post(f"{PATH}/$generate", json={**body, "format": "html"})).text
    assert "<script>alert(1)" not in page
    # The library knows how to show pictures; the policy of the page lets none in.
    assert "<img src=x" not in page
    assert "default-src 'none'" in page
