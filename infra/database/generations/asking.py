"""Shares one asking among all who want to know at the same moment."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedAsking(Generic[T]):
    """Asks once at a time. Who joins while an asking is under way gets the answer of the next one, which begins after
    they joined: no answer is older than its question.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def join(self) -> T:
        """The answer to an asking that has not begun yet."""
        if self._next is None:
            # Not in the context of whoever comes first: its transaction is its own.
            self._next = asyncio.get_running_loop().create_task(
                self._turn(self._running), context=contextvars.Context()
            )
        # One who gives up must not take the others along.
        return await asyncio.shield(self._next)

    async def _turn(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._ask()
