"""Frames: messages of any size through a stream of bytes."""

import msgspec
import pytest

from infra.runners.messages import Frames, Kill, Start, ToLauncher, TooLarge, framed


def test_messages_arrive_as_they_were_sent_in_whatever_pieces() -> None:
    messages = [Start(1), Kill(1, 15), Start(70_000)]
    data = b"".join(map(framed, messages))
    for size in (1, 3, 1000):
        frames, found = Frames(), []
        for start in range(0, len(data), size):
            frames.feed(data[start : start + size])
            found += [ToLauncher.decode(frame) for frame in frames]
        assert found == messages


def test_a_frame_stays_until_it_is_taken() -> None:
    frames = Frames()
    frames.feed(framed(Start(1)) + framed(Start(2)))
    assert msgspec.json.decode(next(iter(frames)))["run"] == 1
    assert [msgspec.json.decode(frame)["run"] for frame in frames] == [2]


def test_a_frame_that_is_too_large_is_refused_before_it_is_there() -> None:
    frames = Frames(most_bytes=10)
    frames.feed(b"\x00\x00\x00\x0b")
    with pytest.raises(TooLarge, match="11 bytes"):
        list(frames)
