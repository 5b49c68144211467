"""Every Python block and every command of README.md and docs/*.md is executed, and does what the page says.

How pages are read, from top to bottom, each in an empty folder:

- A `python` block that begins with `# name.py` is that file: it is saved and executed (`test_….py` is only saved; a
  command on the page runs it). A block without a name is a fragment: it is executed in the namespace of the latest file
  on the page, after the fragments before it, and may use `await`.
- A `bash` block is executed by bash and must succeed. `millrace serve FILE` or `make run`, alone in a block, starts a
  service for the rest of the page; without one, http://127.0.0.1:8000 is the example service with its users. No request
  may answer 5xx, and what answers 4xx is followed by a block that shows the status. Commands that are only shown are in
  `SHOWN_ONLY`, with who runs them. A block that only reads (GET by curl, `millrace jobs show`) is repeated for some
  seconds until it says what the page shows: jobs take their time.
- `millrace worker FILE`, alone in a block, starts a worker beside the service, whose process id is `$WORKER`. `export
  NAME=value` lines, alone in a block, count for all that is started afterwards; the servers in `SERVERS` are replaced
  by real ones. `$JOB` is the latest `job_id` that was answered, `$GRAPH` the latest `graph_id` or what was
  made, `$SCHEDULE` and `$CONFIG` the latest that was made; `$ARTIFACT` is either the latest `artifact_id` that came
  with a job, or what was made.
- The `json`, `http` or `text` block behind a `bash` block is what the commands print. JSON is compared by structure and
  exactly, but `"…"` as a value stands for any value, `…` inside of a text for any characters, `"…"` as the last item of
  a list for any further items, and the member `"…": "…"` for any further members. `http` shows the status line, the
  headers that matter, in any order, and the body if that matters. In `text`, `…` stands for any characters, and as a
  line for any lines.
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.house.comparing import differs, reply_differs, text_differs
from tests.house.pages import PAGES, ROOT, SERVERS, SHOWN_ONLY, Reader, blocks

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture(autouse=True)
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder a page is followed in; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.chdir(tmp_path)
    ours = ("DATABASE_URL", "REDIS_URL", "MILLRACE_", "LOG_")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def follow(reader: Reader) -> None:
    try:
        reader.follow()
    finally:
        reader.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_does_what_it_says(name: str, page_folder: Path, request: pytest.FixtureRequest) -> None:
    text = (ROOT / name).read_text()
    servers = {url: request.getfixturevalue(fixture) for url, fixture in SERVERS.items() if f"={url}\n" in text}
    follow(Reader(ROOT / name, page_folder, servers=servers))


@pytest.mark.parametrize(
    "name",
    [f"docs/{name}.md" for name in ("queries", "http", "bulk", "idempotency", "errors", "tasks", "schedules")],
)
def test_a_page_about_requests_holds_on_postgresql_too(name: str, page_folder: Path, postgres_url: str) -> None:
    follow(Reader(ROOT / name, page_folder, {"DATABASE_URL": postgres_url}))


@pytest.mark.parametrize("name", ["docs/queries.md", "docs/http.md", "docs/idempotency.md", "docs/errors.md"])
def test_pages_can_be_followed_on_a_machine_without_curl(name: str, page_folder: Path) -> None:
    follow(Reader(ROOT / name, page_folder, has_curl=False))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_as_a_reply_stands_behind_a_command(name: str) -> None:
    before = ""
    for block in blocks(ROOT / name):
        assert block.language in {"python", "bash", "json", "http", "text"}, f"{name}:{block.line}"
        if block.language in {"json", "http"}:
            assert before == "bash", f"{name}:{block.line}"
        before = block.language


def test_what_is_only_shown_is_shown() -> None:
    lines = {
        line for page in PAGES for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()
    }
    assert SHOWN_ONLY.keys() <= lines


@pytest.mark.parametrize(
    "shown, found",
    [
        ('{"a": 1}', {"a": 2}),
        ('{"a": 1}', {"a": True}),
        ('{"a": null}', {"a": False}),
        ('{"a": 1}', {"a": 1, "b": 2}),
        ('{"a": 1, "…": "…"}', {"b": 2}),
        ('["a"]', ["a", "b"]),
        ('["a", "b", "…"]', ["a"]),
        ('"0…Z"', "0:00"),
    ],
)
def test_a_difference_is_found(shown: str, found: object) -> None:
    assert differs(json.loads(shown), found)


@pytest.mark.parametrize(
    "shown, found",
    [
        ('{"a": "…"}', {"a": None}),
        ('{"a": 1, "…": "…"}', {"a": 1, "b": 2}),
        ('["a", "…"]', ["a", "b"]),
        ('["a", "…"]', ["a"]),
        ('"0…Z"', "0:00Z"),
        ("600.0", 600),
    ],
)
def test_what_is_left_out_may_be_anything(shown: str, found: object) -> None:
    assert differs(json.loads(shown), found) is None


def test_a_reply_is_compared_with_its_head() -> None:
    reply = 'HTTP/1.1 200 OK\r\nETag: "1"\r\nDate: now\r\n\r\n{"a": 1}'
    assert reply_differs('HTTP/1.1 200 OK\nEtag: "…"\n\n{"a": 1}', reply) is None
    assert reply_differs("HTTP/1.1 200 OK\n", reply) is None
    assert reply_differs("HTTP/1.1 201 Created\n", reply)
    assert reply_differs("HTTP/1.1 200 OK\nLocation: …/1\n", reply)
    assert reply_differs('HTTP/1.1 200 OK\n\n{"a": 2}', reply)


def test_text_is_compared_by_lines() -> None:
    assert text_differs("one\n…\nfour … six", "one\ntwo\nthree\nfour five  six\n") is None
    assert text_differs("one\n…\ntwo", "one\ntwo") is None
    assert text_differs("one\nfour", "one\ntwo\nfour")
