"""Serves static apps beneath the routes of a service: what no route answers may be a file."""

import logging
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from litestar.types import Scope, Send

from domain.apps import INDEX, AppInfo, Asset, AssetChanged, StaticApp, in_order, names_of
from service.http.assets import accepted_encodings, caching, media_type
from service.http.conditional import header, is_unmodified
from service.http.problems import MEDIA_TYPE, problem_bytes
from service.http.ranges import Unsatisfiable, http_date, is_same, parse_range, seconds_of
from service.http.routing import ROUTE

logger = logging.getLogger("millrace.apps")

_ALLOW = {"Allow": "GET, HEAD, OPTIONS"}
# A file that changes while it is read is found again.
_ATTEMPTS = 3
Headers = dict[str, str]


class _Place(msgspec.Struct, frozen=True):
    """A path in an app: the names behind its prefix, and whether it ends like a folder."""

    app: StaticApp
    names: tuple[str, ...]
    is_folder: bool

    @property
    def file(self) -> tuple[str, ...]:
        """The file that answers here."""
        if self.names:
            return (*self.names, INDEX) if self.is_folder else self.names
        return tuple(self.app.manifest.entry.split("/"))


class StaticApps:
    """The apps of a service, the longest prefix first; of two with the same prefix the later one counts."""

    def __init__(self, apps: Iterable[StaticApp] = ()) -> None:
        self._apps, replaced = in_order(apps)
        for before, after in replaced:
            logger.warning(
                "two apps have the prefix %s: %s (%s) takes the place of %s (%s)",
                after.manifest.prefix,
                after.manifest.name,
                after.place,
                before.manifest.name,
                before.place,
            )

    @property
    def infos(self) -> list[AppInfo]:
        """The apps as `/api/v1/system/apps` lists them."""
        return [app.info for app in self._apps]

    def covers(self, path: str) -> bool:
        """Whether a path belongs to one of the apps. `/api` never does."""
        return self._at(path) is not None

    async def answer(self, scope: Scope, send: Send, method: str) -> bool:
        """Answer a request for what one of the apps has; False, and nothing is sent, when it has nothing there."""
        place = self._place(path_of(scope))
        if place is None:
            return False
        for _ in range(_ATTEMPTS):
            range_text = header(scope, b"range")
            # A range counts the bytes of one representation; the plain one is what is meant.
            encodings = [] if range_text else accepted_encodings(header(scope, b"accept-encoding"))
            asset = await self._find(place, encodings)
            if asset is None:
                return False
            scope[ROUTE] = f"{place.app.manifest.prefix.rstrip('/')}/{{file}}"  # type: ignore[literal-required]
            try:
                if method not in {"GET", "HEAD"}:
                    await _refuse(scope, send, method)
                elif isinstance(asset, str):
                    await _redirect(scope, send, asset)
                else:
                    await _File(place, asset).send(scope, send, is_head=method == "HEAD")
            except AssetChanged:
                continue
            return True
        detail = f"The file at {scope['path']} is changing; try again"
        await _problem(scope, send, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, {"Retry-After": "1"})
        return True

    def _at(self, path: str) -> StaticApp | None:
        if path == "/api" or path.startswith("/api/"):
            return None
        for app in self._apps:
            prefix = app.manifest.prefix
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return app
        return None

    def _place(self, path: str) -> _Place | None:
        app = self._at(path)
        if app is None:
            return None
        rest = path.removeprefix(app.manifest.prefix.rstrip("/"))
        names = names_of(rest) if rest else ()
        if names is None:
            return None
        is_folder = bool(names) and not names[-1]
        return _Place(app, names[:-1] if is_folder else names, is_folder)

    async def _find(self, place: _Place, encodings: list[str]) -> Asset | str | None:
        """The file that is asked for, the path to be redirected to, or None."""
        files, prefix = place.app.files, place.app.manifest.prefix.rstrip("/")
        if place.is_folder:
            return await files.find(place.file, encodings)
        if not place.names:
            return f"{prefix}/"
        asset = await files.find(place.names, encodings)
        if asset is None and await files.find((*place.names, INDEX)) is not None:
            return "/".join((prefix, *map(_quoted, place.names), ""))
        return asset


class _File:
    """One file on its way to a client."""

    def __init__(self, place: _Place, asset: Asset) -> None:
        self._files = place.app.files
        self._asset = asset
        name = place.file[-1]
        is_entry = place.file == tuple(place.app.manifest.entry.split("/"))
        self._type = media_type(name)
        self._headers = {
            "ETag": asset.tag,
            "Last-Modified": http_date(asset.modified_at),
            "Cache-Control": caching(INDEX if is_entry else name),
            "X-Content-Type-Options": "nosniff",
        }
        if asset.has_variants:
            self._headers["Vary"] = "Accept-Encoding"

    async def send(self, scope: Scope, send: Send, *, is_head: bool) -> None:
        """Answer with all of it, a part, or what else is to be said. Raises `AssetChanged` before anything is sent."""
        asset = self._asset
        if _is_known(scope, asset):
            await _reply(send, HTTPStatus.NOT_MODIFIED, self._headers)
            return
        range_text = header(scope, b"range")
        if not is_same(header(scope, b"if-range"), asset.tag, asset.modified_at):
            range_text = None
        try:
            part = parse_range(range_text, asset.size)
        except Unsatisfiable:
            size = {"Content-Range": f"bytes */{asset.size}"}
            detail = f"{scope['path']} has {asset.size} bytes, none of them in Range: {range_text}"
            await _problem(scope, send, HTTPStatus(416), "range-not-satisfiable", detail, size)
            return
        start, stop = part or (0, asset.size)
        headers = {**self._headers, "Content-Type": self._type, "Content-Length": str(stop - start)}
        headers["Accept-Ranges"] = "bytes"
        if asset.encoding is not None:
            headers["Content-Encoding"] = asset.encoding
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{asset.size}"
        status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
        if is_head or start == stop:
            await _reply(send, status, headers)
        else:
            await _stream(send, status, headers, self._files.read(asset, start, stop))


async def _stream(send: Send, status: HTTPStatus, headers: Headers, pieces: AsyncIterator[bytes]) -> None:
    # Once the head is out, a file that is gone could only break the connection.
    piece = await anext(pieces)
    await send({"type": "http.response.start", "status": int(status), "headers": _encoded(headers)})
    try:
        async for following in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = following
    except AssetChanged as error:
        raise RuntimeError("a file changed while it was sent") from error
    await send({"type": "http.response.body", "body": piece, "more_body": False})


def path_of(scope: Scope) -> str:
    """The path of a request below where the service is mounted."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    return path.removeprefix(root_path) if root_path and path.startswith(root_path + "/") else path


def _is_known(scope: Scope, asset: Asset) -> bool:
    """Whether the client has this representation already."""
    tags = header(scope, b"if-none-match")
    if tags is not None:
        return is_unmodified(tags, asset.tag)
    since = seconds_of(header(scope, b"if-modified-since"))
    return since is not None and asset.modified_at <= since


async def _redirect(scope: Scope, send: Send, path: str) -> None:
    query: bytes = scope["query_string"]
    location = scope.get("root_path", "") + path + (f"?{query.decode('latin-1')}" if query else "")
    await _reply(send, HTTPStatus.TEMPORARY_REDIRECT, {"Location": location, "Content-Length": "0"})


async def _refuse(scope: Scope, send: Send, method: str) -> None:
    """Say what a file takes, to OPTIONS as an answer and to other methods as a problem."""
    if method == "OPTIONS":
        await _reply(send, HTTPStatus.NO_CONTENT, _ALLOW)
        return
    detail = f"{scope['path']} does not take {method}; it takes {_ALLOW['Allow']}"
    await _problem(scope, send, HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", detail, _ALLOW)


async def _problem(scope: Scope, send: Send, status: HTTPStatus, kind: str, detail: str, headers: Headers) -> None:
    body = problem_bytes(status=status, kind=kind, title=status.phrase, detail=detail, instance=scope["path"])
    await _reply(send, status, {**headers, "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))}, body)


async def _reply(send: Send, status: HTTPStatus, headers: Headers, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": int(status), "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _quoted(name: str) -> str:
    return quote(name, safe="")
