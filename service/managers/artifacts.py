"""What happens to artifacts: their content goes into storage and comes back from there."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import msgspec

from domain.artifacts import (
    CONTENT,
    WITHOUT_CONTENT,
    Artifact,
    file_name,
    kind_of,
    media_type_of,
    stub,
)
from domain.errors import Conflict, Invalid, NotFound
from domain.frames import DataFrame, InvalidFrame
from domain.hierarchy import ArtifactHierarchy
from domain.model_runs import ContentKind
from domain.ports import ArtifactRows, ConfigLinks, Document, Repository, Transactions
from domain.query import Resource
from domain.storage import Storage
from service.managers.artifact_trees import ArtifactTrees, Shape
from service.managers.base import Expectation, Manager
from service.managers.hooks import Change, Hooks

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_START_BYTES = 200
_ORDER = ("type", "metadata", CONTENT, "content_type", "content_size")


class Download(msgspec.Struct, frozen=True):
    """A content on its way to a client; `size` is in bytes."""

    name: str
    media_type: str
    size: int
    pieces: AsyncIterator[bytes]


class ArtifactManager(Manager[Artifact]):
    """The artifacts of a service.

    Methods raise what those of `Manager` raise. No read but that of one artifact's content looks into storage.
    """

    def __init__(
        self,
        resource: Resource[Artifact],
        repository: Repository[Artifact],
        transactions: Transactions,
        rows: ArtifactRows,
        links: ConfigLinks,
        storage: Storage,
        hierarchy: ArtifactHierarchy | None = None,
    ) -> None:
        super().__init__(resource, repository, transactions, hooks=[_Contents(storage), Shape(repository, rows, links)])
        self.trees = ArtifactTrees(repository, transactions, rows, links, hierarchy)
        self._links = links
        self._storage = storage

    # One artifact with its content

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """One artifact as JSON, with its content if `data` is asked for."""
        document = await super().document(id, fields)
        if fields is not None and "data" not in fields:
            return document
        artifact = await self.get(id)
        if artifact.content_sha256 is None:
            return document
        members = _members(document.json)
        data = _members(members["data"])
        content = await self._shown(artifact.content_kind, artifact.content_sha256)
        # Where clients are used to find it.
        data[CONTENT] = msgspec.Raw(content)
        known = {name: data.pop(name) for name in _ORDER if name in data}
        members["data"] = msgspec.Raw(_encode({**known, **data}))
        return Document(_encode(members), document.version)

    async def _shown(self, kind: str, sha256: str) -> bytes:
        """A content as JSON; of one that is none what it begins with."""
        if kind in {ContentKind.JSON, ContentKind.FRAME}:
            return await self._storage.read(sha256)
        async for piece in self._storage.stream(sha256):
            return _encode(stub(kind, piece[:_START_BYTES]))
        return _encode(stub(kind, b""))

    async def create(self, values: Mapping[str, Any]) -> Artifact:
        """Store a new artifact; what comes back has its content."""
        return _whole(await super().create(values), values.get("data"))

    async def replace(self, id: str, values: Mapping[str, Any], *, is_expected: Expectation | None = None) -> Artifact:
        """Give an artifact new data, content and parent."""
        # Without a parent it becomes a root, so this may be a move whatever is sent.
        async with self.trees.reshaping():
            replaced = await super().replace(id, {**WITHOUT_CONTENT, **values}, is_expected=is_expected)
        return _whole(replaced, values.get("data"))

    async def patch(self, id: str, patch: Mapping[str, Any], *, is_expected: Expectation | None = None) -> Artifact:
        """Apply a merge patch; a content is replaced as a whole."""
        async with self.trees.reshaping() if "parent_id" in patch else nullcontext():
            return await super().patch(id, patch, is_expected=is_expected)

    def _merged(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._merged(stored, patch)
        if "data" not in patch:
            return values
        # A content is a member of its object: it goes with that, and when it is set to null.
        sent = patch["data"]
        is_gone = not isinstance(sent, Mapping) or (CONTENT in sent and sent[CONTENT] is None)
        return {**values, **WITHOUT_CONTENT} if is_gone else values

    async def metadata(self, id: str) -> Any:
        """The metadata in the data of an artifact."""
        data = (await self.get(id)).data
        return data.get("metadata", {}) if isinstance(data, Mapping) else {}

    async def download(self, id: str) -> Download:
        """The content of an artifact as a file. Raises `NotFound` when it has none."""
        artifact = await self.get(id)
        if not isinstance(artifact.data, Mapping):
            raise Invalid(f"The data of artifact {artifact.id} is no object, so it has no content to download")
        media_type = media_type_of(artifact.data.get("content_type"))
        name = file_name(artifact.id, media_type)
        if artifact.content_sha256 is None:
            raise NotFound(f"Artifact {artifact.id} has no content")
        if artifact.content_kind in {ContentKind.BYTES, ContentKind.PICKLE}:
            pieces = self._storage.stream(artifact.content_sha256)
            return Download(name, media_type, artifact.content_bytes or 0, pieces)
        content = await self._storage.read(artifact.content_sha256)
        if artifact.content_kind == ContentKind.FRAME:
            frame = _frame(artifact.id, content, media_type)
            content = (frame.to_csv() or "").encode() if media_type == "text/csv" else frame.to_json().encode()
        elif content[:1] != b"{":
            kind = type(msgspec.json.decode(content)).__name__
            if kind == "NoneType":
                raise NotFound(f"Artifact {artifact.id} has no content")
            raise Invalid(f"Cannot serialize content of type {kind}")
        return Download(name, media_type, len(content), _one(content))

    # Trees

    async def expand(self, id: str) -> dict[str, Any]:
        """One artifact without its content, with what its level is called."""
        return await self.trees.expanded(await self.get(id))

    async def tree(self, id: str) -> dict[str, Any]:
        """An artifact and everything below it, without content."""
        return await self.trees.tree(await self.get(id))

    async def root_of(self, id: str) -> str:
        """The id of the root of the tree that an artifact is in."""
        artifact = await self.get(id)
        return artifact.root_id or artifact.id

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove an artifact; what was below it becomes roots."""
        async with self.trees.reshaping():
            await super().delete(id, is_expected=is_expected)

    async def delete_all(self, ids: Sequence[str]) -> int:
        """Remove artifacts; what was below them becomes roots."""
        async with self.trees.reshaping():
            return await super().delete_all(ids)

    async def insert_results(self, artifacts: Sequence[Artifact], config_id: str | None) -> None:
        """Store what a run has left, and link the first to the configuration if that is still there."""
        async with self.trees.growing():
            for artifact in artifacts:
                await self.save(artifact)
            if config_id is not None:
                await self._links.link(config_id, artifacts[0].id)


class _Contents(Hooks[Artifact]):
    """Puts contents into storage before their rows are written: one without a row is litter, the reverse is a bug."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def pre_save(self, entities: Sequence[Artifact]) -> None:
        for artifact in entities:
            if artifact.data is None:
                raise Conflict("The data of an artifact cannot be null", extensions={"constraint": "not_null"})
            await self._split(artifact)

    async def pre_update(self, changes: Sequence[Change[Artifact]]) -> None:
        for change in changes:
            if change.after.data is None:
                raise Conflict("The data of an artifact cannot be null", extensions={"constraint": "not_null"})
            await self._split(change.after)

    async def _split(self, artifact: Artifact) -> None:
        if not isinstance(artifact.data, dict) or CONTENT not in artifact.data:
            return
        content = artifact.data[CONTENT]
        artifact.data = {name: value for name, value in artifact.data.items() if name != CONTENT}
        blob = await self._storage.put(_encode(content))
        artifact.content_kind = kind_of(content, artifact.data.get("content_type"))
        artifact.content_sha256 = blob.sha256
        artifact.content_bytes = blob.size
        # Whoever has sent it, it was not this service.
        artifact.signature = None


def _whole(artifact: Artifact, data: Any) -> Artifact:
    """An artifact with the data that a client has sent, content and all."""
    artifact.data = data
    return artifact


def _frame(id: str, content: bytes, media_type: str) -> DataFrame:
    # Clients store what they like under the media type of a frame.
    try:
        return DataFrame.decode(content)
    except InvalidFrame as error:
        raise Invalid(
            f"The content of artifact {id} is no frame, so it cannot be downloaded as {media_type}: {error.detail}"
        ) from None


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
