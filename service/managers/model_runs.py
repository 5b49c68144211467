"""Around the run of a model: its inputs become files, what it leaves becomes artifacts, all in the worker."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.entity import new_id
from domain.job_ports import Effect
from domain.jobs import Job, JobState
from domain.ml import (
    PREDICTION,
    PREDICTION_WORKSPACE,
    TRAIN,
    TRAINING_WORKSPACE,
    ModelJob,
    Period,
)
from domain.model_runs import (
    MODEL_FILE,
    OUTCOME_FILE,
    REQUEST_FILE,
    Action,
    ContentKind,
    ModelCall,
    ModelFile,
    ModelOutcome,
)
from domain.ports import Scratch
from domain.runs import Message, Reason, RunEnd
from domain.signing import is_signed, signature
from domain.storage import Storage
from service.managers.artifacts import ArtifactManager
from service.managers.configs import ConfigManager

SIGNED = "model content"
"""What signatures of contents are for."""


class ModelRuns:
    """`domain.job_ports.RunHooks` for the jobs of models."""

    def __init__(
        self,
        program: bytes,
        configs: ConfigManager,
        artifacts: ArtifactManager,
        storage: Storage,
        scratch: Scratch,
        secret: bytes,
        *,
        bounds: Period,
        code_revision: str | None,
    ) -> None:
        self._program = program
        self._configs = configs
        self._artifacts = artifacts
        self._storage = storage
        self._scratch = scratch
        self._secret = secret
        self._bounds = bounds
        self._code_revision = code_revision

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["ModelRunning"]:
        """Put the request, and for a prediction the model, into a directory that is gone afterwards."""
        given = msgspec.convert(job.args, ModelJob)
        model = await self.training(given.model_id) if given.model_id is not None else None
        config_id = given.config_id or (model.config_id if model is not None else None) or ""
        config = await self._configs.find(config_id) if config_id else None
        if config is None:
            raise ValueError(f"Config {config_id} not found")
        async with self._scratch.directory(job.id) as folder:
            await self._storage.fetch(given.request, folder / REQUEST_FILE)
            if model is not None:
                assert model.content_sha256 is not None
                await self._storage.fetch(model.content_sha256, folder / MODEL_FILE)
            call = ModelCall(
                action=Action.TRAIN if job.kind == TRAIN else Action.PREDICT,
                directory=str(folder),
                program=self._program,
                config=config.data,
                config_id=config.id,
                artifact_id=given.artifact_id,
                bounds=self._bounds,
                model=ContentKind(model.content_kind) if model is not None else None,
            )
            yield ModelRunning(self, job, given, call, model)

    async def training(self, artifact_id: str) -> Artifact:
        """The training artifact with this id, if a model may be loaded from it. Raises `ValueError` saying why not."""
        artifact = await self._artifacts.find(artifact_id)
        if artifact is None:
            raise ValueError(f"Training artifact {artifact_id} not found")
        data = artifact.data if isinstance(artifact.data, Mapping) else {}
        metadata = data.get("metadata") or {}
        if data.get("type") != TRAINING_WORKSPACE or artifact.content_sha256 is None:
            raise ValueError(f"Artifact {artifact_id} is not a training artifact")
        if metadata.get("status") == "failed":
            code = metadata.get("exit_code")
            raise ValueError(f"Cannot predict using failed training artifact {artifact_id}: it exited with code {code}")
        if not self.is_own(artifact):
            raise ValueError(
                f"The content of artifact {artifact_id} was not made by this service, so nothing is loaded from it"
            )
        return artifact

    def is_own(self, artifact: Artifact) -> bool:
        """Whether this service has made a content itself: models are loaded from nothing else."""
        content = artifact.content_sha256
        return content is not None and is_signed(self._secret, SIGNED, content, artifact.signature)

    async def artifact(
        self, running: "ModelRunning", outcome: ModelOutcome, file: ModelFile, kind: str, **more: Any
    ) -> Artifact:
        """What a run has left, as a row whose content is stored already."""
        blob = await self._storage.put_file(Path(running.call.directory) / file.name)
        is_script = outcome.exit_code is not None and kind != PREDICTION
        metadata = {
            "status": "failed" if outcome.is_failed else "success",
            "config_id": running.call.config_id,
            "started_at": outcome.started_at.isoformat(),
            "completed_at": outcome.completed_at.isoformat(),
            "duration_seconds": outcome.seconds,
            "exit_code": outcome.exit_code if is_script else None,
            "stdout": outcome.stdout if is_script else None,
            "stderr": outcome.stderr if is_script else None,
        }
        data = {"type": kind, "metadata": metadata, "content_type": file.media_type, "content_size": file.size}
        return Artifact(
            data=data,
            content_kind=file.kind,
            content_sha256=blob.sha256,
            content_bytes=blob.size,
            signature=signature(self._secret, SIGNED, blob.sha256),
            job_id=running.job.id,
            config_id=running.call.config_id,
            code_revision=self._code_revision,
            inputs=running.inputs,
            parents=[running.model.id] if running.model is not None else [],
            **more,
        )

    async def insert(self, artifacts: list[Artifact], config_id: str | None) -> None:
        """Store artifacts, and link the first one to a configuration."""
        await self._artifacts.insert_results(artifacts, config_id)


class ModelRunning:
    """One run: `domain.job_ports.Surroundings`."""

    def __init__(self, runs: ModelRuns, job: Job, given: ModelJob, call: ModelCall, model: Artifact | None) -> None:
        self.args: Mapping[str, Any] = msgspec.to_builtins(call)
        self.job = job
        self.given = given
        self.call = call
        self.model = model
        self._runs = runs

    @property
    def inputs(self) -> dict[str, str]:
        """The hashes of what the run has worked on."""
        request = {"request": self.given.request}
        if self.model is None or self.model.content_sha256 is None:
            return request
        return {**request, "model": self.model.content_sha256}

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """Store what the run has left; its artifacts are written together with the end of the job."""
        outcome = self._outcome()
        is_done = end.reason is Reason.COMPLETED
        if outcome is None or outcome.content is None or not (is_done or outcome.is_failed):
            return end, None
        made = await self._made(outcome, outcome.content)

        async def write(job: Job) -> None:
            if job.state in {JobState.COMPLETED, JobState.FAILED, JobState.DEAD}:
                await self._runs.insert(made, self.call.config_id if self.call.action is Action.TRAIN else None)

        if is_done:
            end = msgspec.structs.replace(end, artifact_id=self.given.artifact_id)
        return end, write

    def _outcome(self) -> ModelOutcome | None:
        path = Path(self.call.directory) / OUTCOME_FILE
        return msgspec.json.decode(path.read_bytes(), type=ModelOutcome) if path.is_file() else None

    async def _made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        id = self.given.artifact_id
        if self.model is None:
            return [await self._runs.artifact(self, outcome, content, TRAINING_WORKSPACE, id=id)]
        root = {"root_id": self.model.root_id}
        below = {"parent_id": self.model.id, "level": self.model.level + 1, **root}
        if outcome.is_failed:
            return [await self._runs.artifact(self, outcome, content, PREDICTION_WORKSPACE, id=id, **below)]
        made = [await self._runs.artifact(self, outcome, content, PREDICTION, id=id, **below)]
        if outcome.workspace is not None:
            deeper = {"parent_id": id, "level": self.model.level + 2, **root}
            made.append(
                await self._runs.artifact(self, outcome, outcome.workspace, PREDICTION_WORKSPACE, id=new_id(), **deeper)
            )
        return made
