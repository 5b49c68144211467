"""Where in a JSON text a value stands, so that an error can point at it."""

import re
from json import JSONDecodeError, JSONDecoder

_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[][{}]', re.DOTALL)
_decoder = JSONDecoder()


def position(text: str, path: tuple[str | int, ...]) -> int | None:
    """The 0-based character offset of the value at `path` in the JSON `text` (for a member: of its key).

    None when the text has no such value. Only used once something is wrong, so it is simple rather than fast.
    """
    at = _skip(text, 0)
    where = at
    try:
        for part in path:
            found = _member(text, at, part) if isinstance(part, str) else _item(text, at, part)
            if found is None:
                return None
            where, at = found
    except (JSONDecodeError, IndexError):
        return None
    return where


def too_deep(text: str, most: int) -> int | None:
    """The character offset of the first bracket that nests deeper than `most` levels; None when there is none."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in {"[", "{"}:
            depth += 1
            if depth > most:
                return token.start()
        elif token[0] in {"]", "}"}:
            depth -= 1
    return None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _member(text: str, at: int, name: str) -> tuple[int, int] | None:
    if text[at] != "{":
        return None
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, end = _decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, end) + 1)
        if key == name:
            return at, value
        _, end = _decoder.raw_decode(text, value)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return None


def _item(text: str, at: int, index: int) -> tuple[int, int] | None:
    if text[at] != "[":
        return None
    at = _skip(text, at + 1)
    while text[at] != "]":
        if index == 0:
            return at, at
        index -= 1
        _, end = _decoder.raw_decode(text, at)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return None
