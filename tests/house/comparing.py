"""Compares what a page shows with what was said; `…` in it stands for anything."""

import json
import re
from typing import Any

ANY = "…"


def differs(expected: Any, found: Any, where: str = "$") -> str | None:
    """Where and how `found` is not what `expected` shows; None when it is."""
    if expected == ANY:
        return None
    if isinstance(expected, str) and ANY in expected and isinstance(found, str):
        return None if matches(expected, found) else f"{where} is {found!r}, not {expected!r}"
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [name for name in expected if name != ANY]
        if missing := [name for name in names if name not in found]:
            return f"{where} has no {missing[0]!r}"
        if ANY not in expected and (more := [name for name in found if name not in expected]):
            return f"{where} also has {more[0]!r}"
        return next(
            (fault for name in names if (fault := differs(expected[name], found[name], f"{where}.{name}"))), None
        )
    if isinstance(expected, list) and isinstance(found, list):
        is_open = bool(expected) and expected[-1] == ANY
        shown = expected[:-1] if is_open else expected
        if len(found) < len(shown) or (len(found) > len(shown) and not is_open):
            return f"{where} has {len(found)} items, not {len(shown)}"
        pairs = enumerate(zip(shown, found, strict=False))
        return next((fault for number, (a, b) in pairs if (fault := differs(a, b, f"{where}[{number}]"))), None)
    # To JSON 600 and 600.0 are the same number, and `true` is none.
    if isinstance(expected, bool) is not isinstance(found, bool) or expected != found:
        return f"{where} is {found!r}, not {expected!r}"
    return None


def reply_differs(expected: str, said: str) -> str | None:
    """The same for a reply with its head: the status line, the shown headers in any order, the body if one is shown."""
    head, _, body = expected.partition("\n\n")
    found_head, _, found_body = said.replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.strip().splitlines()
    found_status, *found_lines = found_head.splitlines()
    if found_status.strip() != status.strip():
        return f"the status is {found_status!r}"
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in found_lines)}
    for line in lines:
        name, _, value = line.partition(":")
        if not matches(value.strip(), found.get(name.lower(), "")):
            return f"the header {name} is {found.get(name.lower())!r}"
    return differs(json.loads(body), json.loads(found_body)) if body.strip() else None


def text_differs(expected: str, said: str) -> str | None:
    """The same for lines of text, blanks counting as one; a line `…` stands for any number of lines."""
    wanted = [" ".join(line.split()) for line in expected.strip().splitlines()]
    found = [" ".join(line.split()) for line in said.strip().splitlines()]
    pattern = "".join(r"(?:[^\n]*\n)*" if line == ANY else _pattern(line, r"[^\n]*") + r"\n" for line in wanted)
    return None if re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) else "the text differs"


def matches(expected: str, found: str) -> bool:
    """Whether `found` is `expected`, in which `…` stands for anything."""
    return re.fullmatch(_pattern(expected, ".*"), found, re.DOTALL) is not None


def _pattern(text: str, anything: str) -> str:
    return anything.join(re.escape(part) for part in text.split(ANY))
