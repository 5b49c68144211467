"""What tests of doorbells count and wait for."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 30


class Wakes:
    """A `wake` that counts its calls."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until there have been `count` calls."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
