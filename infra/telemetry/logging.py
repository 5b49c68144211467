"""Structured logs: readable lines for people, one JSON object per line for machines."""

import logging
import re
import sys
from typing import Any, TextIO

import msgspec
import structlog

from domain.context import current_context

_HANDLER = "millrace"
_MULTILINE = {"exception", "stack"}
# Control characters, and those that turn the direction of a line around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def configure_logging(*, format: str, level: str, stream: TextIO | None = None) -> None:
    """Send everything logged in this process to `stream` (stderr), as `console` text or `json`.

    Every record holds `event`, `level`, `logger`, `timestamp`, `filename`, `lineno`, `func_name`, and `request_id`
    when it belongs to a request. Calling it again replaces the earlier set-up.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        structlog.processors.CallsiteParameterAdder(
            {
                structlog.processors.CallsiteParameter.FILENAME,
                structlog.processors.CallsiteParameter.LINENO,
                structlog.processors.CallsiteParameter.FUNC_NAME,
            }
        ),
    ]
    if format == "json":
        rendering: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    else:
        # Tracebacks with local variables take seconds to render and show what should stay private.
        plain = structlog.dev.plain_traceback
        rendering = [
            _shorten,
            _printable,
            structlog.dev.ConsoleRenderer(colors=_is_terminal(stream), exception_formatter=plain),
        ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # It says of every request that it was made, and a sign of life to an orchestrator is one every few seconds.
    logging.getLogger("httpx").setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _add_request(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    request_id = current_context().request_id
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def _shorten(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A line for people needs no call site."""
    for name in ("filename", "lineno", "func_name"):
        event.pop(name, None)
    return event


def _printable(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """What a client put into a path must neither steer a terminal nor look like a line of its own."""
    for name, value in event.items():
        if isinstance(value, str) and name not in _MULTILINE:
            event[name] = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], value)
    return event


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _is_terminal(stream: TextIO | None) -> bool:
    return (stream or sys.stderr).isatty()
