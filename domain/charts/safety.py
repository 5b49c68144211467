"""Which specs are drawn: those that hold all that they show, run nothing of their own and lead nowhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from domain.charts.grammar import SCHEMA_URL
from domain.charts.requests import MOST_PIXELS
from domain.errors import Invalid, cut
from domain.validation import problem

MOST_SPEC_BYTES = 32 * 1024**2
MOST_DEPTH = 60

_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("url", "href"), "a chart holds its own data and leads nowhere"),
    **dict.fromkeys(("expr", "signal", "signals", "calculate", "labelExpr"), "expressions are not run"),
    **dict.fromkeys(("params", "selection", "bind", "usermeta", "loader"), "a stored chart is a picture"),
}
# Predicates are objects; as text they are expressions.
_PREDICATES = ("test", "filter", "and", "or", "not")
_LENGTHS = ("width", "height", "step", "size", "innerRadius", "outerRadius", "padding", "offset")


def check_spec(spec: Any, size: int) -> None:
    """Raise `Invalid` for a spec that is none or not harmless, naming the member; `size` is that of its JSON."""
    if size > MOST_SPEC_BYTES:
        raise Invalid(f"The spec has {size:,} bytes; at most {MOST_SPEC_BYTES:,} are drawn")
    if not isinstance(spec, dict):
        raise Invalid("The spec is no JSON object")
    known = spec.get("$schema", SCHEMA_URL)
    if not isinstance(known, str) or not known.startswith(SCHEMA_URL.removesuffix(".json")):
        raise Invalid(f"The spec follows {cut(known)!r}; only Vega-Lite v5 is drawn ({SCHEMA_URL})")
    for path, why in _faults(spec, ()):
        where = ".".join(str(cut(part)) for part in path)
        message = f'"{where}" is refused: {why}'
        raise Invalid(message, errors=[problem("refused", message, path, None)])


def _faults(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if len(path) > MOST_DEPTH:
        yield path[:8], f"it is nested more than {MOST_DEPTH} levels deep"
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, (*path, index))
    if not isinstance(value, dict):
        return
    for name, member in value.items():
        place = (*path, name)
        if name in _REFUSED or name.lower().endswith("expr"):
            yield place, _REFUSED.get(name, "expressions are not run")
        elif name == "title" and "encoding" in path and isinstance(member, str) and "\\" in member:
            yield place, "a backslash in the title of an encoding is taken for a part of an expression"
        elif name in _PREDICATES and _has_text(member):
            yield place, "expressions are not run"
        elif name in _LENGTHS and isinstance(member, int | float) and abs(member) > MOST_PIXELS:
            yield place, f"it is more than {MOST_PIXELS:,}"
        elif not _is_rows(name, path):
            yield from _faults(member, place)


def _has_text(member: Any) -> bool:
    return isinstance(member, str) or (isinstance(member, list) and any(isinstance(item, str) for item in member))


def _is_rows(name: str, path: tuple[str | int, ...]) -> bool:
    """Whether a member is the data itself, whose names mean nothing to Vega."""
    return (name == "values" and path[-1:] == ("data",)) or (name == "datasets" and not path)
