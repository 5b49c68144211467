"""The one error language over HTTP: problem+json (RFC 9457) for everything that goes wrong."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_404_NOT_FOUND, HTTP_405_METHOD_NOT_ALLOWED
from litestar.types import HTTPScope, Send

from domain.context import current_context
from domain.errors import FieldError, ServiceError

logger = logging.getLogger("millrace.http")

MEDIA_TYPE = "application/problem+json"
GONE = "client disconnected prematurely"
"""What the framework says of a request that ends before its body does."""

URN = "urn:servicekit:error:"

STATUSES: Mapping[str, tuple[int, str]] = {
    # code of the error -> status, last part of the type URN
    "validation-failed": (400, "validation-failed"),
    "invalid-query": (400, "validation-failed"),
    "incompatible": (400, "validation-failed"),
    "invalid-body": (422, "validation-failed"),
    "invalid-ulid": (400, "invalid-ulid"),
    "not-found": (404, "not-found"),
    "conflict": (409, "conflict"),
    "request-in-flight": (409, "request-in-flight"),
    "precondition-failed": (412, "precondition-failed"),
    "too-large": (413, "too-large"),
    "unsupported-media-type": (415, "unsupported-media-type"),
    "key-reused": (422, "key-reused"),
    "reply-not-kept": (422, "reply-not-kept"),
    "unauthorized": (401, "unauthorized"),
    "forbidden": (403, "forbidden"),
    "too-many-requests": (429, "too-many-requests"),
    "unavailable": (503, "unavailable"),
    "corrupt": (500, "corrupt"),
    "model-failed": (500, "model-failed"),
    "internal": (500, "internal"),
}
_BY_STATUS = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    412: "precondition-failed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "validation-failed",
    429: "too-many-requests",
    503: "unavailable",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details. `trace_id` finds the log lines of the request; `errors` lists invalid inputs."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    trace_id: str | None = None
    errors: list[FieldError] | None = None


def problem_bytes(
    *,
    status: int,
    kind: str,
    title: str,
    detail: str,
    instance: str,
    errors: tuple[FieldError, ...] = (),
    extensions: Mapping[str, Any] | None = None,
) -> bytes:
    """A problem as JSON; nulls are left out, `extensions` follow the standard members."""
    problem = Problem(
        type=f"{URN}{kind}",
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        trace_id=current_context().request_id or None,
        errors=list(errors) or None,
    )
    members = msgspec.to_builtins(problem)
    return msgspec.json.encode({**(extensions or {}), **members})


def on_service_error(request: Request[Any, Any, Any], error: ServiceError) -> Response[bytes]:
    """An error raised on purpose."""
    status, kind = _status_of(error)
    extensions = dict(error.extensions)
    headers = {}
    if "retry_after" in extensions:
        headers["Retry-After"] = str(extensions.pop("retry_after"))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # What is away is no bug, so its cause is enough; a traceback for each request would bury it.
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        logger.warning("%s %s: %s%s", request.method, request.scope["path"], error.detail, cause)
    return _response(
        request, status, kind, error.title, error.detail, errors=error.errors, extensions=extensions, headers=headers
    )


async def send_error(scope: HTTPScope, send: Send, error: ServiceError) -> None:
    """Answer a request that does not get as far as Litestar."""
    status, kind = _status_of(error)
    extensions = dict(error.extensions)
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    if "retry_after" in extensions:
        headers.append((b"retry-after", str(extensions.pop("retry_after")).encode()))
    body = problem_bytes(
        status=status,
        kind=kind,
        title=error.title,
        detail=error.detail,
        instance=scope["path"],
        errors=error.errors,
        extensions=extensions,
    )
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def status_of(error: ServiceError) -> int:
    """The status of an error."""
    return _status_of(error)[0]


def item_problem(error: ServiceError, *, is_explained: bool = True) -> dict[str, Any]:
    """The problem of one item of a request; the request itself has the rest. Its `errors` only if it is explained."""
    status, kind = _status_of(error)
    members: dict[str, Any] = {"type": f"{URN}{kind}", "title": error.title, "status": status, "detail": error.detail}
    if error.errors and is_explained:
        members["errors"] = error.errors
    return {**error.extensions, **members}


def _status_of(error: ServiceError) -> tuple[int, str]:
    """The status of an error, or of the nearest one of ours that a user's own derives from."""
    codes = (getattr(kind, "code", "") for kind in type(error).__mro__)
    return next(STATUSES[code] for code in codes if code in STATUSES)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """An error of the framework: no such path, wrong method, a body too large, an invalid parameter."""
    status = error.status_code
    path: str = request.scope["path"]
    if error.detail == GONE:
        # Nobody is left to read the answer, and nothing is wrong here.
        logger.info("%s %s: the client went away in the middle of its request", request.method, path)
        return _response(request, 400, "bad-request", "Bad Request", "The request ended before its body did")
    headers = {
        name: value for name, value in (error.headers or {}).items() if name.lower() not in {"content-type", "allow"}
    }
    detail = str(error.detail or HTTPStatus(status).phrase)
    if status == HTTP_404_NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is nothing at {path}"
    if status == HTTP_405_METHOD_NOT_ALLOWED:
        allowed = allowed_methods(request.app, path)
        headers["Allow"] = ", ".join(allowed)
        detail = f"{path} does not take {request.method}; it takes {', '.join(allowed)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, path, detail, exc_info=error)
    return _response(
        request,
        status,
        _BY_STATUS.get(status, "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad-request"),
        HTTPStatus(status).phrase,
        detail,
        errors=_parameter_errors(error),
        headers=headers,
    )


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A bug. The client learns where to look, not what happened; the log has all of it."""
    logger.error("unhandled error in %s %s", request.method, request.scope["path"], exc_info=error)
    detail = "An unexpected error occurred; the trace_id finds it in the log"
    return _response(request, 500, "internal", "Internal Server Error", detail)


def allowed_methods(app: Litestar, path: str) -> list[str]:
    """The methods that a path takes."""
    found = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        try:
            app.asgi_router.handle_routing(path=path, method=method)
        except HTTPException:
            continue
        found += [method, "HEAD"] if method == "GET" else [method]
    return found


def _source(value: Any) -> str:
    return str(getattr(value, "value", value) or "request")


def _parameter_errors(error: HTTPException) -> tuple[FieldError, ...]:
    """What Litestar found wrong with the parameters of a user's own handler."""
    extra = error.extra if isinstance(error.extra, list) else []
    return tuple(
        FieldError(
            type="value_error",
            loc=(_source(item.get("source")), str(item.get("key", ""))),
            msg=str(item.get("message", "")),
        )
        for item in extra
        if isinstance(item, dict)
    )


def _response(
    request: Request[Any, Any, Any],
    status: int,
    kind: str,
    title: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    body = problem_bytes(
        status=status,
        kind=kind,
        title=title,
        detail=detail,
        instance=request.scope["path"],
        errors=errors,
        extensions=extensions,
    )
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))
