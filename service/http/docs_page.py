"""`/docs` and `/openapi.json`: the document, and a page that shows it without internet."""

import gzip
import hashlib
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar._openapi.plugin import OpenAPIPlugin
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.response import Redirect

from domain.registration import ServiceInfo
from service.http.documented import Described, documented
from service.http.effects import changing
from service.http.openapi import openapi_document

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_FOLDER = Path(__file__).parent / "docs"
_START = b"""window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json", dom_id: "#docs", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
  });
});
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""


class _Document:
    """The encoded document of one app, made when first asked for."""

    def __init__(self, info: ServiceInfo, described: Sequence[Described]) -> None:
        self._info = info
        self._described = described
        self._bytes: bytes | None = None

    def bytes_for(self, app: Litestar) -> bytes:
        if self._bytes is None:
            plugin = app.plugins.get(OpenAPIPlugin)
            # Litestar would serve its own pages if it were given the configuration; only its document is wanted.
            plugin._openapi_config = OpenAPIConfig(
                title=self._info.display_name, version=self._info.version, description=self._info.description
            )
            base: dict[str, Any] = plugin.provide_openapi().to_schema()
            keyed = changing(app) if getattr(app, "takes_keys", False) else ()
            made = openapi_document(base, self._described, list(documented(app)), keyed)
            self._bytes = msgspec.json.encode(made)
        return self._bytes


def docs_router(info: ServiceInfo, described: Sequence[Described], *, has_root: bool) -> Router:
    """`/openapi.json` and `/docs`; `/redoc` leads there, and so does `/` unless the user has something at `/`."""
    document = _Document(info, described)
    page = _PAGE.format(title=html.escape(info.display_name)).encode()

    @get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(document.bytes_for(request.app), media_type="application/json")

    @get("/docs", include_in_schema=False)
    async def docs() -> Response[bytes]:
        return Response(page, media_type="text/html; charset=utf-8")

    def redirect(path: str) -> HTTPRouteHandler:
        async def to_docs() -> Redirect:
            return Redirect("/docs", status_code=307)

        return get(path, include_in_schema=False, name=f"docs_from_{path}")(to_docs)

    handlers = [openapi, docs, redirect("/redoc"), *_assets()]
    if not has_root:
        handlers.append(redirect("/"))
    return Router(path="/", route_handlers=handlers)


def _assets() -> list[HTTPRouteHandler]:
    contents: list[tuple[str, str, Callable[[], bytes]]] = [("start.js", "text/javascript", lambda: _START)]
    contents += [(name, kind, (_FOLDER / name).read_bytes) for name, kind in _ASSETS.items()]
    return [_asset(name, kind, read) for name, kind, read in contents]


def _asset(name: str, kind: str, read: Callable[[], bytes]) -> HTTPRouteHandler:
    """One file of the page, compressed once and revalidated by its hash."""
    loaded: dict[str, Any] = {}

    async def asset(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not loaded:
            content = read()
            loaded["plain"] = content
            loaded["gzip"] = gzip.compress(content)
            loaded["tag"] = f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"'
        headers = {"ETag": loaded["tag"], "Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == loaded["tag"]:
            return Response(b"", status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(loaded["gzip"], media_type=f"{kind}; charset=utf-8", headers=headers)
        return Response(loaded["plain"], media_type=f"{kind}; charset=utf-8", headers=headers)

    return get(f"/docs/{name}", include_in_schema=False, name=f"docs_{name}")(asset)
