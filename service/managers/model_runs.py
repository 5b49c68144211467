"""Around the run of a model: its inputs become files, what it leaves becomes artifacts, all in the worker."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from domain.artifacts import Artifact
from domain.entity import new_id
from domain.job_ports import Effect
from domain.jobs import Job, JobState
from domain.ml import PREDICTION, PREDICTION_WORKSPACE, TRAIN, TRAINING_WORKSPACE, ModelJob, Period
from domain.model_runs import (
    MODEL_FILE,
    OUTCOME_FILE,
    REQUEST_FILE,
    Action,
    ContentKind,
    ModelCall,
    ModelFile,
    ModelOutcome,
    PartFile,
)
from domain.ports import Scratch
from domain.runs import Message, Reason, RunEnd
from service.managers.configs import ConfigManager
from service.managers.model_artifacts import ModelArtifacts, Origin
from service.managers.model_versions import ModelVersions


class ModelRuns:
    """What surrounds the runs of a model, of whatever kind."""

    def __init__(
        self, program: bytes, configs: ConfigManager, artifacts: ModelArtifacts, scratch: Scratch, *, bounds: Period
    ) -> None:
        self._program = program
        self._configs = configs
        self._bounds = bounds
        self.artifacts = artifacts
        self.scratch = scratch

    async def call(
        self, action: Action, folder: Path, artifact_id: str, config_id: str | None, **more: Any
    ) -> ModelCall:
        """A call of the model. Raises `ValueError` when its configuration is gone."""
        config = await self._configs.find(config_id) if config_id else None
        if config is None and config_id is not None:
            raise ValueError(f"Config {config_id} not found")
        return ModelCall(
            action=action,
            directory=str(folder),
            program=self._program,
            config=config.data if config is not None else {},
            config_id=config.id if config is not None else "",
            artifact_id=artifact_id,
            bounds=self._bounds,
            **more,
        )

    async def fetch(self, artifact: Artifact, path: Path) -> ContentKind:
        """Put the content of an artifact into a file; returns what it is."""
        assert artifact.content_sha256 is not None
        await self.artifacts.storage.fetch(artifact.content_sha256, path)
        return ContentKind(artifact.content_kind)


class ModelRunning:
    """One run: `domain.job_ports.Surroundings`. What it leaves is written together with the end of its job."""

    def __init__(self, artifacts: ModelArtifacts, job: Job, call: ModelCall, inputs: Mapping[str, str]) -> None:
        self.args: Mapping[str, Any] = msgspec.to_builtins(call)
        self.job = job
        self.call = call
        self.inputs = inputs
        self.artifacts = artifacts

    def origin(self, *parents: str) -> Origin:
        """Where what it leaves comes from."""
        config_id = self.call.config_id or None
        return Origin(job_id=self.job.id, config_id=config_id, inputs=self.inputs, parents=parents)

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """Store what the run has left."""
        outcome = self._outcome()
        is_done = end.reason is Reason.COMPLETED
        if outcome is None or outcome.content is None or not (is_done or outcome.is_failed):
            return end, None
        if is_done and await self.artifacts.exists(self.call.artifact_id):
            # It was run again although it had succeeded; others may rely on what it has left then.
            return msgspec.structs.replace(end, artifact_id=self.call.artifact_id), None
        made = await self.made(outcome, outcome.content)

        async def write(job: Job) -> None:
            if job.state in {JobState.COMPLETED, JobState.FAILED, JobState.DEAD}:
                await self.write(made)

        if is_done:
            end = msgspec.structs.replace(end, artifact_id=self.call.artifact_id)
        return end, write

    def _outcome(self) -> ModelOutcome | None:
        path = Path(self.call.directory) / OUTCOME_FILE
        return msgspec.json.decode(path.read_bytes(), type=ModelOutcome) if path.is_file() else None

    async def made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        """The artifacts, of which the first is the one that was promised."""
        raise NotImplementedError

    async def write(self, made: list[Artifact]) -> None:
        """Write their rows, in the transaction of the job's end."""
        await self.artifacts.insert(made, self.call.config_id if self.call.action is Action.TRAIN else None)


def inputs_of(request: str, model: Artifact | None) -> dict[str, str]:
    """The hashes of what a run works on: the request, and the model if there is one."""
    known = {} if model is None or model.content_sha256 is None else {"model": model.content_sha256}
    return {"request": request, **known}


class SingleRuns:
    """`domain.job_ports.RunHooks` for trainings and predictions."""

    def __init__(self, runs: ModelRuns, versions: ModelVersions | None) -> None:
        self._runs = runs
        self._versions = versions

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["SingleRunning"]:
        """Put the request, and for a prediction the model, into a directory that is gone afterwards."""
        given = await self._resolved(msgspec.convert(job.args, ModelJob))
        runs = self._runs
        model = await runs.artifacts.training(given.model_id) if given.model_id is not None else None
        config_id = given.config_id or (model.config_id if model is not None else None) or ""
        async with runs.scratch.directory(job.id) as folder:
            action = Action.TRAIN if job.kind == TRAIN else Action.PREDICT
            call = await runs.call(action, folder, given.artifact_id, config_id, member=given.member or None)
            await runs.artifacts.storage.fetch(given.request, folder / REQUEST_FILE)
            if model is not None:
                kind = await runs.fetch(model, folder / MODEL_FILE)
                call = msgspec.structs.replace(call, model=kind, parts=await self._members(model, folder))
            yield SingleRunning(runs.artifacts, job, call, given, model)

    async def _resolved(self, given: ModelJob) -> ModelJob:
        """What a reference means now that the job begins."""
        if given.model is UNSET:
            return given
        if self._versions is None:
            raise ValueError(f"This service has no versions of models, so {given.model} means nothing")
        version, used = await self._versions.resolve_named(given.model)
        return msgspec.structs.replace(given, model_id=version.artifact_id, model_version=used)

    async def _members(self, model: Artifact, folder: Path) -> list[PartFile]:
        """The models of the members of an ensemble that predicts all by itself, as files."""
        parts = []
        for number, member in enumerate(await self._runs.artifacts.members(model)):
            assert member.artifact_id is not None
            artifact = await self._runs.artifacts.training(member.artifact_id)
            kind = await self._runs.fetch(artifact, folder / f"member-{number}")
            part = PartFile(name=member.name, artifact_id=artifact.id, file=f"member-{number}", kind=kind)
            parts.append(msgspec.structs.replace(part, weight=member.weight))
        return parts


class SingleRunning(ModelRunning):
    """A training or a prediction."""

    def __init__(
        self, artifacts: ModelArtifacts, job: Job, call: ModelCall, given: ModelJob, model: Artifact | None
    ) -> None:
        super().__init__(artifacts, job, call, inputs_of(given.request, model))
        self.given = given
        self.model = model

    async def made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        """A model, or a forecast below it with the workspace of its script."""
        id = self.given.artifact_id
        if self.model is None:
            return [await self._artifact(outcome, content, TRAINING_WORKSPACE, id=id)]
        root = {"root_id": self.model.root_id}
        below = {"parent_id": self.model.id, "level": self.model.level + 1, **root}
        if outcome.is_failed:
            return [await self._artifact(outcome, content, PREDICTION_WORKSPACE, id=id, **below)]
        made = [await self._artifact(outcome, content, PREDICTION, id=id, **below)]
        if outcome.workspace is not None:
            deeper = {"parent_id": id, "level": self.model.level + 2, **root}
            made.append(await self._artifact(outcome, outcome.workspace, PREDICTION_WORKSPACE, id=new_id(), **deeper))
        return made

    async def _artifact(self, outcome: ModelOutcome, file: ModelFile, kind: str, **more: Any) -> Artifact:
        origin = self.origin(self.model.id) if self.model is not None else self.origin()
        metadata: dict[str, Any] = {}
        if self.given.member is not UNSET:
            metadata["member"] = self.given.member
        if self.given.model_version is not UNSET:
            metadata["model_version"] = msgspec.to_builtins(self.given.model_version)
        if metadata:
            more["metadata"] = metadata
        return await self.artifacts.made(origin, outcome, self.call.directory, file, kind, **more)
