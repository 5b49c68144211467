"""One request, answered from the cache or through the app behind it."""

import time
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar.status_codes import HTTP_200_OK, HTTP_404_NOT_FOUND, HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import ASGIApp, Receive, Scope, Send

from domain.caching import EVERYTHING
from domain.computations import Outcome, full_key
from domain.context import current_context
from domain.errors import Unavailable
from domain.replies import Headers, StoredReply, generation_tag, labelled, reply_key
from service.http.cache_status import cache_status
from service.http.cached_routes import Asked, CachedRoute
from service.http.capturing import CollectedReply
from service.http.conditional import matched_tag, packed_tag
from service.http.packing import SMALLEST_BYTES, Packing
from service.http.unkept import UnkeptReply, send_unmodified
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
        self._collected: CollectedReply | None = None
        # From then on a reply that is not kept has nobody to go to.
        self._is_over = False

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
            self._stats.bypassed += 1
            await self._pass_on(error.exchange)
            return
        except _Down as error:
            self._stats.bypassed += 1
            await self._send_down(error.reply)
            return
        finally:
            await self._end()
        self._stats.count(found.outcome)
        status = cache_status(found.outcome, found.ttl_seconds)
        await self._give(found.value, b"" if found.outcome is Outcome.STALE else tag, status)

    async def _refresh(self, key: str, tag: bytes) -> None:
        """Compute it whatever is kept, and keep that."""
        self._stats.bypassed += 1
        try:
            payload = await self._load()
        except _NotKept:
            await self._pass_on(self)
            return
        except _Down as error:
            await self._send_down(error.reply)
            return
        finally:
            await self._end()
        self._caching.put(key, payload, self._lifetime)
        await self._give(payload, tag, b"millrace; fwd=request; stored")

    # From the app

    async def _load(self) -> bytes:
        """The app's reply as bytes to keep. Raises `_NotKept` for one that goes to this client alone."""
        collected = self._collected = CollectedReply(self._caching.options.max_entry_bytes)
        # The whole reply, whatever the client has already.
        headers = [pair for pair in self._scope["headers"] if pair[0] != b"if-none-match"]
        scope = cast("Scope", {**self._scope, "headers": headers, "query_string": self._query})
        reply = await collected.collect(self._app, scope, self._receive)
        if reply is None:
            if self._is_over:
                await collected.stop()
            raise _NotKept(self)
        if reply.status == HTTP_503_SERVICE_UNAVAILABLE:
            raise _Down(reply)
        return _encode(reply)

    async def _pass_on(self, exchange: "CachedExchange") -> None:
        """Send what is not kept: the reply made for this client, or one of its own if that was for another."""
        known = None if self._asked.is_refreshing else self._asked.known
        client = UnkeptReply(self._send, self._vary, self._asked.control, known)
        if exchange is self and self._collected is not None:
            await self._collected.pass_on(client.send)
        else:
            await self._app(cast("Scope", {**self._scope, "query_string": self._query}), self._receive, client.send)

    async def _end(self) -> None:
        """What was begun for this client and for nobody else ends with it."""
        self._is_over = True
        if self._collected is not None and self._collected.is_passing:
            await self._collected.stop()

    @property
    def _query(self) -> bytes:
        raw: bytes = self._scope["query_string"]
        return self._asked.query.encode() if b"nocache" in raw else raw

    # To the client

    async def _give(self, payload: bytes, tag: bytes, status: bytes) -> None:
        """Send what is kept, or say that the client has it."""
        reply = _decode(payload)
        is_problem = reply.status == HTTP_404_NOT_FOUND
        body = _with_own_trace(reply.body) if is_problem else reply.body
        own = reply.etag
        tag = own or (tag if reply.status == HTTP_200_OK else b"")
        # What has this caller's trace in it is no other's.
        is_packed = self._asked.takes_gzip and len(body) >= SMALLEST_BYTES and not is_problem
        known = self._asked.known
        if tag and known is not None and not self._asked.is_refreshing:
            matched = matched_tag(known, tag, is_packed=is_packed)
            if matched:
                await self._send_unmodified(matched, status)
                return
        headers = labelled(reply.headers, self._vary, self._asked.control)
        headers += ((b"cache-status", status), (b"age", b"%d" % max(0, time.time() - reply.made_at)))
        if tag and not own:
            headers.append((b"etag", tag))
        if is_packed:
            # Of all replies to this question, only this one was made in that moment.
            made = f"{self._key}|{reply.made_at!r}"
            body = await self._packing.packed(self._caching.near, made, body, ttl_seconds=self._route.ttl_seconds)
            headers = [(name, packed_tag(value) if name == b"etag" else value) for name, value in headers]
            headers.append((b"content-encoding", b"gzip"))
        await self._send_reply(reply.status, headers, body)

    async def _send_down(self, reply: StoredReply) -> None:
        headers = labelled(reply.headers, self._vary, self._asked.control)
        await self._send_reply(reply.status, headers, _with_own_trace(reply.body))

    async def _send_unmodified(self, tag: bytes, status: bytes) -> None:
        headers = [(b"etag", tag), (b"cache-control", self._asked.control)]
        await send_unmodified(self._send, [*headers, (b"vary", self._vary), (b"cache-status", status)])

    async def _send_reply(self, status: int, headers: Headers, body: bytes) -> None:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _with_own_trace(body: bytes) -> bytes:
    """A problem names the request that it answers, which is this one."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return body
    return msgspec.json.encode({**problem, "trace_id": current_context().request_id}) if "trace_id" in problem else body
