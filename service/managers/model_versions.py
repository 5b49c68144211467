"""What happens to versions of models: they are made of trainings, counted, measured, compared and found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.comparisons import VersionComparison, compare_metrics
from domain.entity import duplicate_tags, parse_id
from domain.errors import FieldError
from domain.model_versions import (
    CHAMPION,
    FIXED,
    VERSIONS,
    Model,
    ModelVersion,
    NewVersion,
    Promotion,
    UsedVersion,
    VersionStatus,
    check_by_hand,
    check_usable,
    parse_reference,
)
from domain.ports import AliasHistory, Document, Listing, Repository, Transactions
from domain.query import AllOf, Comparison, Operator, QueryOptions, Resource
from domain.validation import problem, rejected
from service.managers.aliases import Aliases
from service.managers.artifacts import ArtifactManager
from service.managers.base import Expectation
from service.managers.model_artifacts import ModelArtifacts
from service.managers.models import ModelManager, where
from service.managers.versions import VersionManager

_NEW = (VersionStatus.CANDIDATE, VersionStatus.DRAFT)


class ModelVersions:
    """The versions of a service's models. A model is given by its name or its id.

    Methods raise `NotFound`, `InvalidBody`, `Conflict` and `Unavailable`. What changes something is one transaction,
    or joins the one around it.
    """

    def __init__(
        self,
        models: ModelManager,
        repository: Repository[ModelVersion],
        history: AliasHistory,
        transactions: Transactions,
        artifacts: ArtifactManager,
        made: ModelArtifacts,
        resource: Resource[ModelVersion] = VERSIONS,
    ) -> None:
        self.models = models
        self.resource = resource
        self._manager = VersionManager(resource, repository, transactions)
        self.aliases = Aliases(models, self._manager, history, transactions)
        self._history = history
        self._transactions = transactions
        self._artifacts = artifacts
        self._made = made

    # Reads

    async def page(self, name: str, query: QueryOptions) -> Listing:
        """What a query asks of the versions of a model, as JSON."""
        mine = Comparison("model_id", Operator.EQ, (await self.models.get(name)).id)
        parts = (mine,) if query.filter is None else (mine, query.filter)
        return await self._manager.page(msgspec.structs.replace(query, filter=AllOf(parts)))

    async def get(self, name: str, number: int) -> ModelVersion:
        """One version."""
        return await self._manager.numbered(await self.models.get(name), number)

    async def document(self, name: str, number: int, fields: Sequence[str] | None = None) -> Document:
        """One version as JSON."""
        return await self._manager.document((await self.get(name, number)).id, fields)

    async def of_artifact(self, name: str, artifact_id: str) -> ModelVersion | None:
        """The latest version of a model that is made of an artifact, None without any."""
        model = await self.models.get(name)
        found = await self._manager.find_all(where(model_id=model.id, artifact_id=parse_id(artifact_id) or ""))
        return max(found, key=lambda version: version.number, default=None)

    async def compare(self, name: str, numbers: Sequence[int]) -> VersionComparison:
        """The metrics of versions side by side."""
        model = await self.models.get(name)
        versions = [await self._manager.numbered(model, number) for number in numbers]
        compared = compare_metrics({version.number: version.metrics for version in versions})
        return VersionComparison(model=model.name, versions=list(numbers), metrics=compared)

    async def resolve(self, reference: str) -> ModelVersion:
        """The version that `outbreak@champion` or `outbreak@3` means now. Raises `Conflict` if it cannot predict."""
        return (await self.resolve_named(reference))[0]

    async def resolve_named(self, reference: str) -> tuple[ModelVersion, UsedVersion]:
        """The same, with what it is called."""
        asked = parse_reference(reference)
        model = await self.models.get(asked.model)
        number = asked.number
        if number is None:
            number = (await self.aliases.pointed(model, asked.alias or CHAMPION)).version
        version = await self._manager.numbered(model, number)
        check_usable(version)
        return version, UsedVersion(model.name, version.number)

    # Changes

    def decode_patch(self, body: bytes) -> Mapping[str, Any]:
        """The members of a merge patch. Raises `InvalidBody` for what can never be right."""
        return self._manager.bodies.decode_patch(body)

    async def ensure_model(self, name: str) -> Model:
        """The model of this name, which is made if there is none."""
        found = await self.models.find(name)
        if found is not None:
            return found
        return await self.models.save(Model(name=name))

    async def create(self, name: str, new: NewVersion) -> ModelVersion:
        """Make the next version of a model, of what a training has left. Raises `InvalidBody` for anything else."""
        _check_new(new)
        async with self._transactions.transaction():
            await self.models.get(name)
            artifact_id = parse_id(new.artifact_id) or ""
            # First the artifact and then the model: who deletes artifacts goes the same way.
            artifact = await self._artifacts.repository.find(artifact_id, lock=True)
            try:
                await self._made.training(artifact_id)
            except ValueError as error:
                raise rejected([problem("value_error", str(error), ("artifact_id",), new.artifact_id)]) from None
            assert artifact is not None
            model = await self.models.get(name, lock=True)
            version = ModelVersion(
                model_id=model.id,
                number=await self._history.last_number(model.id) + 1,
                status=new.status,
                artifact_id=artifact.id,
                config_id=artifact.config_id,
                code_revision=artifact.code_revision,
                metrics=dict(new.metrics),
                signature=new.signature,
                description=new.description,
                tags=list(new.tags),
            )
            return await self._manager.save(version)

    async def patch(
        self, name: str, number: int, patch: Mapping[str, Any], *, is_expected: Expectation | None = None
    ) -> ModelVersion:
        """Apply a merge patch to what may change. Raises `IllegalTransition` for a status that it cannot get."""
        async with self._transactions.transaction():
            before = await self._manager.get((await self.get(name, number)).id, lock=True)
            stored = msgspec.to_builtins(before)
            errors = [
                _fixed(name, patch[name], stored[name])
                for name in FIXED
                if patch.get(name, stored[name]) != stored[name]
            ]
            errors += _not_finite(patch.get("metrics"))
            if errors:
                raise rejected(errors)
            after = patch.get("status")
            if after in set(VersionStatus) and after != before.status:
                check_by_hand(before, VersionStatus(after))
            return await self._manager.patch(before.id, patch, is_expected=is_expected)

    async def promote(self, name: str, number: int, alias: str = CHAMPION, gate: str | None = None) -> Promotion:
        """Have an alias point to a version, if that meets the gate. Raises `GateNotMet` if it does not."""
        return await self.aliases.promote(name, number, alias, gate)


def _check_new(new: NewVersion) -> None:
    """Raise `InvalidBody` for what a type cannot say."""
    errors = _not_finite(new.metrics)
    errors += [
        problem("duplicate", f'tag "{tag}" stands more than once', ("tags",), tag) for tag in duplicate_tags(new.tags)
    ]
    if new.status not in _NEW:
        message = f"a new version cannot be {new.status}"
        errors.append(problem("value_error", message, ("status",), new.status.value, tuple(s.value for s in _NEW)))
    if errors:
        raise rejected(errors)


def _fixed(name: str, sent: Any, stored: Any) -> FieldError:
    return problem("value_error", f'"{name}" of a version cannot change; it is {stored}', (name,), sent)


def _not_finite(metrics: Any) -> list[FieldError]:
    """What no database keeps: JSON knows no such numbers, but code does."""
    given = metrics.items() if isinstance(metrics, Mapping) else ()
    return [
        problem("value_error", "must be a finite number", ("metrics", name), str(value))
        for name, value in given
        if isinstance(value, float) and not math.isfinite(value)
    ]
