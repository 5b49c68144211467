"""The process that draws: what comes out of it, what it is kept from, and what happens when it ends."""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from domain.charts import Format
from domain.charts.requests import GenerateRequest
from domain.charts.safety import check_spec
from domain.charts.specs import generate_chart
from domain.errors import Invalid, Unavailable
from domain.frames import DataFrame
from infra.charts.renderer import Limits, VlConvertRenderer

EVIL = "</script><script>document.title='run'</script><img src='http://127.0.0.1:1/x.png'>"
SPEC: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "description": "Three bars.",
    "data": {"values": [{"a": "x", "b": 1}, {"a": "y", "b": 2}, {"a": EVIL, "b": 3}]},
    "mark": {"type": "bar", "tooltip": True},
    "encoding": {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}},
}
# Millions of marks keep anybody busy.
SLOW = {
    **SPEC,
    "data": {"sequence": {"start": 0, "stop": 3_000_000, "as": "b"}},
    "encoding": {"y": SPEC["encoding"]["y"]},
}


def encoded(spec: Any = SPEC) -> bytes:
    return json.dumps(spec).encode()


@pytest.fixture
async def renderer() -> AsyncIterator[VlConvertRenderer]:
    renderer = VlConvertRenderer(Limits(renders=50))
    yield renderer
    await renderer.close()


async def test_a_picture_has_the_marks_of_its_spec(renderer: VlConvertRenderer) -> None:
    assert renderer.pid is None, "nothing is started before it is needed"
    svg = (await renderer.render(encoded(), Format.SVG)).decode()
    assert len(re.findall(r'aria-roledescription="bar"', svg)) == 3
    assert "for a discrete scale with 3 values" in svg
    assert "<script" not in svg
    assert "<img" not in svg
    png = await renderer.render(encoded(), Format.PNG)
    assert png.startswith(b"\x89PNG")
    assert await renderer.render(encoded(), Format.JSON) == encoded()


async def test_the_process_is_another_one_after_some_renders() -> None:
    renderer = VlConvertRenderer(Limits(renders=2))
    pids = []
    for _ in range(4):
        asking = asyncio.create_task(renderer.render(encoded(), Format.SVG))
        pids.append(await started(renderer))
        await asking
    await renderer.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def started(renderer: VlConvertRenderer) -> int:
    async with asyncio.timeout(10):
        while (pid := renderer.pid) is None:  # noqa: ASYNC110 - nobody tells when a process begins
            await asyncio.sleep(0.005)
    return pid


async def test_its_death_is_one_error_and_the_next_request_is_answered(renderer: VlConvertRenderer) -> None:
    dying = asyncio.create_task(renderer.render(encoded(SLOW), Format.SVG))
    waiting = asyncio.create_task(renderer.render(encoded(), Format.SVG))
    pid = await started(renderer)
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="the next request starts another one"):
        await dying
    assert b"<svg" in await waiting
    assert renderer.pid != pid


async def test_its_death_while_nobody_waits_is_noticed_by_nobody(renderer: VlConvertRenderer) -> None:
    await renderer.render(encoded(), Format.SVG)
    assert renderer.pid is not None
    os.kill(renderer.pid, signal.SIGKILL)
    await asyncio.sleep(0.2)
    assert b"<svg" in await renderer.render(encoded(), Format.SVG)


@pytest.mark.parametrize(
    "limits, said", [(Limits(seconds=1), "more than 1 seconds"), (Limits(memory_mib=90), "more than 90 MiB")]
)
async def test_what_takes_too_much_is_ended(limits: Limits, said: str) -> None:
    renderer = VlConvertRenderer(limits)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=said):
        await renderer.render(encoded(SLOW), Format.SVG)
    assert time.monotonic() - began < 10
    assert renderer.pid is None
    await renderer.close()


async def test_the_event_loop_goes_on_while_something_is_drawn(renderer: VlConvertRenderer) -> None:
    drawing = asyncio.create_task(renderer.render(encoded(), Format.HTML))
    longest, last = 0.0, time.monotonic()
    while not drawing.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    await drawing
    assert longest < 0.5


async def test_what_cannot_be_drawn_is_said_in_a_line(renderer: VlConvertRenderer) -> None:
    for spec in ({"mark": "zzz"}, []):
        with pytest.raises(Invalid, match=r"^The chart cannot be drawn: [^\n]+$"):
            await renderer.render(encoded(spec), Format.SVG)
    pid = renderer.pid
    assert b"<svg" in await renderer.render(encoded(), Format.SVG)
    assert renderer.pid == pid, "a bad spec is no reason to end"


async def test_nobody_is_called_from_a_picture(renderer: VlConvertRenderer) -> None:
    # The domain refuses such specs; this is what holds if one comes through.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.3)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        for spec in (
            {**SPEC, "data": {"url": f"{url}.json"}},
            {**SPEC, "mark": "image", "encoding": {**SPEC["encoding"], "url": {"value": f"{url}.png"}}},
        ):
            for format in (Format.SVG, Format.PNG):
                with suppress(Invalid):
                    await renderer.render(encoded(spec), format)
        with pytest.raises(TimeoutError):
            listener.accept()


async def test_too_many_who_wait_are_sent_away() -> None:
    renderer = VlConvertRenderer(Limits(waiting=2))
    asking = [asyncio.create_task(renderer.render(encoded(), Format.SVG)) for _ in range(3)]
    results = await asyncio.gather(*asking, return_exceptions=True)
    await renderer.close()
    assert [isinstance(result, bytes) for result in results] == [True, True, False]
    with pytest.raises(Unavailable, match="stopping"):
        await renderer.render(encoded(), Format.SVG)


async def test_somebody_who_gives_up_leaves_nothing_for_the_next(renderer: VlConvertRenderer) -> None:
    asking = asyncio.create_task(renderer.render(encoded(SLOW), Format.SVG))
    await started(renderer)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await renderer.render(encoded(), Format.PNG)).startswith(b"\x89PNG")


async def test_without_what_draws_the_grammar_is_still_there(
    renderer: VlConvertRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "vl_convert" else find(name, *more)
    )
    assert await renderer.render(encoded(), Format.JSON) == encoded()
    with pytest.raises(Unavailable, match=re.escape("pip install 'millrace[charts]'")):
        await renderer.render(encoded(), Format.SVG)


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="NO BROWSER: the page of a chart was not looked at; install chromium")
async def test_a_browser_shows_the_page_without_a_request_or_an_error(
    renderer: VlConvertRenderer, tmp_path: Path
) -> None:
    file = tmp_path / "chart.html"
    file.write_bytes(await renderer.render(encoded({**SPEC, "title": EVIL}), Format.HTML))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    browser = await asyncio.create_subprocess_exec(
        str(BROWSER),
        *options,
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}",
        file.as_uri(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        page, log = (part.decode() for part in await browser.communicate())
    assert len(re.findall(r'aria-roledescription="bar"', page)) == 3
    assert "<figcaption>Three bars.</figcaption>" in page
    assert "<title>run</title>" not in page
    assert "CONSOLE" not in log, log


ORPHAN = """
import asyncio, sys
from domain.charts import Format
from infra.charts.renderer import VlConvertRenderer
async def live():
    renderer = VlConvertRenderer()
    await renderer.render(sys.argv[1].encode(), Format.SVG)
    print(renderer.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(live())
"""


async def test_it_ends_with_a_service_that_is_killed() -> None:
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, json.dumps(SPEC), stdout=subprocess.PIPE
    )
    assert service.stdout is not None
    async with asyncio.timeout(30):
        pid = int(await service.stdout.readline())
    service.kill()
    await service.wait()
    async with asyncio.timeout(10):
        while _is_drawing(pid):  # noqa: ASYNC110 - it is nobody's child any more, so there is nothing to wait for
            await asyncio.sleep(0.05)


def _is_drawing(pid: int) -> bool:
    try:
        return b"infra.charts" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("name", ["a\\", "a\\\": now(), 'b", "a\nb", "a\u2028b", "a.b[0]", "it's", 'a"b'])
async def test_a_strange_name_is_a_title_and_no_part_of_an_expression(renderer: VlConvertRenderer, name: str) -> None:
    frame = DataFrame(["month", name], [["a", 1], ["b", 30]])
    for aggregate in (None, "mean"):
        request = GenerateRequest(data=frame, chart_type="bar", x_field="month", y_field=name, aggregate=aggregate)
        spec = generate_chart(request).spec
        check_spec(spec, len(encoded(spec)))
        svg = (await renderer.render(encoded(spec), Format.SVG)).decode()
        assert svg.count('aria-roledescription="bar"') == 2
        assert ("Mean of " in svg) == (aggregate is not None)


def test_a_stored_title_that_would_be_an_expression_is_refused() -> None:
    spec = {**SPEC, "encoding": {"x": {"field": "a", "title": '\\": now() + "'}}}
    with pytest.raises(Invalid, match=r"encoding\.x\.title"):
        check_spec(spec, 100)
