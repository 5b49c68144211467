"""The contents of artifacts: they go into storage and come back from there, as JSON or as files."""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from domain.artifacts import CONTENT, Artifact, file_name, kind_of, media_type_of, stub
from domain.errors import Conflict, Invalid, NotFound
from domain.frames import DataFrame, InvalidFrame
from domain.model_runs import ContentKind
from domain.storage import Storage
from service.managers.hooks import Change, Hooks

_encode = msgspec.json.Encoder().encode
_START_BYTES = 200


class Download(msgspec.Struct, frozen=True):
    """A content on its way to a client; `size` is in bytes."""

    name: str
    media_type: str
    size: int
    pieces: AsyncIterator[bytes]


class Contents(Hooks[Artifact]):
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

    async def read(self, sha256: str) -> bytes:
        """A content as it is kept, by its hash."""
        return await self._storage.read(sha256)

    async def shown(self, kind: str, sha256: str) -> bytes:
        """A content as JSON; of one that is none what it begins with."""
        if kind in {ContentKind.JSON, ContentKind.FRAME}:
            return await self._storage.read(sha256)
        async for piece in self._storage.stream(sha256):
            return _encode(stub(kind, piece[:_START_BYTES]))
        return _encode(stub(kind, b""))

    async def download(self, artifact: Artifact) -> Download:
        """A content as a file. Raises `NotFound` when it has none."""
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
