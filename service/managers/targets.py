"""What is to predict: a training artifact, or a version of a model, and whether anything can be predicted with it."""

import asyncio
import io
import zipfile

import msgspec
from msgspec import UNSET, UnsetType

from domain.artifacts import Artifact
from domain.ml import TRAINING_WORKSPACE, Diagnostic, PredictRequest, Severity, check_target
from domain.model_versions import UsedVersion
from domain.models import FunctionalModelRunner, ModelRunner
from domain.validation import problem, rejected
from service.managers.model_artifacts import ModelArtifacts
from service.managers.model_versions import ModelVersions

_ZIPPED = "application/zip"


class Target(msgspec.Struct, frozen=True):
    """The training artifact of a request, the version that it is, and the member that has named it."""

    artifact_id: str
    used: UsedVersion | UnsetType
    field: str


class Targets:
    """Finds what is to predict; without `versions` that is always an artifact."""

    def __init__(self, runner: ModelRunner, made: ModelArtifacts, versions: ModelVersions | None = None) -> None:
        self._runner = runner
        self._made = made
        self._versions = versions

    async def of(self, request: PredictRequest) -> Target:
        """What a request means now. Raises `InvalidBody`, `NotFound` and `Conflict`; only versions are looked up."""
        check_target(request)
        if isinstance(request.artifact_id, str):
            return Target(request.artifact_id, UNSET, "artifact_id")
        assert isinstance(request.model, str)
        if self._versions is None:
            message = 'this service has no versions of models: give "artifact_id"'
            raise rejected([problem("value_error", message, ("model",), request.model)])
        version, used = await self._versions.resolve_named(request.model)
        return Target(version.artifact_id, used, "model")

    async def problems(self, artifact: Artifact | None, target: Target) -> list[Diagnostic]:
        """Why nothing could be predicted with an artifact."""
        id, field = target.artifact_id, target.field
        if artifact is None:
            return [error("training_artifact_not_found", f"Training artifact {id} not found", field)]
        data = artifact.data if isinstance(artifact.data, dict) else {}
        if data.get("type") != TRAINING_WORKSPACE or artifact.content_sha256 is None:
            return [error("invalid_training_artifact", f"Artifact {id} is not a training artifact", field)]
        if (data.get("metadata") or {}).get("status") == "failed":
            return [error("training_artifact_failed", f"The training of artifact {id} has failed", field)]
        is_archive = data.get("content_type") == _ZIPPED
        if not self._made.is_own(artifact):
            code = "training_workspace_corrupted" if is_archive else "model_pickle_corrupted"
            return [error(code, f"The content of artifact {id} was not made by this service", field)]
        if not is_archive:
            return []
        names = await asyncio.to_thread(_names, await self._made.storage.read(artifact.content_sha256))
        if names is None:
            return [error("training_workspace_corrupted", f"The workspace of artifact {id} cannot be read", field)]
        if isinstance(self._runner, FunctionalModelRunner) and not any(name.startswith("model.") for name in names):
            return [error("model_pickle_missing", f"The workspace of artifact {id} holds no model", field)]
        return []


def error(code: str, message: str, field: str) -> Diagnostic:
    """A finding because of which a run would fail."""
    return Diagnostic(severity=Severity.ERROR, code=code, message=message, field=field)


def _names(content: bytes) -> list[str] | None:
    """The files in an archive; None when it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return None
