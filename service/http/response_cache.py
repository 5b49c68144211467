"""The layer that answers from the cache: a hit, or a 304, leaves here and never enters Litestar."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from domain.replies import canonical_query
from service.http.assets import accepted_encodings
from service.http.cached_exchange import MOST_REMEMBERED_BYTES, CachedExchange
from service.http.cached_routes import Asked, CachedRoutes
from service.http.packing import Packing
from service.http.routing import ROUTE
from service.http.unkept import UnkeptReply
from service.managers.caching import Caching

_CREDENTIALS = (b"authorization", b"cookie")
_CONDITIONS = {b"range", b"if-modified-since", b"if-match"}


def _is_taking_gzip(accept_encoding: bytes) -> bool:
    return "gzip" in accepted_encodings(accept_encoding.decode("latin-1"))


_canonical = lru_cache(1_000)(canonical_query)
_takes_gzip = lru_cache(100)(_is_taking_gzip)


class ResponseCache:
    """Keeps replies to GET under everything they depend on: the route, the query, who asks, and how often the data
    has changed. Others who ask at the same time wait for the first one's reply.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: CachedRoutes,
        caching: Callable[[], Caching | None],
        *,
        credential_headers: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._routes = routes
        self._caching = caching
        self._credentials = frozenset([*_CREDENTIALS, *(name.lower().encode() for name in credential_headers)])
        names = sorted(name.decode().title() for name in self._credentials)
        self._vary = ", ".join([*names, "Accept-Encoding"]).encode()
        self._packing = Packing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = cast("HTTPScope", scope)
        route = self._routes.find(scope["path"]) if scope["method"] == "GET" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        asked, caching = self._asked(scope), self._caching()
        if caching is None or asked.is_bypassing:
            await self._app(scope, receive, UnkeptReply(send, self._vary, asked.control).send)
            return
        cast("dict[str, Any]", scope)[ROUTE] = route.template
        exchange = CachedExchange(self._app, caching, route, asked, self._vary, self._packing, scope, receive, send)
        await exchange.answer()

    def _asked(self, scope: HTTPScope) -> Asked:
        asked = Asked(credentials=[])
        for name, value in scope["headers"]:
            if name in self._credentials:
                asked.credentials += (name, value)
            elif name == b"if-none-match":
                asked.known = value
            elif name == b"accept-encoding":
                asked.takes_gzip = (_takes_gzip if len(value) <= MOST_REMEMBERED_BYTES else _is_taking_gzip)(value)
            elif name == b"cache-control":
                wanted = value.lower()
                asked.is_bypassing = asked.is_bypassing or b"no-store" in wanted
                asked.is_refreshing = asked.is_refreshing or b"no-cache" in wanted or b"max-age=0" in wanted
            elif name in _CONDITIONS:
                asked.is_bypassing = True
        raw = scope["query_string"]
        if raw:
            spelled = (_canonical if len(raw) <= MOST_REMEMBERED_BYTES else canonical_query)(raw)
            if spelled is None:
                asked.is_bypassing = True
                return asked
            asked.query, has_nocache = spelled
            asked.is_refreshing = asked.is_refreshing or has_nocache
        return asked
