"""Models by name, their numbered versions, and the aliases that point to versions, with everything they pointed to."""

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.entity import Entity, Ulid
from domain.errors import Conflict
from domain.frames import FieldSchema
from domain.gates import GateDecision
from domain.jobs import IllegalTransition
from domain.query import Resource
from domain.validation import problem, rejected

CHAMPION = "champion"
"""The alias whose version is live."""

ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]*(?!\n)$",
        min_length=1,
        max_length=100,
        description="a name of a model: small letters, digits, '.', '_' and '-', at most 100",
    ),
]
AliasName = Annotated[
    str,
    Meta(
        # A letter first, so that `name@3` cannot be an alias.
        pattern=r"^[a-z][a-z0-9._-]*(?!\n)$",
        min_length=1,
        max_length=100,
        description="an alias: small letters, digits, '.', '_' and '-', a letter first, at most 100",
    ),
]
MetricName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?!\n)$",
        min_length=1,
        max_length=100,
        description="a name of a metric: letters, digits and '_', no digit first, at most 100",
    ),
]
Metrics = Annotated[dict[MetricName, float], Meta(max_length=500)]
Description = Annotated[str, Meta(max_length=2_000)]


class VersionStatus(enum.StrEnum):
    """What a version is for at the moment; `live` is the one that the champion points to."""

    DRAFT = "draft"
    CANDIDATE = "candidate"
    LIVE = "live"
    ARCHIVED = "archived"


_DRAFT, _CANDIDATE, _LIVE, _ARCHIVED = VersionStatus
TRANSITIONS: Mapping[VersionStatus, frozenset[VersionStatus]] = {
    _DRAFT: frozenset({_CANDIDATE, _ARCHIVED}),
    _CANDIDATE: frozenset({_DRAFT, _LIVE, _ARCHIVED}),
    _LIVE: frozenset({_ARCHIVED}),
    # Live again by a rollback.
    _ARCHIVED: frozenset({_CANDIDATE, _LIVE}),
}


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that a version reads and writes."""

    inputs: list[FieldSchema] = []
    outputs: list[FieldSchema] = []


class Model(Entity, kw_only=True):
    """What versions are versions of."""

    name: ModelName
    description: Description = ""


class ModelVersion(Entity, kw_only=True):
    """One trained state of a model, by its number.

    `artifact_id` is what the training has left; `artifact_deleted_at` says that it is gone, so that nothing can be
    predicted any more. `config_id` and `code_revision` are those of the training.
    """

    model_id: Ulid
    number: Annotated[int, Meta(ge=1)]
    status: VersionStatus = VersionStatus.CANDIDATE
    artifact_id: Ulid
    artifact_deleted_at: datetime | None = None
    config_id: Ulid | None = None
    code_revision: Annotated[str, Meta(max_length=40)] | None = None
    metrics: Metrics = msgspec.field(default_factory=dict)
    signature: Signature | None = None
    description: Description = ""


MODELS: Resource[Model] = Resource(Model, "models")
VERSIONS: Resource[ModelVersion] = Resource(
    ModelVersion,
    "model-versions",
    searchable={"description"},
    read_only={"artifact_deleted_at", "config_id", "code_revision"},
)
FIXED = ("id", "model_id", "number", "artifact_id")
"""What nobody changes in a version."""


class NewVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of a new version; the rest is that of its artifact."""

    artifact_id: Ulid
    metrics: Metrics = msgspec.field(default_factory=dict)
    signature: Signature | None = None
    description: Description = ""
    status: VersionStatus = VersionStatus.CANDIDATE
    tags: Annotated[list[str], Meta(max_length=50)] = []


class UsedVersion(msgspec.Struct, frozen=True):
    """Which version something was made with."""

    model: str
    number: int

    @property
    def reference(self) -> str:
        """How it is written: `outbreak@3`."""
        return f"{self.model}@{self.number}"


def check_transition(version: ModelVersion, after: VersionStatus) -> None:
    """Raise `IllegalTransition` when a version cannot become this."""
    if after not in TRANSITIONS[version.status]:
        raise _illegal(version, after, TRANSITIONS[version.status])


def check_by_hand(version: ModelVersion, after: VersionStatus) -> None:
    """The same for a change without an alias: what is live, and what is not, the champion says alone."""
    allowed = frozenset() if version.status is _LIVE else TRANSITIONS[version.status] - {_LIVE}
    if after not in allowed:
        hint = "; $promote makes it live" if after is _LIVE else ""
        hint = "; promote another version, or delete the alias" if version.status is _LIVE else hint
        raise _illegal(version, after, allowed, hint)


def _illegal(
    version: ModelVersion, after: VersionStatus, allowed: frozenset[VersionStatus], hint: str = ""
) -> IllegalTransition:
    names = sorted(allowed)
    can = f"it can become {', '.join(names)}" if names else "it cannot become anything else by itself"
    return IllegalTransition(
        f"Version {version.number} is {version.status} and cannot become {after}; {can}{hint}",
        extensions={"allowed": names},
    )


# Aliases


class MoveKind(enum.StrEnum):
    """Why an alias points elsewhere than before."""

    PROMOTED = "promoted"
    SET = "set"
    ROLLED_BACK = "rolled_back"
    REMOVED = "removed"


class AliasMove(msgspec.Struct, frozen=True, kw_only=True):
    """From one moment on an alias points to a version, or (None) to nothing; the history is made of these."""

    model_id: str
    alias: str
    version: int | None
    kind: MoveKind
    at: datetime
    gate: str | None = None
    principal: str = "anonymous"
    trace_id: str | None = None


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias points to, since when and why."""

    model: str
    alias: str
    version: int
    kind: MoveKind
    at: datetime
    gate: str | None
    principal: str


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an alias; `former` is what it pointed to. Nothing is changed if that was the version."""

    model: str
    alias: str
    version: int | None
    former: int | None
    is_changed: bool
    gate: GateDecision | None = None


def version_before(moves: Sequence[AliasMove]) -> int | None:
    """What a rollback goes back to, after these moves of one alias, oldest first; None for nothing.

    A rollback takes back the latest move that was not taken back yet, so that a second one goes further back, and
    never forth to what the first has left.
    """
    pointed: list[int] = []
    is_removed = False
    for move in moves:
        if move.kind is MoveKind.REMOVED:
            is_removed = True
        elif move.kind is MoveKind.ROLLED_BACK:
            if not is_removed:
                pointed.pop()
            is_removed = False
        elif move.version is not None:
            pointed.append(move.version)
            is_removed = False
    if not is_removed:
        pointed = pointed[:-1]
    return pointed[-1] if pointed else None


# References

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9._-]{0,99})@(?:([1-9][0-9]{0,8})|([a-z][a-z0-9._-]{0,99}))")


class Reference(msgspec.Struct, frozen=True):
    """A version as it is named in a request: by its number, or by an alias."""

    model: str
    number: int | None
    alias: str | None


def parse_reference(text: str) -> Reference:
    """`outbreak@champion` or `outbreak@3`. Raises `InvalidBody` for anything else."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        message = 'must be the name of a model, "@", and an alias or a number: outbreak@champion, outbreak@3'
        raise rejected([problem("value_error", f'"model" {message}', ("model",), text)])
    name, number, alias = match.groups()
    return Reference(name, int(number) if number else None, alias)


def check_usable(version: ModelVersion) -> None:
    """Raise `Conflict` for a version that cannot predict any more."""
    if version.artifact_deleted_at is not None:
        raise Conflict(
            f"Version {version.number} cannot be used: its artifact {version.artifact_id} was deleted",
            extensions={"artifact_id": version.artifact_id},
        )
