"""Around the job that makes one model, or one forecast, of those of the members of an ensemble."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET

from domain.artifacts import Artifact
from domain.jobs import Job
from domain.ml import PREDICTION, TRAINING_WORKSPACE
from domain.model_jobs import BACKTEST_PREDICTION, EnsembleJob, Part
from domain.model_runs import REQUEST_FILE, Action, ModelCall, ModelFile, ModelOutcome, PartFile
from domain.runs import Message
from service.managers.model_artifacts import ModelArtifacts
from service.managers.model_runs import ModelRunning, ModelRuns, inputs_of


class EnsembleRuns:
    """`domain.job_ports.RunHooks` for the job that all members of an ensemble come before."""

    def __init__(self, runs: ModelRuns) -> None:
        self._runs = runs

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["EnsembleRunning"]:
        """Put what the members have left into a directory that is gone afterwards."""
        given = msgspec.convert(job.args, EnsembleJob)
        runs = self._runs
        model = await runs.artifacts.training(given.model_id) if given.model_id is not None else None
        config_id = given.config_id or (model.config_id if model is not None else None) or ""
        async with runs.scratch.directory(job.id) as folder:
            action = Action.JOIN_TRAININGS if model is None else Action.COMBINE
            call = await runs.call(action, folder, given.artifact_id, config_id)
            await runs.artifacts.storage.fetch(given.request, folder / REQUEST_FILE)
            if model is None:
                parts = [
                    await self._trained(part, folder / f"held-out-{number}") for number, part in enumerate(given.parts)
                ]
            else:
                weights = {member.name: member.weight for member in await runs.artifacts.members(model)}
                parts = [
                    msgspec.structs.replace(
                        await self._predicted(part, folder / f"forecast-{number}"), weight=weights.get(part.name)
                    )
                    for number, part in enumerate(given.parts)
                ]
            yield EnsembleRunning(runs.artifacts, job, msgspec.structs.replace(call, parts=parts), given, model)

    async def _trained(self, part: Part, held_out: Path) -> PartFile:
        """Whether a member has been trained, and its predictions of what was held back."""
        known = PartFile(name=part.name, artifact_id=part.artifact_id, job_id=part.job_id)
        try:
            await self._runs.artifacts.training(part.artifact_id)
        except ValueError:
            return msgspec.structs.replace(known, is_failed=True)
        found = await self._fetched(part.held_out_id, BACKTEST_PREDICTION, held_out)
        return msgspec.structs.replace(known, held_out=found)

    async def _predicted(self, part: Part, path: Path) -> PartFile:
        found = await self._fetched(part.artifact_id, PREDICTION, path)
        known = PartFile(name=part.name, artifact_id=part.artifact_id, job_id=part.job_id, file=found)
        return msgspec.structs.replace(known, is_failed=found is None)

    async def _fetched(self, artifact_id: str | None, kind: str, path: Path) -> str | None:
        artifact = await self._runs.artifacts.forecast(artifact_id, kind) if artifact_id is not None else None
        if artifact is None:
            return None
        await self._runs.fetch(artifact, path)
        return path.name


class EnsembleRunning(ModelRunning):
    """The one model, or the one forecast."""

    def __init__(
        self, artifacts: ModelArtifacts, job: Job, call: ModelCall, given: EnsembleJob, model: Artifact | None
    ) -> None:
        super().__init__(artifacts, job, call, inputs_of(given.request, model))
        self._given = given
        self._model = model

    async def made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        """What is known to come from the members that have succeeded."""
        members = [part.artifact_id for part in self.call.parts if not part.is_failed]
        model, id = self._model, self._given.artifact_id
        if model is None:
            kind, origin, more = TRAINING_WORKSPACE, self.origin(*members), {}
        else:
            kind, origin = PREDICTION, self.origin(model.id, *members)
            more = {"parent_id": model.id, "level": model.level + 1, "root_id": model.root_id}
            if self._given.model_version is not UNSET:
                more["metadata"] = {"model_version": msgspec.to_builtins(self._given.model_version)}
        return [await self.artifacts.made(origin, outcome, self.call.directory, content, kind, id=id, **more)]

    async def write(self, made: list[Artifact]) -> None:
        """Write the row; a model belongs to its configuration, and what was held back from it lies below it."""
        held_out = {part.artifact_id: part.held_out_id for part in self._given.parts}
        there = [held_out[part.artifact_id] for part in self.call.parts if part.held_out is not None]
        below = [id for id in there if id is not None]
        await self.artifacts.insert(made, self.call.config_id if self._model is None else None, below=below)
