"""Artifacts: what models leave and clients store, in trees; the content is kept elsewhere, by its hash."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.entity import Entity, Ulid
from domain.model_runs import FRAME_MEDIA_TYPE, ContentKind
from domain.query import Resource

NO_CONTENT = "none"
CONTENT = "content"
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class Artifact(Entity, kw_only=True):
    """Something that was made, and where it comes from.

    `data` is any JSON. Of an object the member `content` is kept in storage: `content_kind` says as what, with its
    hash and its size in bytes; lists show the object without it. `level` counts from the root of the tree, 0.
    `inputs` are the hashes of what it was made of, `parents` the artifacts among that, `job_id`, `config_id` and
    `code_revision` by whom, how and by which code. `signature` says that this service has made the content itself.
    """

    data: Any
    parent_id: Ulid | None = None
    level: int = 0
    root_id: Ulid | None = None
    content_kind: Annotated[str, Meta(max_length=10)] = NO_CONTENT
    content_sha256: Sha256 | None = None
    content_bytes: int | None = None
    signature: Annotated[str, Meta(max_length=100)] | None = None
    job_id: Ulid | None = None
    config_id: Ulid | None = None
    code_revision: Annotated[str, Meta(max_length=40)] | None = None
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    parents: list[str] = msgspec.field(default_factory=list)


ARTIFACTS = Resource(
    Artifact,
    "artifacts",
    searchable=(),
    hidden={"signature"},
    read_only={
        *("level", "root_id", "content_kind", "content_sha256", "content_bytes", "signature"),
        *("job_id", "config_id", "code_revision", "inputs", "parents"),
    },
    ignores_unknown=True,
)
WITHOUT_CONTENT: Mapping[str, Any] = {
    "content_kind": NO_CONTENT,
    "content_sha256": None,
    "content_bytes": None,
    "signature": None,
}

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.-]+)*", re.ASCII)

EXTENSIONS = {
    "application/zip": "zip",
    "text/csv": "csv",
    "application/json": "json",
    FRAME_MEDIA_TYPE: "json",
    "image/png": "png",
}
"""What a downloaded content is named by its media type; anything else is `bin`."""


def kind_of(content: Any, media_type: Any) -> ContentKind:
    """As what a content that came as JSON is kept."""
    is_frame = isinstance(content, Mapping) and isinstance(content.get("columns"), list)
    is_frame = is_frame and isinstance(content.get("data"), list)
    return ContentKind.FRAME if is_frame and media_type in {FRAME_MEDIA_TYPE, "text/csv"} else ContentKind.JSON


def media_type_of(told: Any) -> str:
    """The media type that data tells of, which goes into a header; bytes for what is none."""
    is_one = isinstance(told, str) and _MEDIA_TYPE.fullmatch(told)
    return told if is_one else "application/octet-stream"


def file_name(id: str, media_type: str) -> str:
    """How a downloaded content is to be called."""
    return f"artifact_{id}.{EXTENSIONS.get(media_type, 'bin')}"


def stub(kind: str, start: bytes) -> dict[str, Any]:
    """What stands for a content that is no JSON."""
    shown = repr(start)
    name = "bytes" if kind == ContentKind.BYTES else "object"
    return {
        "_type": name,
        "_module": "builtins",
        "_repr": shown if len(shown) <= 200 else f"{shown[:200]}...",
        "_serialization_error": f"a {name} has no JSON; $download gives it as it is",
    }


class Node(msgspec.Struct, frozen=True):
    """One artifact of a tree as it is shown: its row as JSON, with the names of its level, and its children."""

    row: dict[str, Any]
    level_label: str | None
    hierarchy: str | None
    children: list["Node"] | None

    def shown(self) -> dict[str, Any]:
        """The node as JSON values."""
        children = None if self.children is None else [child.shown() for child in self.children]
        return {**self.row, "level_label": self.level_label, "hierarchy": self.hierarchy, "children": children}
