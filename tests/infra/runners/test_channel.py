"""Sockets and pipes in the event loop: nothing waits, nothing is lost, nothing stays open."""

import asyncio
import os
import socket

import msgspec
import pytest

from infra.runners.channel import Channel, Output
from infra.runners.connection import Connection
from infra.runners.messages import Report, Start, framed
from tests.infra.runners.running import descriptors, eventually


class Heard:
    """A channel, its other end, and what came through it."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.messages: list[Report] = []
        self.closings = 0
        self.channel = Channel(ours, msgspec.json.Decoder(Report), self.messages.append, self.on_close)

    def on_close(self) -> None:
        self.closings += 1


async def test_sending_never_waits_for_who_does_not_listen() -> None:
    heard = Heard()
    text = "x" * 1_000_000
    for _ in range(5):
        heard.channel.send(Report({"log": text}))
    connection = Connection(heard.theirs.detach())
    for _ in range(5):
        frame = await asyncio.to_thread(connection.receive)
        assert frame is not None
        assert msgspec.json.decode(frame, type=Report).message == {"log": text}
    heard.channel.close()
    assert connection.receive() is None
    connection.socket.close()


async def test_descriptors_go_along_and_are_closed_here_whatever_happens() -> None:
    before = descriptors()
    heard = Heard()
    connection = Connection(heard.theirs.detach())
    reader, writer = os.pipe()
    heard.channel.send(Start(1), [writer])
    arrived = await asyncio.to_thread(connection.arrived, 5)
    assert arrived is not None
    (frame,), (received,) = arrived
    assert msgspec.json.decode(frame)["run"] == 1
    os.write(received, b"!")
    os.close(received)
    assert os.read(reader, 5) == b"!"
    assert os.read(reader, 5) == b""

    connection.socket.close()
    heard.channel.send(Start(2), [reader])
    await eventually(lambda: heard.closings)
    heard.channel.send(Start(3), [os.open(os.devnull, os.O_RDONLY)])
    assert descriptors() == before


async def test_descriptors_that_find_no_room_end_the_conversation() -> None:
    before = descriptors()
    heard = Heard()
    connection = Connection(heard.theirs.detach())
    heard.channel.send(Start(1), [os.open(os.devnull, os.O_RDONLY) for _ in range(20)])
    assert await asyncio.to_thread(connection.arrived, 1) is None
    connection.socket.close()
    heard.channel.close()
    assert descriptors() == before


async def test_what_was_said_before_the_end_is_heard() -> None:
    heard = Heard()
    heard.theirs.sendall(framed(Report({"log": "one"})) + framed(Report({"log": "two"})))
    heard.theirs.close()
    await eventually(lambda: heard.closings)
    assert [message.message["log"] for message in heard.messages] == ["one", "two"]


async def test_everything_is_heard_from_who_goes_without_having_listened() -> None:
    heard = Heard()
    heard.channel.send(Report({"log": "unread"}))
    text = "x" * 40_000
    heard.theirs.sendall(framed(Report({"log": text})))
    heard.theirs.close()
    await eventually(lambda: heard.closings, within=2)
    assert [message.message["log"] for message in heard.messages] == [text]


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x02{]", framed(Start(1)), b"\xff\xff\xff\xff"])
async def test_what_is_no_message_ends_the_conversation(data: bytes) -> None:
    heard = Heard()
    heard.theirs.sendall(framed(Report({"log": "one"})) + data + framed(Report({"log": "two"})))
    await eventually(lambda: heard.closings)
    assert len(heard.messages) == 1
    assert heard.theirs.recv(10) == b""
    heard.theirs.close()


async def test_nothing_is_heard_after_closing() -> None:
    heard = Heard()

    def close(message: Report) -> None:
        heard.messages.append(message)
        heard.channel.close()
        heard.channel.close()

    heard.channel._on_message = close
    heard.theirs.sendall(framed(Report({"log": "one"})) + framed(Report({"log": "two"})))
    await eventually(lambda: heard.messages)
    assert len(heard.messages) == 1
    assert heard.closings == 0
    heard.theirs.close()


async def test_a_reader_that_fails_loses_only_what_it_failed_at() -> None:
    heard = Heard()
    loop = asyncio.get_running_loop()
    former = loop.get_exception_handler()
    errors: list[object] = []
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def fail_once(message: Report) -> None:
        heard.messages.append(message)
        if len(heard.messages) == 1:
            raise LookupError

    heard.channel._on_message = fail_once
    heard.theirs.sendall(framed(Report({"log": "one"})) + framed(Report({"log": "two"})))
    heard.theirs.close()
    await eventually(lambda: heard.closings)
    loop.set_exception_handler(former)
    assert [message.message["log"] for message in heard.messages] == ["one", "two"]
    assert [type(error) for error in errors] == [LookupError]


async def test_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    lines: list[str] = []
    closings: list[bool] = []
    output = Output(reader, lines.append, lambda: closings.append(True))
    os.write(writer, b"one\ntw")
    await eventually(lambda: lines == ["one"])
    os.write(writer, b"o")
    os.close(writer)
    await eventually(lambda: closings)
    output.close()
    assert lines == ["one", "two"]
    assert closings == [True]
