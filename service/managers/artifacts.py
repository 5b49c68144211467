"""What happens to artifacts: their content goes into storage and comes back from there, and trees keep their shape."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from domain.artifacts import (
    CONTENT,
    WITHOUT_CONTENT,
    Artifact,
    Node,
    file_name,
    kind_of,
    media_type_of,
    stub,
)
from domain.bodies import decode_object
from domain.entity import parse_id
from domain.errors import Conflict, Invalid, NotFound
from domain.frames import DataFrame
from domain.hierarchy import MOST_LEVELS, ArtifactHierarchy, below, children_of, places
from domain.model_runs import ContentKind
from domain.ports import ArtifactRows, ConfigLinks, Document, Repository, Transactions
from domain.query import Resource
from domain.storage import Storage
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
        super().__init__(
            resource, repository, transactions, hooks=[_Contents(storage), _Trees(repository, rows, links)]
        )
        self.hierarchy = hierarchy
        self._rows = rows
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
        replaced = await super().replace(id, {**WITHOUT_CONTENT, **values}, is_expected=is_expected)
        return _whole(replaced, values.get("data"))

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
            frame = msgspec.json.decode(content, type=DataFrame)
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
        document = await super().document(id)
        return self._node(decode_object(document.json), None).shown()

    async def tree(self, id: str) -> dict[str, Any]:
        """An artifact and everything below it, without content."""
        artifact = await self.get(id)
        parents = await self._rows.parents([artifact.root_id or artifact.id])
        ids = below(artifact.id, parents)
        rows = {found.id: decode_object(await self._row(found)) for found in await self.find_many(ids)}
        children = children_of(parents, rows)
        nodes: dict[str, Node] = {}
        # From the leaves up, so that no tree is too deep for it.
        for current in reversed(ids):
            nodes[current] = self._node(rows[current], [nodes[child] for child in children[current]])
        return nodes[artifact.id].shown()

    async def _row(self, artifact: Artifact) -> bytes:
        return (await super().document(artifact.id)).json

    def _node(self, row: dict[str, Any], children: list[Node] | None) -> Node:
        hierarchy = self.hierarchy
        label = hierarchy.label(row["level"]) if hierarchy is not None else None
        return Node(row, label, hierarchy.name if hierarchy is not None else None, children)

    async def root_of(self, id: str) -> str:
        """The id of the root of the tree that an artifact is in."""
        artifact = await self.get(id)
        return artifact.root_id or artifact.id

    async def delete_trees(self, root_ids: Sequence[str]) -> None:
        """Remove whole trees, in the transaction around this."""
        ids = list(await self._rows.parents(root_ids))
        await self._links.forget(ids)
        await self.repository.delete(ids)

    async def insert_results(self, artifacts: Sequence[Artifact], config_id: str | None) -> None:
        """Store what a run has left, in the transaction around this, and link the first to a configuration."""
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


class _Trees(Hooks[Artifact]):
    """Keeps levels and roots right, whatever is put where, moved or taken away."""

    def __init__(self, repository: Repository[Artifact], rows: ArtifactRows, links: ConfigLinks) -> None:
        self._repository = repository
        self._rows = rows
        self._links = links

    async def pre_save(self, entities: Sequence[Artifact]) -> None:
        for artifact in entities:
            parent = await self._parent(artifact.parent_id)
            # An id may be sent in either case.
            artifact.parent_id = None if parent is None else parent.id
            artifact.level = 0 if parent is None else parent.level + 1
            artifact.root_id = artifact.id if parent is None else parent.root_id
            if artifact.level >= MOST_LEVELS:
                raise Invalid(f"An artifact below {artifact.parent_id} would stand on level {artifact.level}: too deep")

    async def _parent(self, id: str | None) -> Artifact | None:
        if id is None:
            return None
        parent = await self._repository.find(parse_id(id) or "", lock=True)
        if parent is None:
            raise Conflict(f"There is no artifact {id} to be the parent", extensions={"constraint": "foreign_key"})
        return parent

    async def pre_update(self, changes: Sequence[Change[Artifact]]) -> None:
        for change in changes:
            if "parent_id" in change.fields:
                await self._move(change.before, change.after)

    async def _move(self, before: Artifact, after: Artifact) -> None:
        parent = await self._parent(after.parent_id)
        after.parent_id = None if parent is None else parent.id
        roots = {before.root_id or before.id, *([parent.root_id or parent.id] if parent is not None else [])}
        parents = await self._rows.parents(sorted(roots))
        parents[before.id] = after.parent_id
        try:
            found = places(parents)
        except Invalid as error:
            raise Invalid(f"Artifact {before.id} cannot be moved under {after.parent_id}: {error.detail}") from None
        for id in below(before.id, parents)[1:]:
            await self._repository.update(id, {"level": found[id].level, "root_id": found[id].root_id})
        after.level, after.root_id = found[before.id].level, found[before.id].root_id
        if after.parent_id is not None:
            # Only roots belong to configurations.
            await self._links.forget([before.id])

    async def pre_delete(self, entities: Sequence[Artifact]) -> None:
        for artifact in entities:
            parents = await self._rows.parents([artifact.root_id or artifact.id])
            under = below(artifact.id, parents)[1:]
            found = places({id: parents[id] for id in under})
            for id in under:
                place = found[id]
                values = {"parent_id": place.parent_id, "level": place.level, "root_id": place.root_id}
                await self._repository.update(id, values)
        await self._links.forget([artifact.id for artifact in entities])


def _whole(artifact: Artifact, data: Any) -> Artifact:
    """An artifact with the data that a client has sent, content and all."""
    artifact.data = data
    return artifact


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
