"""Output becomes lines, whatever bytes come in whatever pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runners.lines import MOST_LINE_BYTES, Lines


def lines_of(*pieces: bytes) -> list[str]:
    lines = Lines()
    return [line for piece in pieces for line in lines.feed(piece)] + list(lines.close())


@pytest.mark.parametrize(
    "pieces, lines",
    [
        ([], []),
        ([b"one\n"], ["one"]),
        ([b"one\ntwo"], ["one", "two"]),
        ([b"o", b"ne\nt", b"wo\n"], ["one", "two"]),
        ([b"\n\nthree\n"], ["", "", "three"]),
        ([b"windows\r\nunix\n"], ["windows", "unix"]),
        ([b"10 %\r20 %\r\n"], ["10 %\r20 %"]),
        ([b"\xc3", b"\xa4\n"], ["ä"]),
        ([b"caf\xe9\n\xff\xfe"], ["caf\ufffd", "\ufffd\ufffd"]),
    ],
)
def test_output_is_cut_at_its_newlines(pieces: list[bytes], lines: list[str]) -> None:
    assert lines_of(*pieces) == lines


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_comes_in_pieces(end: bytes) -> None:
    assert lines_of(b"x" * MOST_LINE_BYTES + end) == ["x" * MOST_LINE_BYTES]
    assert lines_of(b"x" * (2 * MOST_LINE_BYTES + 1) + end) == ["x" * MOST_LINE_BYTES] * 2 + ["x"]


def test_a_line_without_end_is_passed_on_before_its_end() -> None:
    lines = Lines()
    assert list(lines.feed(b"x" * (MOST_LINE_BYTES + 1))) == ["x" * MOST_LINE_BYTES]


@pytest.mark.parametrize("character", ["ä", "€", "🦀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_line_is_not_cut_inside_of_a_character(character: str, shift: int) -> None:
    text = "x" * shift + character * MOST_LINE_BYTES
    pieces = lines_of(text.encode())
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= MOST_LINE_BYTES for piece in pieces)


def test_a_long_line_that_is_no_text_is_cut_all_the_same() -> None:
    assert "".join(lines_of(b"\x80" * 3 * MOST_LINE_BYTES)) == "\ufffd" * 3 * MOST_LINE_BYTES


@given(st.lists(st.text().map(lambda text: text.replace("\r", ""))), st.integers(1, 7))
def test_how_the_bytes_arrive_makes_no_difference(texts: list[str], size: int) -> None:
    data = "\n".join(texts).encode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert lines_of(*pieces) == lines_of(data)
    assert "\n".join(lines_of(data)) == data.decode().removesuffix("\n")
