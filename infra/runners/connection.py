"""The blocking side of a socket that carries messages: what the launcher and the processes of runs have."""

import os
import socket
import threading
from collections.abc import Iterator

import msgspec

from infra.runners.messages import Frames, framed


class Connection:
    """A socket to the worker. Every thread may send."""

    def __init__(self, fd: int) -> None:
        # Whoever this process executes is not to have it.
        self.socket = socket.socket(fileno=fd)
        self.socket.set_inheritable(False)
        self._frames = Frames()
        self._incoming = self._received()
        self._lock = threading.Lock()

    def receive(self) -> bytes | None:
        """Wait for a frame; None when there will be none."""
        return next(self._incoming, None)

    def send(self, message: msgspec.Struct) -> None:
        """Send a message. Raises `OSError` when nobody is there to get it."""
        data = framed(message)
        with self._lock:
            self.socket.sendall(data)

    def arrived(self, most_fds: int) -> tuple[list[bytes], list[int]] | None:
        """The frames that are there and the file descriptors that came along; None when there will be none."""
        data, fds, flags, _ = socket.recv_fds(self.socket, 65536, most_fds)
        if not data or flags & socket.MSG_CTRUNC:
            # One that was lost for want of room would leave all that follow to the wrong runs.
            for fd in fds:
                os.close(fd)
            return None
        for fd in fds:
            # Those received can be inherited, unlike those opened here.
            os.set_inheritable(fd, False)
        self._frames.feed(data)
        return list(self._frames), fds

    def _received(self) -> Iterator[bytes]:
        while data := self.socket.recv(65536):
            self._frames.feed(data)
            yield from self._frames
