"""What versions of models make of changes to artifacts: those that are needed stay as they are."""

from collections.abc import Sequence

from domain.artifacts import Artifact
from domain.errors import Conflict
from domain.model_versions import Model, ModelVersion, VersionStatus
from domain.ports import AliasHistory, Repository
from service.managers.hooks import Change, Hooks
from service.managers.models import where


class ArtifactUses(Hooks[Artifact]):
    """Keeps artifacts that versions need.

    The artifact of a version that is archived, and that no alias points to, may go: the version stays, and says so.
    """

    def __init__(self, models: Repository[Model], versions: Repository[ModelVersion], history: AliasHistory) -> None:
        self._models = models
        self._versions = versions
        self._history = history

    async def pre_update(self, changes: Sequence[Change[Artifact]]) -> None:
        """Refuse another content: a version is what it was when it was made."""
        ids = [change.before.id for change in changes if "content_sha256" in change.fields]
        for version in await self._of(ids):
            raise Conflict(
                f"The content of artifact {version.artifact_id} cannot change: it is version {version.number} of a "
                "model; train another one",
            )

    async def pre_delete(self, entities: Sequence[Artifact]) -> None:
        """Refuse what is needed, and note at the others that their artifact is gone."""
        ids = [artifact.id for artifact in entities]
        found = await self._of(ids)
        if not found:
            return
        # Until this is over, no alias moves.
        models = await self._models.find_many(sorted({version.model_id for version in found}), lock=True)
        names = {model.id: model.name for model in models}
        moves = await self._history.latest(list(names))
        pointed = {(move.model_id, move.version): move.alias for move in moves}
        found = await self._of(ids)
        for version in found:
            alias = pointed.get((version.model_id, version.number))
            if alias is not None or version.status is not VersionStatus.ARCHIVED:
                why = f"{alias} points to it" if alias is not None else f"it is {version.status}, not archived"
                raise Conflict(
                    f"Artifact {version.artifact_id} cannot be deleted: version {version.number} of model "
                    f"{names[version.model_id]} is made of it, and {why}"
                )
        now = await self._history.now()
        for version in found:
            await self._versions.update(version.id, {"artifact_deleted_at": now, "updated_at": now})

    async def _of(self, artifact_ids: Sequence[str]) -> list[ModelVersion]:
        return await self._versions.find_all(where(artifact_id=tuple(artifact_ids))) if artifact_ids else []
