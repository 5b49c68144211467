"""Trees of artifacts: names of levels, and what a tree looks like after something in it was moved or taken away."""

from collections.abc import Iterable, Mapping

import msgspec

from domain.errors import Invalid

MOST_LEVELS = 64


class ArtifactHierarchy(msgspec.Struct, frozen=True):
    """What the levels of a tree are called; one without a label is `level_<n>`."""

    name: str
    level_labels: dict[int, str] = {}

    def label(self, level: int) -> str:
        """What a level is called."""
        return self.level_labels.get(level, f"level_{level}")


class Place(msgspec.Struct, frozen=True):
    """Where something stands: under whom, how deep, and in whose tree."""

    parent_id: str | None
    level: int
    root_id: str


def places(parents: Mapping[str, str | None]) -> dict[str, Place]:
    """Where everything stands. Raises `Invalid` for a circle and for what is too deep.

    A parent that is not among `parents` does not count: its child is a root.
    """
    found: dict[str, Place] = {}
    for id in parents:
        path: list[str] = []
        current: str | None = id
        while current is not None and current not in found:
            if current in path:
                raise Invalid(f"{current} would be its own ancestor")
            path.append(current)
            above = parents[current]
            current = above if above in parents else None
        for step in reversed(path):
            above = parents[step]
            over = found.get(above) if above is not None else None
            place = Place(above, over.level + 1, over.root_id) if over is not None else Place(None, 0, step)
            if place.level >= MOST_LEVELS:
                raise Invalid(f"{step} would stand on level {place.level}; there are at most {MOST_LEVELS}")
            found[step] = place
    return found


def below(id: str, parents: Mapping[str, str | None]) -> list[str]:
    """`id` and everything under it, parents before their children."""
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)
    found, seen = [id], {id}
    for current in found:
        found += [child for child in children.get(current, ()) if child not in seen]
        seen.update(children.get(current, ()))
    return found


def children_of(parents: Mapping[str, str | None], ids: Iterable[str]) -> dict[str, list[str]]:
    """For each of `ids` its children, in the order of their ids."""
    found: dict[str, list[str]] = {id: [] for id in ids}
    for child in sorted(parents):
        parent = parents[child]
        if parent in found:
            found[parent].append(child)
    return found
