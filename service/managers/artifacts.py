"""What happens to artifacts: rows with their contents, in trees."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import msgspec

from domain.artifacts import CONTENT, WITHOUT_CONTENT, Artifact
from domain.hierarchy import ArtifactHierarchy
from domain.ports import ArtifactRows, ConfigLinks, Document, Repository, Transactions
from domain.query import Resource
from domain.storage import Storage
from domain.wire import timestamp_text
from service.managers.artifact_contents import Contents, Download
from service.managers.artifact_trees import ArtifactTrees, Shape
from service.managers.base import Expectation, Manager
from service.managers.hooks import Hooks

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ORDER = ("type", "metadata", CONTENT, "content_type", "content_size")


class ArtifactManager(Manager[Artifact]):
    """The artifacts of a service.

    Methods raise what those of `Manager` raise. No read but that of one artifact's content looks into storage.
    """

    # What is moved in one change is checked against where everything stands.
    most_at_once = 1

    def __init__(
        self,
        resource: Resource[Artifact],
        repository: Repository[Artifact],
        transactions: Transactions,
        rows: ArtifactRows,
        links: ConfigLinks,
        storage: Storage,
        hierarchy: ArtifactHierarchy | None = None,
        uses: Hooks[Artifact] | None = None,
    ) -> None:
        self._contents = Contents(storage)
        kept: list[Hooks[Artifact]] = [uses] if uses is not None else []
        hooks = [self._contents, Shape(repository, rows, links), *kept]
        super().__init__(resource, repository, transactions, hooks=hooks)
        self.trees = ArtifactTrees(repository, transactions, rows, links, hierarchy, uses)
        self._links = links

    # One artifact with its content

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """One artifact as JSON, with its content if `data` is asked for."""
        document = await super().document(id, fields)
        if fields is not None and "data" not in fields:
            return document
        artifact = await self.get(id)
        if timestamp_text(artifact.updated_at) != document.version:
            # Changed between the two reads, which must not be mixed.
            return await self.document(id, fields)
        if artifact.content_sha256 is None or not isinstance(artifact.data, Mapping):
            return document
        members = _members(document.json)
        data = _members(members["data"])
        content = await self._contents.shown(artifact.content_kind, artifact.content_sha256)
        # Where clients are used to find it.
        data[CONTENT] = msgspec.Raw(content)
        known = {name: data.pop(name) for name in _ORDER if name in data}
        members["data"] = msgspec.Raw(_encode({**known, **data}))
        return Document(_encode(members), document.version)

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
        """Apply a merge patch; a content is replaced as a whole, and what comes back has it."""
        async with self.trees.reshaping() if "parent_id" in patch else nullcontext():
            patched = await super().patch(id, patch, is_expected=is_expected)
        if patched.content_sha256 is None or not isinstance(patched.data, Mapping):
            return patched
        content = msgspec.json.decode(await self._contents.shown(patched.content_kind, patched.content_sha256))
        return msgspec.structs.replace(patched, data={**patched.data, CONTENT: content})

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
        return await self._contents.download(await self.get(id))

    async def read(self, sha256: str) -> bytes:
        """A content as it is kept, by its hash."""
        return await self._contents.read(sha256)

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

    def changing(self) -> AbstractAsyncContextManager[Any]:
        """A transaction in which artifacts may be moved and removed."""
        return self.trees.reshaping()

    async def delete(self, id: str, *, is_expected: Expectation | None = None) -> None:
        """Remove an artifact; what was below it becomes roots."""
        async with self.trees.reshaping():
            await super().delete(id, is_expected=is_expected)

    async def delete_all(self, ids: Sequence[str]) -> int:
        """Remove artifacts; what was below them becomes roots."""
        async with self.trees.reshaping():
            return await super().delete_all(ids)

    async def insert_results(
        self, artifacts: Sequence[Artifact], config_id: str | None, *, below: Sequence[str] = ()
    ) -> None:
        """Store what a run has left, and link the first to the configuration if that is still there.

        The artifacts `below`, which are there already, are put under the first.
        """
        async with self.trees.reshaping() if below else self.trees.growing():
            for artifact in artifacts:
                await self.save(artifact)
            if config_id is not None:
                await self._links.link(config_id, artifacts[0].id)
            for id in below:
                await self.patch(id, {"parent_id": artifacts[0].id})


def _whole(artifact: Artifact, data: Any) -> Artifact:
    """An artifact with the data that a client has sent, content and all."""
    artifact.data = data
    return artifact
