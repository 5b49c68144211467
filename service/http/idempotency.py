"""`Idempotency-Key`: a request that is sent again is not carried out again, and gets the reply that it got before."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

import msgspec
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from litestar.utils import normalize_path

from domain.context import current_context
from domain.errors import Invalid, ServiceError, TooLarge
from domain.idempotency import (
    HEADER,
    MOST_REPLY_BYTES,
    TTL_SECONDS,
    UNSAFE_METHODS,
    KeptReply,
    Replies,
    fingerprint,
    is_final,
    read_key,
    scoped,
)
from service.http.body import MOST_REQUEST_BYTES
from service.http.capturing import HELD, HeldReply, ReadBody
from service.http.effects import has_effect
from service.http.problems import send_error
from service.http.routing import ROUTE

MOST_STREAMED_BYTES = 16 * 1024**2
"""How large a request with a key may be where there is no limit otherwise: all of it is read first."""

_NAME = HEADER.lower().encode()
_CREDENTIALS = (b"authorization", b"x-api-key")
_REPLAYED = (b"idempotency-replayed", b"true")


class _NotKept(Exception):
    """Undoes the transaction of a reply that is not final."""


class _Keyed(msgspec.Struct, frozen=True):
    """A request with a key. Without a fingerprint it is answered as if it had none."""

    key: str
    receive: Receive
    fingerprint: str | None = None


class Idempotency:
    """A layer around the app of `service`; `replies` is where they are kept, None while the service does not run.

    The app runs inside of one transaction, in which its reply is stored: either both the effect and the reply are
    there, or neither is. The client hears of it after the commit.
    """

    def __init__(
        self, service: Litestar, replies: Callable[[], Replies | None], *, ttl_seconds: float = TTL_SECONDS
    ) -> None:
        self._service = service
        self._replies = replies
        self._ttl_seconds = ttl_seconds

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def layered(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] in UNSAFE_METHODS:  # type: ignore[typeddict-item]
                values = [value for name, value in scope["headers"] if name == _NAME]
                if values:
                    await self._answer(app, scope, receive, send, values)  # type: ignore[arg-type]
                    return
            await app(scope, receive, send)

        return layered

    async def _answer(
        self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, values: Sequence[bytes]
    ) -> None:
        handler, replies = self._handler(scope), self._replies()
        if handler is None or replies is None:
            await app(scope, receive, send)
            return
        try:
            keyed = await _read(handler, scope, receive, values)
        except ServiceError as error:
            await send_error(scope, send, error)
            return
        if keyed.fingerprint is None:
            await app(scope, keyed.receive, send)
            return
        held = HeldReply(send, MOST_REPLY_BYTES)
        scope[HELD] = True  # type: ignore[literal-required]
        try:
            done = await self._once(app, scope, keyed, held, replies)
        except ServiceError as error:
            await send_error(scope, send, error)
            return
        if isinstance(done, KeptReply):
            await _repeat(done, send)
            return
        try:
            await held.release()
        finally:
            # What it does after its reply is no part of the transaction any more.
            await done

    def _handler(self, scope: HTTPScope) -> BaseRouteHandler | None:
        """What answers this path and method, if there is something."""
        try:
            _, handler, *_, template = self._service.asgi_router.handle_routing(
                path=normalize_path(scope["path"]), method=scope["method"]
            )
        except HTTPException:
            return None
        # A reply that is repeated, or a refusal, never gets as far as to the router.
        scope[ROUTE] = template  # type: ignore[literal-required]
        return handler

    async def _once(
        self, app: ASGIApp, scope: HTTPScope, keyed: _Keyed, held: HeldReply, replies: Replies
    ) -> KeptReply | asyncio.Task[None]:
        """The reply that was kept, or the task whose reply is held, with everything committed or undone."""
        running: asyncio.Task[None] | None = None
        try:
            async with replies.answering(keyed.key) as kept:
                if kept is not None:
                    kept.check_fits(keyed.fingerprint or "")
                    return kept
                # Of its own, for it goes on when this transaction is over. It has inherited the transaction.
                running = asyncio.create_task(_run(app, scope, keyed, held))
                await _replied(running, held)
                await replies.keep(keyed.key, _final(keyed, held), ttl_seconds=self._ttl_seconds)
        except _NotKept:
            pass
        except BaseException as error:
            if running is None:
                raise
            # What the app refuses is refused, whatever becomes of the record of that.
            if not (isinstance(error, ServiceError) and held.status >= HTTPStatus.BAD_REQUEST):
                await _stop(running)
                raise
        assert running is not None
        return running


async def _read(handler: BaseRouteHandler, scope: HTTPScope, receive: Receive, values: Sequence[bytes]) -> _Keyed:
    """Read a request, without its body if that is not needed. Raises `Invalid` and `TooLarge`."""
    credentials = (b"%s:%s" % pair for pair in scope["headers"] if pair[0] in _CREDENTIALS)
    key = scoped(read_key(values), current_context(), credentials)
    if not has_effect(handler):
        return _Keyed(key, receive)
    own = handler.resolve_request_max_body_size() if isinstance(handler, HTTPRouteHandler) else None
    is_bounded = own is not None and own <= MOST_REQUEST_BYTES
    most = own if own is not None and is_bounded else MOST_STREAMED_BYTES
    digest = fingerprint(scope["method"], scope["path"].encode(), scope["query_string"])
    body = ReadBody(receive)
    await body.read(most, digest.update)
    if body.is_broken:
        raise Invalid("The request ended before its body did")
    if body.is_whole:
        return _Keyed(key, body.receive, digest.hexdigest())
    if not is_bounded:
        raise TooLarge(f"A request with {HEADER} may have at most {most} bytes; send a longer one without it")
    # Too long for the handler, which refuses it in its own words.
    return _Keyed(key, body.receive)


async def _run(app: ASGIApp, scope: HTTPScope, keyed: _Keyed, held: HeldReply) -> None:
    await app(scope, keyed.receive, held.send)


async def _replied(running: asyncio.Task[None], held: HeldReply) -> None:
    """Wait for the reply of the app. Raises what the app has raised before that."""
    running.add_done_callback(lambda _: held.is_known.set())
    try:
        await held.is_known.wait()
    except asyncio.CancelledError:
        # Before the transaction ends, which it is at work in.
        await _stop(running)
        raise
    if running.done():
        running.result()


def _final(keyed: _Keyed, held: HeldReply) -> KeptReply:
    """What is kept of a reply. Raises `_NotKept` when another attempt may get another one."""
    if not is_final(held.status):
        raise _NotKept
    return KeptReply(
        fingerprint=keyed.fingerprint or "",
        status=held.status,
        # A cookie is for whoever asked the first time.
        headers=[
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in held.headers if name != b"set-cookie"
        ],
        body=held.body,
    )


async def _stop(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _repeat(kept: KeptReply, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept.headers]
    await send({"type": "http.response.start", "status": kept.status, "headers": [*headers, _REPLAYED]})
    await send({"type": "http.response.body", "body": kept.body or b"", "more_body": False})
