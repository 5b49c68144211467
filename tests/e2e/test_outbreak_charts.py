"""The page of charts of the example: what it is made of, what it shows, and what it says when there is nothing yet."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.test_outbreak import EXAMPLES, get
from tests.processes import Serving, serving

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="NO BROWSER: the page of charts was not looked at; install chromium"
)
DISTRICTS = ["Asmara", "Barentu", "Keren", "Massawa", "Mendefera", "Teseney"]
FILES = {
    "": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "service.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The example, once all of its first pipeline is done."""
    with serving(str(EXAMPLES / "outbreak" / "main.py"), folder=tmp_path_factory.mktemp("outbreak")) as service:
        service.wait_for("the same by hand")
        yield service


def told(service: Serving) -> Any:
    """What the pipeline has left."""
    [job] = get(service, "jobs", kind="ml.pipeline")
    return get(service, f"jobs/{job['id']}/$result")


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_the_page_and_what_belongs_to_it_are_served(service: Serving, name: str, kind: str) -> None:
    reply = service.http.get(f"/charts/{name}")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == kind
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    again = service.http.get(f"/charts/{name}", headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304


def test_nothing_of_the_page_is_elsewhere() -> None:
    for path in (EXAMPLES / "outbreak" / "charts").iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[a-z][\w./-]*", path.read_text()))
        assert {address for address in addresses if address.startswith(("http", "//www"))} <= {
            "http://www.w3.org/2000/svg"
        }, path


@pytest.mark.parametrize("district", DISTRICTS)
def test_there_is_a_fan_of_each_district(service: Serving, district: str) -> None:
    left = told(service)
    asked = {"chart": "fan", "location": district, "target": "disease_cases", "history": left["observations_id"]}
    path = f"artifacts/{left['forecast_id']}/$chart"
    assert f"for 1 location ({district})" in get(service, path, **asked)["description"]
    reply = service.http.get(f"/api/v1/{path}", params={**asked, "format": "svg"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/svg+xml")
    assert reply.text.count('aria-roledescription="area mark"') == 3


@pytest.mark.parametrize("chart", ["fan", "choropleth", "skill", "calibration"])
def test_the_charts_of_the_pipeline_are_kept(service: Serving, chart: str) -> None:
    path = f"artifacts/{told(service)['charts'][chart]}/$chart"
    assert len(get(service, path)["description"]) > 100
    reply = service.http.get(f"/api/v1/{path}", params={"format": "svg"})
    assert reply.status_code == 200
    assert reply.text.startswith("<svg")


def test_the_picture_of_the_readme_can_be_drawn_again(service: Serving, tmp_path: Path) -> None:
    script = str(EXAMPLES / "outbreak" / "picture.py")
    subprocess.run([sys.executable, script, service.url, "forecast.svg"], cwd=tmp_path, check=True)
    drawn = (tmp_path / "forecast.svg").read_text()
    kept = (EXAMPLES.parent / "docs" / "images" / "forecast.svg").read_text()
    assert len(kept) < 150_000
    # Digits behind the point may differ between machines; what there is to see does not.
    assert re.sub(r"[-\d.,]+", "", drawn) == re.sub(r"[-\d.,]+", "", kept)


# In a browser


class Page(HTMLParser):
    """What somebody who cannot see the page is told of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids |= {value for name, value in attrs if name == "id" and value is not None}

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a kind."""
        return [given for name, given in self.tags if name == tag]


def opened(url: str, folder: Path) -> tuple[str, str]:
    """A page as a browser has it when everything is there, and what was said to its console."""
    arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    browser = subprocess.run(
        [str(BROWSER), *arguments, f"--user-data-dir={folder / 'profile'}", url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return browser.stdout, "\n".join(line for line in browser.stderr.splitlines() if "CONSOLE" in line)


@needs_browser
def test_a_browser_shows_all_charts_in_words_too(service: Serving, tmp_path: Path) -> None:
    text, console = opened(f"{service.url}/charts/", tmp_path)
    assert console == ""
    assert 'data-state="done"' in text
    page = Page(text)
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    figures, pictures = page.all("figure"), page.all("svg")
    assert len(figures) == len(pictures) == len(DISTRICTS) + 3
    for given in (*figures, *pictures):
        assert given["aria-labelledby"] in page.ids
    for given in pictures:
        assert given["role"] == "img"
        assert given["aria-describedby"] in page.ids
    captions = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", text, re.DOTALL)
    assert all(len(caption) > 60 for caption in captions)
    assert "could not be drawn" not in text
    rows = re.findall(r'<th scope="row">(.*?)</th>', text)
    assert [row for row in rows if "champion" in row] == ["★ regression (champion)"]
    assert {"seasonal", "ensemble", "seasonal_naive (baseline)"} < set(rows)
    assert len(page.all("option")) == 12


@needs_browser
def test_a_browser_says_what_is_going_on_meanwhile(tmp_path: Path) -> None:
    main = str(EXAMPLES / "outbreak" / "main.py")
    with serving(main, folder=tmp_path, variables={"MILLRACE_WORKER": "false"}) as service:
        text, console = opened(f"{service.url}/charts/", tmp_path)
        assert console == ""
        assert "Models are being trained and tried. The data is being fetched." in text
        assert 'data-state="waiting"' in text
        assert not Page(text).all("figure")


@needs_browser
def test_a_browser_says_what_is_wrong_and_offers_to_try_again(tmp_path: Path) -> None:
    files = partial(SimpleHTTPRequestHandler, directory=str(EXAMPLES / "outbreak"))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            text, _ = opened(f"http://127.0.0.1:{server.server_port}/charts/", tmp_path)
        finally:
            server.shutdown()
            thread.join()
    assert "The service answered 404 for jobs?kind=ml.pipeline" in text
    assert '<button type="button">Try again</button>' in text
    assert 'data-state="failed"' in text
