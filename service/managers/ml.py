"""What clients do with a model: have it trained and predict, ask beforehand, and get sample data."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from domain.entity import new_id
from domain.errors import Conflict, ModelFailed, NotFound
from domain.frames import (
    DataFrame,
    FeatureCollection,
    PredictSample,
    SampleOptions,
    TrainSample,
    check_geo,
    sample_predict,
    sample_train,
    structure_errors,
)
from domain.ml import (
    PREDICT,
    TRAIN,
    Accepted,
    Diagnostic,
    ModelJob,
    Period,
    PredictRequest,
    SampleQuery,
    Severity,
    TrainRequest,
    Validation,
    horizon_of,
    horizon_problem,
    periods_of,
    validation_of,
)
from domain.model_runs import (
    OUTCOME_FILE,
    REQUEST_FILE,
    Action,
    ModelCall,
    ModelOutcome,
)
from domain.models import BaseModelRunner, EnsembleRunner, MemberRunner, ModelRunner
from domain.ports import Runner, Scratch
from domain.registration import MLServiceInfo, PeriodType
from domain.runs import Reason, Run
from domain.storage import Storage
from domain.tasks import Task
from domain.validation import rejected
from service.managers.artifacts import ArtifactManager
from service.managers.configs import ConfigManager
from service.managers.jobs import Jobs
from service.managers.model_graphs import EnsembleGraphs, ModelNodes
from service.managers.targets import Targets, error

VALIDATE_SECONDS = 60.0
_ZIPPED = "application/zip"
_encode = msgspec.json.Encoder().encode


class Models:
    """The model of a service.

    Methods raise `InvalidBody`, `ModelFailed` and `Unavailable`. A request is stored as it came; its job carries the
    hash. `on_asked` hears the kind of every job that was submitted for a client.
    """

    def __init__(
        self,
        runner: ModelRunner,
        program: bytes,
        info: MLServiceInfo,
        configs: ConfigManager,
        artifacts: ArtifactManager,
        jobs: Jobs,
        graphs: EnsembleGraphs | None,
        targets: Targets,
        storage: Storage,
        scratch: Scratch,
        processes: Runner,
        validate: Task,
        on_asked: Callable[[str], None] | None = None,
    ) -> None:
        self._runner = runner
        self._program = program
        self._info = info
        self._bounds = Period(info.min_prediction_periods, info.max_prediction_periods)
        self._configs = configs
        self._artifacts = artifacts
        self._jobs = jobs
        self._graphs = graphs
        self._targets = targets
        self._storage = storage
        self._scratch = scratch
        self._processes = processes
        self._validate = validate
        self._on_asked = on_asked

    async def train(self, request: TrainRequest, body: bytes | None = None) -> Accepted:
        """Have the model trained; `body` is the request as it was sent, if it was."""
        check_request(request.geo, data=request.data)
        blob, artifact_id = (await self._storage.put(body or _encode(request))).sha256, new_id()
        made = await self._graphs.training(request, blob, artifact_id) if self._graphs is not None else None
        one = ModelJob(artifact_id=artifact_id, request=blob, config_id=request.config_id)
        return await self._submitted(TRAIN, "Training", one, made)

    async def predict(self, request: PredictRequest, body: bytes | None = None) -> Accepted:
        """Have a trained model predict; `body` is the request as it was sent, if it was."""
        check_request(request.geo, historic=request.historic, future=request.future)
        target = await self._targets.of(request)
        blob, artifact_id = (await self._storage.put(body or _encode(request))).sha256, new_id()
        one = ModelJob(artifact_id=artifact_id, request=blob, model_id=target.artifact_id, model_version=target.used)
        made = await self._graphs.prediction(one) if self._graphs is not None else None
        return await self._submitted(PREDICT, "Prediction", one, made)

    async def _submitted(self, kind: str, what: str, one: ModelJob, made: ModelNodes | None) -> Accepted:
        """Submit one job, or for an ensemble those that were made for its members."""
        if made is not None and self._graphs is not None:
            job_id = await self._graphs.submit(made, what.lower())
        else:
            job_id = (await self._jobs.submit(kind, one)).job.id
        if self._on_asked is not None:
            self._on_asked(kind)
        message = f"{what} job submitted. Job ID: {job_id}"
        return Accepted(job_id=job_id, artifact_id=one.artifact_id, message=message, model_version=one.model_version)

    async def sample(self, asked: SampleQuery) -> TrainSample | PredictSample:
        """A request that this model would take. Raises `NotFound` for a configuration that there is not."""
        config = await self._configs.get(asked.config_id) if asked.config_id is not None else None
        covariates = self._configs.schema.typed(config.data).additional_continuous_covariates if config else []
        options = SampleOptions(
            num_locations=asked.num_locations,
            num_periods=asked.num_periods,
            num_future_periods=self._sample_horizon(asked),
            num_features=asked.num_features,
            required_covariates=self._info.required_covariates,
            config_covariates=covariates,
            period_type=asked.period_type or ("weekly" if self._info.period_type is PeriodType.WEEKLY else "monthly"),
            geo_type=asked.geo_type,
            include_geo=self._info.requires_geo if asked.include_geo is None else asked.include_geo,
            seed=asked.seed,
        )
        if asked.kind == "predict":
            return await asyncio.to_thread(sample_predict, options)
        return await asyncio.to_thread(sample_train, options, config.id if config is not None else UNSET)

    def _sample_horizon(self, asked: SampleQuery) -> int:
        """As many periods as are asked for, within what the model is made for."""
        return max(min(asked.num_periods, self._bounds.most), self._bounds.least, 1)

    # Asking beforehand

    async def validate_train(self, request: TrainRequest, body: bytes) -> Validation:
        """What a training of this request would stumble over."""
        config = await self._configs.find(request.config_id)
        if config is None:
            message = f"Config {request.config_id} not found"
            return validation_of([error("config_not_found", message, "config_id")])
        found = self._horizon(config.data, request)
        if not request.data.data:
            found.append(error("data_empty", "The training data has no rows", "data"))
        if not found:
            found = await self._asked(Action.VALIDATE_TRAIN, body, config.id, config.data)
        return validation_of(found)

    async def validate_predict(self, request: PredictRequest, body: bytes) -> Validation:
        """What a prediction of this request would stumble over."""
        try:
            target = await self._targets.of(request)
        except (NotFound, Conflict) as missing:
            return validation_of([error("model_version_not_found", missing.detail, "model")])
        artifact = await self._artifacts.find(target.artifact_id)
        found = await self._targets.problems(artifact, target)
        config = await self._configs.find(artifact.config_id) if artifact is not None and artifact.config_id else None
        if not found and config is None:
            found = [error("config_not_found", "The configuration of the training is gone", target.field)]
        if found or config is None:
            return validation_of(found, target.used)
        found = self._horizon(config.data, request)
        for name, frame in (("historic", request.historic), ("future", request.future)):
            if not frame.data:
                found.append(error(f"{name}_empty", f"The {name} data has no rows", name))
        found += _mismatch(request)
        if all(item.severity is not Severity.ERROR for item in found):
            found += await self._asked(Action.VALIDATE_PREDICT, body, config.id, config.data)
        return validation_of(found, target.used)

    def _horizon(self, data: dict[str, Any], request: TrainRequest | PredictRequest) -> list[Diagnostic]:
        future = request.future if isinstance(request, PredictRequest) else None
        horizon, field = horizon_of(self._configs.schema.typed(data), request.run_info, future)
        found = horizon_problem(horizon, self._bounds, field)
        return [found] if found is not None else []

    async def _asked(self, action: Action, body: bytes, config_id: str, config: dict[str, Any]) -> list[Diagnostic]:
        """What the author's own checks find. They run in a process of their own."""
        if not self._has_check(action):
            return []
        call_id = new_id()
        async with self._scratch.directory(call_id) as folder:
            await asyncio.to_thread((folder / REQUEST_FILE).write_bytes, body)
            call = ModelCall(
                action=action,
                directory=str(folder),
                program=self._program,
                config=config,
                config_id=config_id,
                artifact_id=call_id,
                bounds=self._bounds,
            )
            run = Run(job_id=call_id, kind=self._validate.kind, args=_encode(call), timeout_seconds=VALIDATE_SECONDS)
            end = await self._processes.run(self._validate, run, lambda _: None)
            if end.reason is not Reason.COMPLETED:
                raise ModelFailed(f"The check of the model has failed: {end.error or 'it did not end'}")
            content = await asyncio.to_thread((folder / OUTCOME_FILE).read_bytes)
            return msgspec.json.decode(content, type=ModelOutcome).diagnostics

    def _has_check(self, action: Action) -> bool:
        name = "on_validate_train" if action is Action.VALIDATE_TRAIN else "on_validate_predict"
        runner = self._runner
        return any(
            _overrides(one, name)
            for one in (runner.members.values() if isinstance(runner, EnsembleRunner) else [runner])
        )


def _overrides(runner: MemberRunner, name: str) -> bool:
    if isinstance(runner, BaseModelRunner):
        return getattr(type(runner), name) is not getattr(BaseModelRunner, name)
    return getattr(runner, name, None) is not None


def check_request(geo: FeatureCollection | None, **frames: DataFrame) -> None:
    """Raise `InvalidBody` with everything that is wrong with the frames and the geometries of a request."""
    errors = [error for name, frame in frames.items() for error in structure_errors(frame, name)]
    if errors:
        raise rejected(errors)
    if geo is not None:
        check_geo(geo, "geo")


def _mismatch(request: PredictRequest) -> list[Diagnostic]:
    asked = request.run_info.horizon if request.run_info is not None else None
    given = periods_of(request.future)
    if asked is None or not given or asked == given:
        return []
    message = f"run_info asks for {asked} periods, and future has {given}"
    return [Diagnostic(severity=Severity.WARNING, code="prediction_periods_mismatch", message=message, field="future")]
