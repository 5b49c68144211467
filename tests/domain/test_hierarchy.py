"""Trees of artifacts: whatever is moved where, levels and roots are right, and nothing is its own ancestor."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.hierarchy import MOST_LEVELS, ArtifactHierarchy, Place, below, children_of, places


def test_levels_have_names() -> None:
    hierarchy = ArtifactHierarchy("models", {0: "model"})
    assert [hierarchy.label(level) for level in (0, 1)] == ["model", "level_1"]


def test_everything_stands_somewhere() -> None:
    parents = {"a": None, "b": "a", "c": "b", "d": "gone"}
    assert places(parents) == {
        "a": Place(None, 0, "a"),
        "b": Place("a", 1, "a"),
        "c": Place("b", 2, "a"),
        "d": Place(None, 0, "d"),
    }
    assert below("a", parents) == ["a", "b", "c"]
    assert children_of(parents, ["a", "c"]) == {"a": ["b"], "c": []}


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_nothing_is_its_own_ancestor(parents: dict[str, str | None]) -> None:
    with pytest.raises(Invalid, match="its own ancestor"):
        places(parents)


def test_a_tree_has_a_most_levels() -> None:
    line: dict[str, str | None] = {"0": None}
    for level in range(1, MOST_LEVELS):
        line[str(level)] = str(level - 1)
    assert places(line)[str(MOST_LEVELS - 1)].level == MOST_LEVELS - 1
    with pytest.raises(Invalid, match="at most 64"):
        places({**line, "more": str(MOST_LEVELS - 1)})


STEPS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([*"abcdefgh", None])), max_size=30)


@given(STEPS)
def test_random_moves_never_make_a_circle_and_levels_are_right(steps: list[Any]) -> None:
    parents: dict[str, str | None] = dict.fromkeys("abcdefgh")
    for id, parent in steps:
        moved = {**parents, id: parent}
        is_circle = parent is not None and parent in below(id, parents)
        if is_circle:
            with pytest.raises(Invalid):
                places(moved)
            continue
        parents = moved
        found = places(parents)
        for child, place in found.items():
            path, current = [child], parents[child]
            while current is not None:
                path.append(current)
                current = parents[current]
            assert (place.level, place.root_id, place.parent_id) == (len(path) - 1, path[-1], parents[child])
