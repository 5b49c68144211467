"""Versions as entities: found by their numbers, and changed in status."""

import msgspec

from domain.errors import NotFound
from domain.model_versions import Model, ModelVersion, VersionStatus, check_transition
from service.managers.base import Manager
from service.managers.hooks import Change
from service.managers.models import where


class VersionManager(Manager[ModelVersion]):
    """The versions of all models. Methods raise what those of `Manager` raise."""

    async def numbered(self, model: Model, number: int, *, lock: bool = False) -> ModelVersion:
        """A version of a model. Raises `NotFound`."""
        found = await self.repository.find_all(where(model_id=model.id, number=number))
        if not found:
            raise NotFound(f"Model {model.name} has no version {number}")
        return await self._get(found[0].id, lock=True) if lock else found[0]

    async def become(self, version: ModelVersion, status: VersionStatus) -> None:
        """Change the status of a version, which is locked. Raises `IllegalTransition`."""
        if version.status is not status:
            check_transition(version, status)
            await self._update(Change(version, msgspec.structs.replace(version, status=status)))
