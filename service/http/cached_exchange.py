"""One request, answered from the cache or through the app behind it."""

import time
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED, HTTP_404_NOT_FOUND, HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import ASGIApp, Receive, Scope, Send

from domain.caching import EVERYTHING
from domain.computations import Outcome, full_key
from domain.context import current_context
from domain.errors import Unavailable
from domain.replies import (
    Headers,
    StoredReply,
    generation_tag,
    reply_key,
)
from service.http.cache_status import cache_status
from service.http.cached_routes import Asked, CachedRoute
from service.http.capturing import CollectedReply
from service.http.conditional import matched_tag, packed_tag
from service.http.packing import SMALLEST_BYTES, Packing
from service.managers.caching import Caching

MOST_REMEMBERED_BYTES = 2 * 1024
"""Longer queries and credentials are worked out each time: a server takes 64 KiB of them, a thousand times too much."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredReply).decode
_key = lru_cache(1_000)(reply_key)


class _NotKept(Exception):
    """A reply that only the one who asked for it gets."""

    def __init__(self, exchange: "CachedExchange") -> None:
        self.exchange = exchange


class _Down(Unavailable):
    """A reply that says that something is unavailable; an older one may be better."""

    def __init__(self, reply: StoredReply) -> None:
        super().__init__("the service cannot answer now")
        self.reply = reply


class CachedExchange:
    """One request, answered from the cache or through the app behind it."""

    def __init__(
        self,
        app: ASGIApp,
        caching: Caching,
        route: CachedRoute,
        asked: Asked,
        vary: bytes,
        packing: Packing,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app, self._caching, self._route, self._asked = app, caching, route, asked
        self._vary, self._packing = vary, packing
        self._scope, self._receive, self._send = scope, receive, send
        self._stats = caching.route(route.template)
        self._lifetime = caching.lifetime(route.ttl_seconds)
        is_short = len(asked.query) + sum(map(len, asked.credentials)) <= MOST_REMEMBERED_BYTES
        self._key = (_key if is_short else reply_key)(
            caching.fingerprint, current_context().tenant, scope["path"], asked.query, *asked.credentials
        )
        self._is_answered = False

    async def answer(self) -> None:
        names = (*self._route.names, EVERYTHING)
        generations = self._caching.generations
        try:
            counted = generations.known(names) or await generations.current(names)
        except Unavailable:
            counted = None
        if counted is None:
            # An old reply may still be allowed when there is nobody to ask.
            await self._look_up(b"")
            return
        tag = generation_tag(self._key, counted)
        if self._asked.is_refreshing:
            await self._refresh(full_key(self._key, bytes, counted), tag)
        elif self._asked.known is not None and tag in self._asked.known:
            # Only ever given out with a reply to the very same question, made of the very same data.
            self._stats.unmodified += 1
            await self._send_unmodified(tag, b"millrace; hit")
        else:
            kept = self._caching.peek(full_key(self._key, bytes, counted), self._lifetime)
            if kept is None:
                await self._look_up(tag)
                return
            payload, ttl = kept
            self._stats.hits += 1
            await self._give(payload, tag, b"millrace; hit; ttl=%d" % ttl)

    async def _look_up(self, tag: bytes) -> None:
        try:
            found = await self._caching.replies.look_up(
                self._key,
                self._load,
                kind=bytes,
                lifetime=self._lifetime,
                tags=self._route.names,
                # How long another query took says nothing of this one.
                group="" if self._asked.query else self._route.template,
            )
        except _NotKept as error:
            if error.exchange is not self:
                await self._app(self._scope, self._receive, self._send)
            self._stats.bypassed += 1
            return
        except _Down as error:
            self._stats.bypassed += 1
            await self._send_reply(error.reply, error.reply.headers)
            return
        self._stats.count(found.outcome)
        status = cache_status(found.outcome, found.ttl_seconds)
        await self._give(found.value, b"" if found.outcome is Outcome.STALE else tag, status)

    async def _refresh(self, key: str, tag: bytes) -> None:
        """Compute it whatever is kept, and keep that."""
        self._stats.bypassed += 1
        try:
            payload = await self._load()
        except _NotKept:
            return
        except _Down as error:
            await self._send_reply(error.reply, error.reply.headers)
            return
        self._caching.put(key, payload, self._lifetime)
        await self._give(payload, tag, b"millrace; fwd=request; stored")

    # From the app

    async def _load(self) -> bytes:
        """The app's reply as bytes to keep. Raises `_NotKept` for one that has gone to this client alone."""
        capture = CollectedReply(self._caching.options.max_entry_bytes, None if self._is_answered else self._send)
        # The whole reply, whatever the client has already.
        headers = [pair for pair in self._scope["headers"] if pair[0] != b"if-none-match"]
        scope = cast("Scope", {**self._scope, "headers": headers, "query_string": self._query})
        await self._app(scope, self._receive, capture.send)
        if capture.is_passing:
            self._is_answered = True
            raise _NotKept(self)
        reply = capture.reply()
        if reply.status == HTTP_503_SERVICE_UNAVAILABLE:
            raise _Down(reply)
        return _encode(reply)

    @property
    def _query(self) -> bytes:
        raw: bytes = self._scope["query_string"]
        return self._asked.query.encode() if b"nocache" in raw else raw

    # To the client

    async def _give(self, payload: bytes, tag: bytes, status: bytes) -> None:
        """Send what is kept, or say that the client has it."""
        self._is_answered = True
        reply = _decode(payload)
        if reply.status == HTTP_404_NOT_FOUND:
            reply = msgspec.structs.replace(reply, body=_with_own_trace(reply.body))
        own = reply.etag
        tag = own or (tag if reply.status == HTTP_200_OK else b"")
        is_packed = self._asked.takes_gzip and len(reply.body) >= SMALLEST_BYTES
        known = self._asked.known
        if tag and known is not None and not self._asked.is_refreshing:
            matched = matched_tag(known, tag, is_packed=is_packed)
            if matched:
                await self._send_unmodified(matched, status)
                return
        headers = [*reply.headers, (b"cache-status", status), (b"vary", self._vary)]
        headers.append((b"age", b"%d" % max(0, time.time() - reply.made_at)))
        if tag and not own:
            headers.append((b"etag", tag))
        if not any(name == b"cache-control" for name, _ in reply.headers):
            headers.append((b"cache-control", self._control))
        if is_packed:
            # Of all replies to this question, only this one was made in that moment.
            made, seconds = f"{self._key}|{reply.made_at!r}", self._route.ttl_seconds
            body = await self._packing.packed(self._caching.near, made, reply.body, ttl_seconds=seconds)
            reply = msgspec.structs.replace(reply, body=body)
            headers = [(name, packed_tag(value) if name == b"etag" else value) for name, value in headers]
            headers.append((b"content-encoding", b"gzip"))
        await self._send_reply(reply, headers)

    @property
    def _control(self) -> bytes:
        # To be kept by anybody, and used after asking here: that is what makes a change visible at once.
        return b"private, no-cache" if self._asked.credentials else b"no-cache"

    async def _send_unmodified(self, tag: bytes, status: bytes) -> None:
        headers = [(b"etag", tag), (b"cache-control", self._control), (b"vary", self._vary), (b"cache-status", status)]
        await self._send({"type": "http.response.start", "status": HTTP_304_NOT_MODIFIED, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_reply(self, reply: StoredReply, headers: Headers) -> None:
        self._is_answered = True
        headers = [*headers, (b"content-length", b"%d" % len(reply.body))]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _with_own_trace(body: bytes) -> bytes:
    """A problem names the request that it answers, which is this one."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return body
    return msgspec.json.encode({**problem, "trace_id": current_context().request_id}) if "trace_id" in problem else body
