"""What charts promise: a spec of many rows in a moment, and pictures as quickly as what draws them can."""

import time
from collections.abc import Sequence
from statistics import median

import msgspec

from bench.budgets import CHART_PICTURES, CHART_SPEC
from bench.holding import hold
from bench.results import Figure
from domain.charts import Chart, Format, GenerateRequest, generate_chart
from infra.charts.renderer import VlConvertRenderer

ROWS, ROUNDS, PICTURES = 10_000, 7, 20


def body(rows: int) -> bytes:
    """A request for a chart of many rows."""
    data = [[f"2024-{row % 12 + 1:02}", row % 97 + 0.5, f"location_{row % 20}"] for row in range(rows)]
    frame = {"columns": ["time_period", "cases", "location"], "data": data}
    asked = {"chart_type": "line", "x_field": "time_period", "y_field": "cases", "color_field": "location"}
    return msgspec.json.encode({"data": frame, **asked})


def made(content: bytes) -> Chart:
    return generate_chart(msgspec.json.decode(content, type=GenerateRequest))


async def test_a_spec_of_ten_thousand_rows_takes_a_moment() -> None:
    content = body(ROWS)

    async def measure() -> Sequence[Figure]:
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            spec = msgspec.json.encode(made(content).spec)
            taken.append(time.perf_counter() - began)
        return [Figure(CHART_SPEC, median(taken) * 1000, f"{len(spec) / 1024:,.0f} KiB, from JSON to JSON")]

    await hold(measure)


async def test_pictures_are_drawn_one_after_the_other() -> None:
    spec = msgspec.json.encode(made(body(100)).spec)

    async def measure() -> Sequence[Figure]:
        renderer = VlConvertRenderer()
        began = time.perf_counter()
        await renderer.render(spec, Format.SVG)
        first = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(PICTURES):
            await renderer.render(spec, Format.SVG)
        rate = PICTURES / (time.perf_counter() - began)
        await renderer.close()
        return [Figure(CHART_PICTURES, rate, f"svg of 100 rows; the first, with its process, {first:.1f} s")]

    await hold(measure)
