"""What happens when a transformation is asked for: its data is fetched, and it is run where it cannot be in the way."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import msgspec

from domain.computations import Answer, Outcome
from domain.errors import InvalidBody, ServiceError
from domain.frames import DataFrame
from domain.frames.structure import UnknownColumn
from domain.model_runs import ContentKind
from domain.query import Keyset, Whole, parse_body
from domain.transformations.definition import Transformation
from domain.transformations.keys import content_key, data_hash, query_key
from domain.transformations.outputs import encode_output
from domain.transformations.requests import Request, Requests
from domain.validation import problem, rejected, under
from service.managers.base import Manager
from service.managers.caching import Caching, RouteStats
from service.managers.modelling import Modelling

# More than this is not read while other requests wait.
_SMALL_BYTES = 64 * 1024


class Sources(Protocol):
    """Where data is to be had while the service runs; `secret` signs cursors."""

    secret: bytes

    def manager(self, name: str) -> Manager[Any]:
        """The manager of a resource."""
        ...

    @property
    def modelling(self) -> Modelling:
        """The managers around a model."""
        ...

    @property
    def caching(self) -> Caching | None:
        """What results are kept in, if in anything."""
        ...


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request and the hash of its data, None for what is only known once it is read.

    Without a `key` its result is not known by its content.
    """

    transformation: Transformation
    request: Request
    data_hash: str | None
    key: str | None


class Transformations:
    """The transformations of a service, at `path`. At most `threads` of them compute at a time, others wait.

    Rows of a resource are data up to `most_rows` of them. `tables` are those of the resources whose changes are
    counted: what is made of their rows can be kept until the next change, as what is made of given data can always.
    """

    def __init__(
        self,
        requests: Sequence[Requests],
        sources: Sources,
        *,
        path: str,
        threads: int,
        most_rows: int,
        tables: Mapping[str, str],
    ) -> None:
        self.requests = tuple(requests)
        self._sources = sources
        self._path = path
        self._most_rows = most_rows
        self._tables = tables
        # Its threads are started when they are needed.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="transformation")

    async def asked(self, requests: Requests, body: bytes) -> Asked:
        """What a body asks for, and by which key the result is known. Raises `InvalidBody` and `NotFound`."""
        read = partial(_read, requests, body)
        request, found = read() if len(body) <= _SMALL_BYTES else await asyncio.to_thread(read)
        if request.frame_id is not None:
            found = await self._frame_hash(request.frame_id)
        transformation = requests.transformation
        key = content_key(transformation.name, transformation.code_version, request.params, found)
        return Asked(transformation=transformation, request=request, data_hash=found, key=key)

    def use(self, transformation: Transformation) -> RouteStats | None:
        """What the cache has been good for to it; None without one, or if it keeps nothing of this."""
        caching = self._sources.caching
        if caching is None or not transformation.lifetime.ttl_seconds:
            return None
        return caching.route(f"{self._path}/{transformation.name}")

    async def answer(self, asked: Asked) -> Answer[bytes] | None:
        """The result as JSON, if it may be one that is kept; None if it has to be made, by `run`."""
        transformation, request = asked.transformation, asked.request
        caching, use = self._sources.caching, self.use(transformation)
        if caching is None or use is None:
            return None
        key, table = asked.key, self._tables.get(request.resource or "")
        if request.resource is not None and table is not None:
            code = transformation.code_version
            key = query_key(transformation.name, code, request.params, request.resource, request.query)
        if key is None:
            use.count(Outcome.BYPASS)
            return None
        found = await caching.computations.look_up(
            f"transformation:{key}",
            lambda: self.run(asked),
            kind=bytes,
            lifetime=transformation.lifetime,
            tags=[table] if table is not None else [],
        )
        use.count(found.outcome)
        return found

    async def run(self, asked: Asked) -> bytes:
        """The result as JSON. Raises what the data is refused with."""
        transformation = asked.transformation
        data = await self._data(asked)
        call = partial(transformation.called, data, asked.request.params)
        try:
            if transformation.is_async:
                return await asyncio.to_thread(encode_output, transformation, await call())
            return await self._in_thread(lambda: encode_output(transformation, call()))
        except ServiceError:
            raise
        except (ValueError, UnknownColumn) as error:
            said = error.args[0] if isinstance(error, UnknownColumn) else error
            raise InvalidBody(f"{transformation.label} cannot work with this: {said}") from error

    async def _in_thread(self, function: Callable[[], bytes]) -> bytes:
        context = contextvars.copy_context()

        def guarded() -> bytes:
            try:
                return context.run(function)
            except (StopIteration, SystemExit, KeyboardInterrupt) as error:
                # None of them comes out of a thread as it went in; the last two would end the server.
                raise RuntimeError(f"a transformation has raised {error!r}") from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    async def _data(self, asked: Asked) -> Any:
        request = asked.request
        if request.frame_id is not None and asked.data_hash is not None:
            content = await self._sources.modelling.artifacts.read(asked.data_hash)
            try:
                return await asyncio.to_thread(DataFrame.decode, content)
            except InvalidBody as error:
                raise rejected(under(error.errors, "frame_id")) from None
        if request.resource is not None:
            return await self._rows(request.resource, request.query)
        return request.data

    async def _frame_hash(self, id: str) -> str:
        artifact = await self._sources.modelling.artifacts.get(id)
        if artifact.content_kind == ContentKind.FRAME and artifact.content_sha256 is not None:
            return artifact.content_sha256
        message = f"artifact {artifact.id} holds no frame; its content is of the kind {artifact.content_kind!r}"
        raise rejected([problem("value_error", message, ("frame_id",), id, (ContentKind.FRAME,))])

    async def _rows(self, name: str, asked: dict[str, Any]) -> DataFrame:
        """The rows that a query has, all of them. Raises `InvalidBody` when they are too many."""
        manager = self._sources.manager(name)
        try:
            query = parse_body(manager.resource, asked, key=self._sources.secret)
        except InvalidBody as error:
            raise rejected(under(error.errors, "query")) from None
        is_whole = isinstance(query.window, Whole)
        if is_whole:
            query = msgspec.structs.replace(query, window=Keyset(self._most_rows))
        listing = await manager.page(query)
        if is_whole and listing.next is not None:
            message = f"the query has more than {self._most_rows} rows; filter it, or ask for a part by page and size"
            raise rejected([problem("too_many_rows", message, ("query",), None)])
        columns = list(query.fields or manager.resource.readable)
        return await asyncio.to_thread(_frame, columns, listing.items)


def _read(requests: Requests, body: bytes) -> tuple[Request, str | None]:
    request = requests.read(body)
    is_inline = request.frame_id is None and request.resource is None
    return request, data_hash(request.data) if is_inline else None


def _frame(columns: list[str], items: bytes) -> DataFrame:
    rows = msgspec.json.decode(items, type=list[dict[str, Any]])
    return DataFrame(columns, [[row[name] for name in columns] for row in rows])
