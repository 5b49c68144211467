"""Versions: what may become of them, how they are named, and where a rollback leads."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from domain.entity import new_id, now_utc
from domain.errors import Conflict, InvalidBody
from domain.jobs import IllegalTransition
from domain.model_versions import (
    TRANSITIONS,
    AliasMove,
    ModelVersion,
    MoveKind,
    Reference,
    UsedVersion,
    VersionStatus,
    check_by_hand,
    check_transition,
    check_usable,
    parse_reference,
    version_before,
)

DRAFT, CANDIDATE, LIVE, ARCHIVED = VersionStatus
START = datetime(2026, 1, 1, tzinfo=UTC)


def version(status: VersionStatus) -> ModelVersion:
    return ModelVersion(model_id=new_id(), number=3, artifact_id=new_id(), status=status)


@pytest.mark.parametrize("before", VersionStatus)
@pytest.mark.parametrize("after", VersionStatus)
def test_a_status_follows_the_table(before: VersionStatus, after: VersionStatus) -> None:
    if after in TRANSITIONS[before]:
        check_transition(version(before), after)
    else:
        with pytest.raises(IllegalTransition) as caught:
            check_transition(version(before), after)
        assert caught.value.extensions["allowed"] == sorted(TRANSITIONS[before])


@pytest.mark.parametrize("other", VersionStatus)
def test_nothing_becomes_live_by_hand_or_ceases_to_be(other: VersionStatus) -> None:
    for before, after in ((LIVE, other), (other, LIVE)):
        with pytest.raises(IllegalTransition):
            check_by_hand(version(before), after)


def test_every_status_can_be_reached_and_left() -> None:
    assert set().union(*TRANSITIONS.values()) == set(VersionStatus) == set(TRANSITIONS)
    for before, after in pairwise((DRAFT, CANDIDATE, LIVE, ARCHIVED, CANDIDATE, DRAFT)):
        check_transition(version(before), after)


def moves(*steps: int | str | None) -> Sequence[AliasMove]:
    """A history: a number is a promotion, None a removal, "back" a rollback."""
    made: list[AliasMove] = []
    for place, step in enumerate(steps):
        kind = MoveKind.REMOVED if step is None else MoveKind.ROLLED_BACK if step == "back" else MoveKind.PROMOTED
        number = version_before(made) if step == "back" else step
        assert number is None or isinstance(number, int)
        at = START + timedelta(seconds=place)
        made.append(AliasMove(model_id="m", alias="champion", version=number, kind=kind, at=at))
    return made


@pytest.mark.parametrize(
    "steps, expected",
    [
        ((), None),
        ((1,), None),
        ((1, 2), 1),
        ((1, 2, 3), 2),
        ((1, 2, 3, "back"), 1),
        ((1, 2, 3, "back", "back"), None),
        ((1, 2, "back", 3), 1),
        ((1, 2, 1), 2),
        ((1, None), 1),
        ((1, None, "back"), None),
        ((1, None, 2), 1),
        ((1, 2, None, "back"), 1),
        ((1, 2, None, "back", "back"), None),
        ((1, None, 2, "back", 3, "back"), None),
    ],
)
def test_a_rollback_goes_further_back_each_time(steps: tuple[int | str | None, ...], expected: int | None) -> None:
    assert version_before(moves(*steps)) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("outbreak@champion", Reference("outbreak", None, "champion")),
        ("outbreak@3", Reference("outbreak", 3, None)),
        ("a.b-c_1@x", Reference("a.b-c_1", None, "x")),
        ("1@999999999", Reference("1", 999999999, None)),
    ],
)
def test_a_version_is_named_by_alias_or_number(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["", "outbreak", "@3", "outbreak@", "outbreak@03", "outbreak@0", "O@1", "a@b@c", "a/3", "a@1\n", "a@-1"]
)
def test_any_other_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidBody, match="outbreak@champion"):
        parse_reference(text)


def test_what_is_used_is_written_as_it_is_asked_for() -> None:
    used = UsedVersion("outbreak", 3)
    assert parse_reference(used.reference) == Reference("outbreak", 3, None)


def test_a_version_without_its_artifact_cannot_be_used() -> None:
    gone = version(ARCHIVED)
    check_usable(gone)
    gone.artifact_deleted_at = now_utc()
    with pytest.raises(Conflict, match=f"artifact {gone.artifact_id} was deleted"):
        check_usable(gone)
