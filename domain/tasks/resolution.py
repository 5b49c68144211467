"""References to results of other jobs in the arguments of a task, and what takes their place."""

from collections.abc import Iterator, Mapping
from typing import Any

REFERENCE = "$ref"
"""The member that stands for the result of another job: `{"$ref": "name"}`."""


def references(value: Any) -> Iterator[str]:
    """The names that arguments refer to, wherever in them."""
    if isinstance(value, Mapping):
        if set(value) == {REFERENCE} and isinstance(value[REFERENCE], str):
            yield value[REFERENCE]
        else:
            for member in value.values():
                yield from references(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from references(member)


def resolved(value: Any, found: Mapping[str, Any]) -> Any:
    """Arguments with every reference replaced by what it is in `found`."""
    if isinstance(value, Mapping):
        if set(value) == {REFERENCE} and isinstance(value[REFERENCE], str):
            return found[value[REFERENCE]]
        return {name: resolved(member, found) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(member, found) for member in value]
    return value
