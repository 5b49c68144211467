"""Static apps over HTTP: beneath every route, beside nothing but their own files."""

import gzip
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from domain.apps import StaticApp
from domain.registration import ServiceInfo
from infra.apps.files import PIECE_BYTES, LocalFiles
from infra.apps.find import find_app
from service.builder import ServiceBuilder
from service.http.application import Service
from service.http.apps import StaticApps
from tests.infra.apps.folders import make_app
from tests.sample import serving, settings

GZIPPED = gzip.compress(b"b {}", mtime=0)
LARGE = bytes(range(256)) * (PIECE_BYTES // 100)
FILES: dict[str, str | bytes] = {
    "start.html": "<h1>Start</h1>",
    "app.3f9c2b1a.js": "let a = 1;",
    "style.css": "b {}",
    "style.css.gz": GZIPPED,
    "style.css.br": b"brotli",
    "empty.txt": b"",
    "large.bin": LARGE,
    ".env": "secret",
    "sub/index.html": "<h1>Sub</h1>",
    "sub/ä ö.txt": "umlauts",
    "plain/file.txt": "no index here",
    "api/v1/nope": "never",
    "api/index.html": "never",
    "own": "never",
    "docs/guide.html": "<h1>Guide</h1>",
}


@get("/own")
async def own() -> str:
    return "own"


@get("/own/{name:str}")
async def own_named(name: FromPath[str]) -> str:
    return name


def service(*apps: StaticApp, routes: tuple[HTTPRouteHandler, ...] = ()) -> Service:
    builder = ServiceBuilder(info=ServiceInfo(id="sample", display_name="Sample")).with_health().with_system()
    for route in routes:
        builder.include_router(route)
    built = builder.build(settings())
    built.apps = StaticApps(apps)
    return built


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("apps")
    (top / "secret.txt").write_text("secret")
    folder = make_app(top / "console", FILES, entry="start.html")
    (folder / "outside.txt").symlink_to(top / "secret.txt")
    return folder


@pytest.fixture(scope="module")
async def client(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = service(find_app(folder), find_app(folder, "/"), routes=(own, own_named))
    async with serving(app) as client:
        yield client


async def test_a_prefix_leads_to_the_entry(client: httpx.AsyncClient) -> None:
    reply = await client.get("/console?a=1")
    assert (reply.status_code, reply.headers["location"]) == (307, "/console/?a=1")
    for path in ("/console/", "/"):
        reply = await client.get(path)
        assert (reply.status_code, reply.text) == (200, "<h1>Start</h1>")
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/none"])
async def test_a_status_is_logged_as_a_number(folder: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = service(find_app(folder))
    app.is_logging_requests = True
    async with serving(app) as client:
        with caplog.at_level(logging.INFO, logger="millrace.access"):
            reply = await client.get(path)
    [status] = [record.__dict__["status_code"] for record in caplog.records if record.name == "millrace.access"]
    assert repr(status) == str(reply.status_code)


async def test_a_file_says_what_it_is(client: httpx.AsyncClient) -> None:
    reply = await client.get("/console/app.3f9c2b1a.js")
    assert reply.text == "let a = 1;"
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-length"] == "10"
    assert reply.headers["accept-ranges"] == "bytes"
    assert "vary" not in reply.headers
    assert reply.headers["x-request-id"]


async def test_a_folder_answers_with_its_index_and_is_never_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/console/sub")).headers["location"] == "/console/sub/"
    assert (await client.get("/sub")).headers["location"] == "/sub/"
    assert (await client.get("/console/sub/")).text == "<h1>Sub</h1>"
    assert (await client.get("/console/sub/ä ö.txt")).text == "umlauts"
    for path in ("/console/plain", "/console/plain/"):
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/console/empty.txt", "/console/large.bin", "/console", "/console/nope", "/health"])
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    head, got = await client.head(path), await client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for headers in (head.headers, got.headers):
        del headers["x-request-id"]
    if got.status_code != 404:
        assert head.headers == got.headers
    assert (await client.get("/console/empty.txt")).content == b""


async def test_a_known_representation_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/console/style.css", headers={"accept-encoding": "identity"})
    for headers, status in (
        ({"if-none-match": first.headers["etag"]}, 304),
        ({"if-none-match": f'"x", W/{first.headers["etag"]}'}, 304),
        ({"if-none-match": '"x"', "if-modified-since": first.headers["last-modified"]}, 200),
        ({"if-modified-since": first.headers["last-modified"]}, 304),
        ({"if-modified-since": "Tue, 14 Nov 2000 22:13:20 GMT"}, 200),
        ({"if-modified-since": "rubbish"}, 200),
    ):
        reply = await client.get("/console/style.css", headers={"accept-encoding": "identity", **headers})
        assert reply.status_code == status
        if status == 304:
            assert reply.content == b""
            for name in ("etag", "cache-control", "last-modified", "vary"):
                assert reply.headers[name] == first.headers[name]


@pytest.mark.parametrize("accepted, content", [("br, gzip", b"brotli"), ("gzip", GZIPPED), ("identity", b"b {}")])
async def test_a_compressed_file_is_sent_to_who_takes_it(
    client: httpx.AsyncClient, accepted: str, content: bytes
) -> None:
    async with client.stream("GET", "/console/style.css", headers={"accept-encoding": accepted}) as reply:
        assert b"".join([piece async for piece in reply.aiter_raw()]) == content
    assert reply.headers.get("content-encoding", "identity") == accepted.split(",")[0]
    assert reply.headers["vary"] == "Accept-Encoding"
    assert reply.headers["content-type"] == "text/css; charset=utf-8"


async def test_each_encoding_has_a_tag_of_its_own(client: httpx.AsyncClient) -> None:
    tags = {
        (await client.head("/console/style.css", headers={"accept-encoding": name})).headers["etag"]
        for name in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


async def test_a_range_is_a_part_of_the_plain_file(client: httpx.AsyncClient) -> None:
    reply = await client.get("/console/style.css", headers={"range": "bytes=2-", "accept-encoding": "br"})
    assert (reply.status_code, reply.content) == (206, b"{}")
    assert reply.headers["content-range"] == "bytes 2-3/4"
    large = await client.get("/console/large.bin", headers={"range": f"bytes=10-{PIECE_BYTES + 20}"})
    assert large.content == LARGE[10 : PIECE_BYTES + 21]


async def test_a_range_of_an_older_file_is_all_of_the_new_one(client: httpx.AsyncClient) -> None:
    tag = (await client.head("/console/large.bin")).headers["etag"]
    for said, status in ((tag, 206), ('"old"', 200), ("Tue, 14 Nov 2000 22:13:20 GMT", 200)):
        reply = await client.get("/console/large.bin", headers={"range": "bytes=0-9", "if-range": said})
        assert reply.status_code == status


async def test_a_range_beyond_the_file_is_a_problem_that_names_its_size(client: httpx.AsyncClient) -> None:
    reply = await client.get("/console/style.css", headers={"range": "bytes=4-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */4")
    assert reply.json()["type"] == "urn:servicekit:error:range-not-satisfiable"
    assert reply.json()["detail"] == "/console/style.css has 4 bytes, none of them in Range: bytes=4-"


async def test_a_large_file_comes_whole(client: httpx.AsyncClient) -> None:
    assert (await client.get("/console/large.bin")).content == LARGE


@pytest.mark.parametrize(
    "path",
    [
        "/console/nope.js",
        "/console/../secret.txt",
        "/console/%2e%2e/secret.txt",
        "/console/..%2fsecret.txt",
        "/console/sub/%2e%2e/%2e%2e/secret.txt",
        "/console/..%5csecret.txt",
        "/console/outside.txt",
        "/console/.env",
        "/console/%2eenv",
        "/console/style.css%00",
        "/console/style.css/",
        "/console//style.css",
        "//secret.txt",
        "/console/%ff%fe",
        "/console/" + "a" * 300,
        "/api",
        "/api/",
        "/api/v1/nope",
        "/api/v1/unknown",
    ],
)
async def test_what_is_not_in_the_app_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(httpx.URL("http://sample.test", raw_path=path.encode()))
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")
    assert reply.json()["type"] == "urn:servicekit:error:not-found"


async def test_a_file_takes_no_other_method(client: httpx.AsyncClient) -> None:
    for path in ("/console/style.css", "/console", "/style.css"):
        refused = await client.post(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert refused.json()["type"] == "urn:servicekit:error:method-not-allowed"
        assert (await client.options(path)).status_code == 204
    assert (await client.post("/api/v1/unknown")).status_code == 404


async def test_routes_come_before_files(client: httpx.AsyncClient) -> None:
    assert (await client.get("/own")).text == "own"
    assert (await client.get("/own/x")).text == "x"
    assert (await client.post("/own")).headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await client.get("/health")).json()["status"] == "healthy"
    assert (await client.get("/api/v1/info")).json()["id"] == "sample"
    assert "swagger-ui" in (await client.get("/docs")).text
    assert (await client.get("/docs/guide.html")).text == "<h1>Guide</h1>"


async def test_a_route_that_is_added_later_wins_too(folder: Path) -> None:
    @get("/late")
    async def late() -> str:
        return "late"

    @get("/")
    async def start() -> str:
        return "mine"

    app = service(find_app(folder, "/"), routes=(start,))
    app.register(late)
    async with serving(app) as client:
        assert (await client.get("/late")).text == "late"
        assert (await client.get("/")).text == "mine"
        assert (await client.get("/style.css")).status_code == 200


async def test_the_root_leads_to_the_documentation_without_an_app_there(folder: Path) -> None:
    async with serving(service(find_app(folder))) as client:
        assert (await client.get("/")).headers["location"] == "/docs"


async def test_the_longest_prefix_answers(tmp_path: Path) -> None:
    apps = [
        find_app(make_app(tmp_path / name, {"who.txt": name, f"{name}.txt": ""}, prefix=prefix))
        for name, prefix in (("root", "/"), ("short", "/a"), ("long", "/a/b"))
    ]
    async with serving(service(*apps)) as client:
        for path, name in (("/who.txt", "root"), ("/a/who.txt", "short"), ("/a/b/who.txt", "long")):
            assert (await client.get(path)).text == name
        assert (await client.get("/a/root.txt")).status_code == 404
        assert (await client.get("/ab/who.txt")).status_code == 404


def test_the_later_of_two_apps_counts_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = (find_app(make_app(tmp_path / name), "/same") for name in ("one", "two"))
    with caplog.at_level(logging.WARNING):
        assert [info.name for info in StaticApps([one, two]).infos] == ["two"]
    assert "two apps have the prefix /same: two (" in caplog.text


async def test_a_service_below_a_path_redirects_below_it(folder: Path) -> None:
    transport = httpx.ASGITransport(app=service(find_app(folder)), root_path="/below")
    async with httpx.AsyncClient(transport=transport, base_url="http://sample.test") as client:
        assert (await client.get("/below/console")).headers["location"] == "/below/console/"
        assert (await client.get("/below/console/style.css")).text == "b {}"


async def test_a_changed_file_is_sent_as_it_is_now(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "one", {"a.txt": "first"})
    async with serving(service(find_app(folder))) as client:
        first = await client.get("/one/a.txt")
        (folder / "a.txt").write_text("second")
        second = await client.get("/one/a.txt", headers={"if-none-match": first.headers["etag"]})
        assert (second.status_code, second.text) == (200, "second")


async def test_a_file_that_never_stays_the_same_is_unavailable(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "one", {"large.bin": "large"})

    class Restless(LocalFiles):
        async def read(self, asset, start, stop):  # type: ignore[no-untyped-def]
            os.utime(folder / "large.bin", ns=(asset.stamp[0] + 10**9, asset.stamp[0] + 10**9))
            async for piece in super().read(asset, start, stop):
                yield piece

    found = find_app(folder)
    app = StaticApp(found.manifest, Restless(folder, largest=0), found.place)
    async with serving(service(app)) as client:
        reply = await client.get("/one/large.bin")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def test_a_file_that_breaks_off_breaks_the_connection(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "one", {"large.bin": LARGE})

    class Shrinking(LocalFiles):
        async def read(self, asset, start, stop):  # type: ignore[no-untyped-def]
            async for piece in super().read(asset, start, stop):
                yield piece
                os.truncate(folder / "large.bin", 10)

    found = find_app(folder)
    app = StaticApp(found.manifest, Shrinking(folder, largest=0), found.place)
    async with serving(service(app)) as client:
        with pytest.raises(RuntimeError, match="changed while it was sent"):
            await client.get("/one/large.bin")


PARTS = st.sampled_from([*"./\\%2e5c\0~:ä", "..", "secret.txt", "sub", "console", "%2e", "style.css"])


@given(st.lists(PARTS, max_size=12).map("".join))
@hypothesis_settings(suppress_health_check=list(HealthCheck), max_examples=200)
async def test_no_path_leads_out_of_an_app(client: httpx.AsyncClient, rest: str) -> None:
    for base in ("/console/", "/"):
        reply = await client.get(httpx.URL("http://sample.test", raw_path=(base + quote(rest, safe="/%.")).encode()))
        assert reply.status_code in {200, 307, 404}
        assert "secret" not in reply.text or reply.status_code == 404
