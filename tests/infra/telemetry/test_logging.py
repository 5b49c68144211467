"""Logs: readable lines for people, JSON objects for machines, and the request a record belongs to."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from domain.context import Context, acting_as
from infra.telemetry.logging import configure_logging


@pytest.fixture(autouse=True)
def former_logging() -> Iterator[None]:
    """Logging of the test run, as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(format: str, log: Any, level: str = "INFO") -> str:
    stream = io.StringIO()
    configure_logging(format=format, level=level, stream=stream)
    log()
    return stream.getvalue()


def test_a_record_for_machines_is_one_json_object() -> None:
    def log() -> None:
        with acting_as(Context(request_id="r1")):
            logging.getLogger("somewhere").warning("hello %s", "there", extra={"size": 3, "where": datetime})

    record = json.loads(written("json", log))
    assert record["event"] == "hello there"
    assert (record["level"], record["logger"], record["request_id"]) == ("warning", "somewhere", "r1")
    assert (record["filename"], record["func_name"]) == ("test_logging.py", "log")
    assert isinstance(record["lineno"], int)
    assert record["timestamp"].endswith("Z")
    assert record["size"] == 3
    assert "datetime" in record["where"]


def test_a_record_outside_of_a_request_names_none() -> None:
    record = json.loads(written("json", lambda: structlog.get_logger("somewhere").info("hello", size=3)))
    assert (record["event"], record["size"], record["logger"]) == ("hello", 3, "somewhere")
    assert "request_id" not in record


def test_an_exception_is_text_in_its_record() -> None:
    def log() -> None:
        try:
            raise LookupError("lost")
        except LookupError:
            logging.getLogger("somewhere").exception("failed")

    record = json.loads(written("json", log))
    assert record["exception"].endswith("LookupError: lost")
    lines = written("console", log)
    assert "LookupError: lost" in lines
    assert "╭" not in lines


def test_a_line_for_people_is_short() -> None:
    line = written("console", lambda: logging.getLogger("somewhere").info("hello", extra={"size": 3}))
    assert "hello" in line
    assert "size=3" in line
    assert "lineno" not in line
    assert "\x1b" not in line


def test_what_a_client_sends_neither_steers_a_terminal_nor_forges_a_line() -> None:
    path = "/\x1b]0;pwned\x07\n2026-01-01 [error] forged\u202e"

    def log() -> None:
        logger = logging.getLogger("somewhere")
        logger.error("unhandled error in %s", path)
        logger.info("request", extra={"path": path})

    text = written("console", log)
    assert text.count("\n") == 2
    for character in ("\x1b", "\x07", "\u202e"):
        assert character not in text
    assert "\\x1b]0;pwned" in text


def test_the_level_and_the_latest_set_up_count() -> None:
    assert written("console", lambda: logging.getLogger("somewhere").info("hello"), level="WARNING") == ""
    first = io.StringIO()
    configure_logging(format="console", level="INFO", stream=first)
    assert written("json", lambda: logging.getLogger("somewhere").info("hello")).count("\n") == 1
    assert first.getvalue() == ""


def test_without_a_stream_records_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(format="console", level="INFO")
    logging.getLogger("somewhere").info("hello")
    assert "hello" in capsys.readouterr().err
