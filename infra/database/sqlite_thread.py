"""A thread that does what an event loop gives it, one call after the other, with little between the two."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

_Call = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class CallingThread:
    """An executor with one thread. The standard one takes several locks and futures for a call, this one a future."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        # Not waited for when the program ends without `stop`.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._is_started = False

    def call(self, work: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Have `work` done; a call that is canceled before its turn comes is left out."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        future = asyncio.get_running_loop().create_future()
        self._calls.put((future, work, args))
        return future

    def stop(self) -> None:
        """End the thread after everything it has been given, and wait for that."""
        if self._is_started:
            self._calls.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work, args = call
            if not future.cancelled():
                result, error = None, None
                try:
                    result = work(*args)
                except BaseException as raised:  # noqa: BLE001 - whoever waits gets it
                    error = raised
                # The loop may be over, and with it whoever waited.
                with suppress(RuntimeError):
                    future.get_loop().call_soon_threadsafe(_tell, future, result, error)
                del result, error
            # What a call holds on to must not stay until the next one comes.
            del call, future, work, args


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
