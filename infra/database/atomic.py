"""Piccolo's `engine.atomic()` on top of our transactions."""

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from piccolo.engine.base import BaseAtomic
from piccolo.query.base import DDL, Query

NO_BATCH = "Piccolo's batch() reads outside of the service's pool and transactions; page through a repository instead"


class _Transactional(Protocol):
    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[Any]:
        """Open a transaction."""
        ...


class Atomic(BaseAtomic):
    """Queries that run in one transaction, all or none."""

    def __init__(self, engine: _Transactional) -> None:
        self._engine = engine
        self._queries: list[Query[Any, Any] | DDL] = []

    def add(self, *query: Query[Any, Any] | DDL) -> None:
        self._queries.extend(query)

    async def run(self) -> None:
        async with self._engine.transaction():
            for query in self._queries:
                await query.run()
        self._queries = []

    def run_sync(self) -> None:
        raise NotImplementedError("await this instead: the service has one event loop")

    def __await__(self) -> Generator[None, None, None]:
        return self.run().__await__()
