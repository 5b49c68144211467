"""What the worker's event loop reads from and writes to, without ever waiting: a socket for messages, a pipe."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec

from infra.runners.lines import Lines
from infra.runners.messages import Frames, TooLarge, framed

# How much is read before somebody else has a turn; of output little, for it may be nothing but newlines.
TURN_BYTES, OUTPUT_TURN_BYTES = 16 * 1024, 4 * 1024
MOST_INCOMING_BYTES = 8 * 1024 * 1024
T = TypeVar("T")


class Channel(Generic[T]):
    """A socket that carries messages, and file descriptors along with them.

    `on_close` is called once: when the other side is gone, or says what is no message.
    """

    def __init__(
        self,
        connection: socket.socket,
        decoder: "msgspec.json.Decoder[T]",
        on_message: Callable[[T], None],
        on_close: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._decoder = decoder
        self._on_message = on_message
        self._on_close = on_close
        self._frames = Frames(MOST_INCOMING_BYTES)
        self._outgoing: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._next_turn: asyncio.Handle | None = None
        self._is_open = True
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send a message, now or when there is room. `fds` are closed here once they are on their way."""
        self._outgoing.append((memoryview(framed(message)), fds))
        if not self._is_open:
            self._discard()
        elif len(self._outgoing) == 1:
            self._write()

    def close(self) -> None:
        """Let go of the socket; nothing is sent or called any more."""
        if not self._is_open:
            return
        self._is_open = False
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        # Closing alone would not be noticed where a fork of this process has a copy.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._discard()

    def _write(self) -> None:
        try:
            while self._outgoing:
                self._write_first()
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._write)
            return
        except OSError:
            # Nobody listens any more. What was said before that can still be read.
            self._discard()
        self._loop.remove_writer(self._socket.fileno())

    def _write_first(self) -> None:
        data, fds = self._outgoing[0]
        sent = socket.send_fds(self._socket, [data], list(fds)) if fds else self._socket.send(data)
        _close(fds)
        if sent < len(data):
            self._outgoing[0] = (data[sent:], ())
        else:
            self._outgoing.popleft()

    def _read(self) -> None:
        if self._next_turn is None:
            self._take_turn()

    def _take_turn(self) -> None:
        self._next_turn = None
        try:
            data = self._socket.recv(TURN_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            # Whether there is more has to be asked: uvloop calls once and never again when the other side has gone
            # and left something unread.
            self._next_turn = self._loop.call_soon(self._take_turn)
        self._frames.feed(data)
        try:
            for frame in self._frames:
                self._on_message(self._decoder.decode(frame))
                if not self._is_open:
                    return
        except (TooLarge, msgspec.DecodeError):
            data = b""
        if not data:
            self.close()
            self._on_close()

    def _discard(self) -> None:
        for _, fds in self._outgoing:
            _close(fds)
        self._outgoing.clear()


class Output:
    """A pipe that is read line by line until everybody has closed its other end."""

    def __init__(self, pipe: int, on_line: Callable[[str], Any], on_close: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._on_line = on_line
        self._on_close = on_close
        self._lines = Lines()
        self._is_open = True
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self._read)

    def close(self) -> None:
        """Let go of the pipe; the end of a line that has none is passed on."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        for line in self._lines.close():
            self._on_line(line)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, OUTPUT_TURN_BYTES)
        except BlockingIOError:
            return
        for line in self._lines.feed(data):
            self._on_line(line)
        if not data:
            self.close()
            self._on_close()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
