"""What the runs of models read and leave: artifacts that carry this service's signature, and their content."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.ml import PREDICTION, TRAINING_WORKSPACE
from domain.model_runs import ModelFile, ModelOutcome
from domain.signing import is_signed, signature
from domain.storage import Storage
from service.managers.artifacts import ArtifactManager

SIGNED = "model content"
"""What signatures of contents are for."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artifact comes from: its job and configuration, the hashes of its inputs, the artifacts among them."""

    job_id: str
    config_id: str | None
    inputs: Mapping[str, str]
    parents: Sequence[str] = ()


class MemberModel(msgspec.Struct, frozen=True):
    """A member of a trained ensemble, as the content of its artifact names it; without an id it has failed."""

    name: str
    artifact_id: str | None = None
    weight: float | None = None


class _EnsembleContent(msgspec.Struct, frozen=True):
    members: list[MemberModel]


class ModelArtifacts:
    """The artifacts of models. `secret` signs what runs leave, and nothing else is loaded."""

    def __init__(
        self, artifacts: ArtifactManager, storage: Storage, secret: bytes, *, code_revision: str | None
    ) -> None:
        self._artifacts = artifacts
        self._secret = secret
        self._code_revision = code_revision
        self.storage = storage

    async def training(self, artifact_id: str) -> Artifact:
        """The training artifact with this id, if a model may be loaded from it. Raises `ValueError` saying why not."""
        artifact = await self._artifacts.find(artifact_id)
        if artifact is None:
            raise ValueError(f"Training artifact {artifact_id} not found")
        metadata = metadata_of(artifact)
        if type_of(artifact) != TRAINING_WORKSPACE or artifact.content_sha256 is None:
            raise ValueError(f"Artifact {artifact_id} is not a training artifact")
        if metadata.get("status") == "failed":
            code = metadata.get("exit_code")
            raise ValueError(f"Cannot predict using failed training artifact {artifact_id}: it exited with code {code}")
        if not self.is_own(artifact):
            raise ValueError(
                f"The content of artifact {artifact_id} was not made by this service, so nothing is loaded from it"
            )
        return artifact

    async def exists(self, artifact_id: str) -> bool:
        """Whether there is an artifact with this id."""
        return await self._artifacts.find(artifact_id) is not None

    async def forecast(self, artifact_id: str, kind: str = PREDICTION) -> Artifact | None:
        """The artifact that a prediction was to leave, if it is there."""
        artifact = await self._artifacts.find(artifact_id)
        is_one = artifact is not None and type_of(artifact) == kind and artifact.content_sha256 is not None
        return artifact if is_one else None

    async def members(self, artifact: Artifact) -> list[MemberModel]:
        """The members of a trained ensemble that have succeeded, none of any other model."""
        if "ensemble" not in metadata_of(artifact) or artifact.content_sha256 is None:
            return []
        # What the row says of them could have been changed by anybody; the content could not.
        content = await self.storage.read(artifact.content_sha256)
        found = msgspec.json.decode(content, type=_EnsembleContent).members
        return [member for member in found if member.artifact_id is not None]

    def is_own(self, artifact: Artifact) -> bool:
        """Whether this service has made a content itself: models are loaded from nothing else."""
        content = artifact.content_sha256
        return content is not None and is_signed(self._secret, SIGNED, content, artifact.signature)

    async def made(
        self, origin: Origin, outcome: ModelOutcome, directory: str, file: ModelFile, kind: str, **more: Any
    ) -> Artifact:
        """What a run has left, as a row whose content is stored already."""
        blob = await self.storage.put_file(Path(directory) / file.name)
        is_script = outcome.exit_code is not None and kind != PREDICTION
        metadata = {
            "status": "failed" if outcome.is_failed else "success",
            "config_id": origin.config_id,
            "started_at": outcome.started_at.isoformat(),
            "completed_at": outcome.completed_at.isoformat(),
            "duration_seconds": outcome.seconds,
            "exit_code": outcome.exit_code if is_script else None,
            "stdout": outcome.stdout if is_script else None,
            "stderr": outcome.stderr if is_script else None,
            **outcome.report,
            **more.pop("metadata", {}),
        }
        data = {"type": kind, "metadata": metadata, "content_type": file.media_type, "content_size": file.size}
        return Artifact(
            data=data,
            content_kind=file.kind,
            content_sha256=blob.sha256,
            content_bytes=blob.size,
            signature=signature(self._secret, SIGNED, blob.sha256),
            job_id=origin.job_id,
            config_id=origin.config_id,
            code_revision=self._code_revision,
            inputs=dict(origin.inputs),
            parents=list(origin.parents),
            **more,
        )

    async def insert(self, artifacts: Sequence[Artifact], config_id: str | None, *, below: Sequence[str] = ()) -> None:
        """Store artifacts, link the first one to a configuration, and put others that are there already under it."""
        await self._artifacts.insert_results(artifacts, config_id, below=below)


def type_of(artifact: Artifact) -> str | None:
    """What the data of an artifact says that it is."""
    found = artifact.data.get("type") if isinstance(artifact.data, Mapping) else None
    return found if isinstance(found, str) else None


def metadata_of(artifact: Artifact) -> Mapping[str, Any]:
    """What the data of an artifact says of it."""
    found = artifact.data.get("metadata") if isinstance(artifact.data, Mapping) else None
    return found if isinstance(found, Mapping) else {}
