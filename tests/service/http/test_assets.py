"""Media types, names that hold a hash, encodings a client takes, and ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.assets import FOREVER, REVALIDATED, accepted_encodings, caching, is_fingerprinted, media_type
from service.http.ranges import Unsatisfiable, http_date, is_same, parse_range, seconds_of


@pytest.mark.parametrize(
    "name, expected",
    [
        ("index.html", "text/html; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("data.json", "application/json"),
        ("app.js.map", "application/json"),
        ("x.wasm", "application/wasm"),
        ("x.woff2", "font/woff2"),
        ("x.svg", "image/svg+xml"),
        ("x.PNG", "image/png"),
        ("x.webmanifest", "application/manifest+json"),
        ("app.js.gz", "application/gzip"),
        ("app.js.br", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
        ("x.unheard", "application/octet-stream"),
    ],
)
def test_the_media_type_is_that_of_the_name(name: str, expected: str) -> None:
    assert media_type(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "app.3f9c2b1a.js",
        "app-3f9c2b1a.min.css",
        "app.3f9c2b1a.js.map",
        "index-BxY3k9Zq.js",
        "chunk-5UIYQWWO.js",
        "main.k3j9x2ab.js",
        "3f9c2b1ad4e5f6a70123.woff2",
    ],
)
def test_a_name_with_a_hash_may_be_kept_for_ever(name: str) -> None:
    assert caching(name) == FOREVER == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "app.js",
        "my-document.js",
        "my-Document2024.js",
        "report-20240101.csv",
        "report-2024-01-01T120000.csv",
        "jquery-3.7.1.min.js",
        "swagger-ui-bundle.js",
        "chart.MyReport2024.js",
        "a.CHANGELOG.txt",
        "a.CHANGELOG2.txt",
        "app.3f9c2b1.js",
        "index.3f9c2b1a.html",
        "3f9c2b1a.js",
    ],
)
def test_any_other_name_is_asked_for_again(name: str) -> None:
    assert not is_fingerprinted(name)
    assert caching(name) == REVALIDATED == "no-cache"


@pytest.mark.parametrize(
    "accepted, encodings",
    [
        (None, []),
        ("", []),
        ("gzip", ["gzip"]),
        ("gzip, deflate, br, zstd", ["br", "gzip"]),
        ("br;q=0.5, GZIP;q=0.8", ["gzip", "br"]),
        ("br;q=0, *", ["gzip"]),
        ("identity;q=1, *;q=0", []),
        ("gzip;q=x", []),
        ("gzip;level=9", ["gzip"]),
    ],
)
def test_the_encodings_that_a_client_takes(accepted: str | None, encodings: list[str]) -> None:
    assert accepted_encodings(accepted) == encodings


@pytest.mark.parametrize(
    "text, part",
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=0-999", (0, 10)),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=3-1", None),
        ("lines=1-2", None),
        ("bytes=1-" + "9" * 30, None),
    ],
)
def test_a_range_is_a_part_of_the_bytes(text: str | None, part: tuple[int, int] | None) -> None:
    assert parse_range(text, 10) == part


@pytest.mark.parametrize("text, size", [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_without_a_byte_cannot_be_satisfied(text: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(text, size)


@given(st.text(alphabet="bytes=-0123456789, "), st.integers(0, 100))
def test_a_range_never_leaves_the_file(text: str, size: int) -> None:
    try:
        start, stop = parse_range(f"bytes={text}", size) or (0, size)
    except Unsatisfiable:
        return
    assert 0 <= start <= stop <= size


def test_if_range_compares_strongly() -> None:
    date = http_date(1_700_000_000)
    assert date == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert is_same(None, '"a"', 0)
    assert is_same('"a"', '"a"', 0)
    assert is_same(date, '"a"', 1_700_000_000)
    assert not is_same('W/"a"', '"a"', 0)
    assert not is_same(date, '"a"', 1_700_000_001)
    assert not is_same("rubbish", '"a"', 0)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT"])
def test_what_is_no_date_is_none(date: str | None) -> None:
    assert seconds_of(date) is None
