"""Output as lines: whatever bytes come, in whatever pieces."""

from collections.abc import Iterator

MOST_LINE_BYTES = 16 * 1024


class Lines:
    """Cuts output into lines. One of more than 16 KiB comes in pieces, and what is no UTF-8 is replaced."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        for line in complete:
            yield from _pieces(line.removesuffix(b"\r"))
        *full, self._rest = _cut(self._rest)
        yield from map(_text, full)

    def close(self) -> Iterator[str]:
        """What was said after the last newline."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from _pieces(rest)


def _pieces(line: bytes) -> Iterator[str]:
    return map(_text, _cut(line))


def _cut(line: bytes) -> list[bytes]:
    pieces = []
    while len(line) > MOST_LINE_BYTES:
        end = MOST_LINE_BYTES
        # Not in the middle of a character, which has at most three bytes after its first.
        while end > MOST_LINE_BYTES - 4 and line[end] & 0b1100_0000 == 0b1000_0000:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


def _text(piece: bytes) -> str:
    return piece.decode(errors="replace")
