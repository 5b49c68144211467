"""The doorbell within one process: a ring is a call."""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

logger = logging.getLogger("millrace.queue")


class MemoryDoorbell:
    """Wakes the workers of this process; a ring that nobody answers is gone, as it should be."""

    def __init__(self) -> None:
        self._answering: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def ring(self, queue: str, job_id: str) -> None:
        """Wake everyone who answers for `queue`."""
        for wake in tuple(self._answering.get(queue, ())):
            try:
                wake()
            except Exception:
                # Whoever rings is done with its own work, and the others want to hear of it too.
                logger.exception("a worker of queue %s could not be woken", queue)

    @asynccontextmanager
    async def answered(self, queues: Sequence[str], wake: Callable[[], None]) -> AsyncIterator[None]:
        """Call `wake` for every ring of these queues while the block lasts."""
        names = set(queues)
        for name in names:
            self._answering[name].append(wake)
        try:
            yield
        finally:
            for name in names:
                self._answering[name].remove(wake)
                if not self._answering[name]:
                    del self._answering[name]
