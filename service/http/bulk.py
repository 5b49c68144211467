"""`POST /$bulk`: many changes of one resource in one request, as JSON or as a stream of lines."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_200_OK, HTTP_207_MULTI_STATUS, HTTP_413_REQUEST_ENTITY_TOO_LARGE
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, UnsetType

from domain.bodies import Bodies, decode_object
from domain.bulk import MOST_ITEMS, BulkItem, BulkOptions, Mode, OnConflict, Op
from domain.bulk_items import ItemReader
from domain.errors import Forbidden
from domain.query import Resource
from domain.validation import invalid_fields, problem, rejected
from service.http.bulk_reply import BulkReply, Shower, not_written
from service.http.bulk_stream import AT_ONCE, LINES, BulkStream
from service.http.conditional import expectation
from service.http.dto import check_content_type
from service.http.query import read_parameters
from service.http.reply import Reply
from service.http.running import Running

MOST_BYTES = 32 * 1024**2
"""How large a JSON request may be; a stream of lines may have any length."""

MOST_EXPLAINED_BYTES = 1024**2
"""Up to which size all that is wrong with a request is found, which takes an object for everything in it."""


class BulkParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options, as they stand in the query string or beside the items."""

    mode: Mode | UnsetType = UNSET
    on_conflict: OnConflict | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET
    max_affected: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class _Body(BulkParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


class _Sent(BulkParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same with its items decoded, to find all that is wrong with it."""

    items: list[Any]


_decode = msgspec.json.Decoder(_Body).decode


@cache
def _wide() -> "msgspec.json.Decoder[Any]":
    """Decodes a body with any number of items, and makes an object of one more than are allowed at most.

    Of a list the length is looked at when all of it is made; what a Struct has no field for is skipped.
    """
    fields = [(f"item_{number}", msgspec.Raw | UnsetType, UNSET) for number in range(MOST_ITEMS + 1)]
    items = msgspec.defstruct("Items", fields, array_like=True, frozen=True)
    body = msgspec.defstruct(
        "WideBody", [("items", items)], bases=(BulkParameters,), frozen=True, kw_only=True, forbid_unknown_fields=True
    )
    return msgspec.json.Decoder(body)


def bulk_handler(
    resource: Resource[Any], bodies: Bodies[Any], running: Running, allowed: Sequence[Op], shape: str
) -> HTTPRouteHandler:
    """The route; `allowed` are the operations that items may have, `shape` is that of the tags."""
    shower = Shower(shape)

    async def bulk(request: Request[Any, Any, Any]) -> ASGIApp:
        given = read_parameters(request.scope, BulkParameters)
        manager = running.manager(resource.name)
        if _media_type(request) in LINES:
            options = _options(given, allowed)
            reader = ItemReader(bodies, allowed, options.on_conflict, expectation)
            return BulkStream(manager, reader, options, shower)
        check_content_type(request)
        body = _decoded(await _limited(request))
        options = _options(_merged(given, body), allowed)
        reader = ItemReader(bodies, allowed, options.on_conflict, expectation)
        outcome = await manager.bulk(await _read(reader, body.items), options)
        if not outcome.is_kept and not options.dry_run:
            raise not_written(outcome.results, shower)
        status = HTTP_207_MULTI_STATUS if outcome.counts.failed else HTTP_200_OK
        return Reply(msgspec.json.encode(BulkReply.of(outcome, options, shower)), status=status)

    return post("/$bulk", request_max_body_size=None, include_in_schema=False)(bulk)


def _media_type(request: Request[Any, Any, Any]) -> str:
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()


async def _limited(request: Request[Any, Any, Any]) -> bytes:
    # The route itself knows no limit, for lines may be any number.
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise _too_large(f"The body has more than the {MOST_BYTES} bytes of one request")
    return bytes(body)


def _decoded(body: bytes) -> _Body:
    if not body:
        raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
    try:
        # The commas say how many items there can be.
        return _decode(body) if body.count(b",") < MOST_ITEMS else _decoded_wide(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        if len(body) > MOST_EXPLAINED_BYTES:
            kind = "value_error" if isinstance(error, msgspec.ValidationError) else "json_invalid"
            raise rejected([problem(kind, str(error), (), None)]) from None
        errors = invalid_fields(decode_object(body), _Sent)
        raise rejected(errors or [problem("value_error", "is not valid", (), None)]) from None


def _decoded_wide(body: bytes) -> _Body:
    found = _wide().decode(body)
    items = [item for item in msgspec.structs.astuple(found.items) if item is not UNSET]
    if len(items) > MOST_ITEMS:
        raise _too_large(f"There are more than the {MOST_ITEMS} items of one request")
    return _Body(items=items, **{name: getattr(found, name) for name in BulkParameters.__struct_fields__})


def _too_large(message: str) -> HTTPException:
    return HTTPException(
        status_code=HTTP_413_REQUEST_ENTITY_TOO_LARGE,
        detail=f"{message}; send the items as {LINES[0]}, each on a line of its own",
    )


def _merged(given: BulkParameters, body: BulkParameters) -> BulkParameters:
    """The options of both places. Raises `InvalidBody` for one that stands in both."""
    names = [name for name in BulkParameters.__struct_fields__ if getattr(body, name) is not UNSET]
    twice = [name for name in names if getattr(given, name) is not UNSET]
    if twice:
        raise rejected(
            problem("duplicate", f'"{name}" stands in the query string, too', (name,), getattr(body, name))
            for name in twice
        )
    return msgspec.structs.replace(given, **{name: getattr(body, name) for name in names})


def _options(given: BulkParameters, allowed: Sequence[Op]) -> BulkOptions:
    values = {name: getattr(given, name) for name in given.__struct_fields__}
    options = BulkOptions(**{name: value for name, value in values.items() if value is not UNSET})
    if options.on_conflict is OnConflict.UPDATE and Op.UPDATE not in allowed:
        raise Forbidden('Nothing can be updated here, so "on_conflict" cannot be "update"')
    return options


async def _read(reader: ItemReader, items: Sequence[msgspec.Raw]) -> list[BulkItem]:
    read = []
    for index, raw in enumerate(items):
        if index and index % AT_ONCE == 0:
            await asyncio.sleep(0)
        read.append(reader.read(bytes(raw), index, ("items", index)))
    return read
