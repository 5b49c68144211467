"""One run of a model in the process that it has to itself: from the files of the request to those of the outcome."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from domain.configs import BaseConfig
from domain.ml import PredictRequest, TrainRequest, horizon_of, horizon_problem
from domain.model_runs import OUTCOME_FILE, REQUEST_FILE, Action, ModelCall, ModelOutcome
from domain.models import EnsembleRunner, ModelRunner
from domain.tasks import RunningJob
from infra.runners.models.program import ModelProgram, unpack

_TRAININGS = {Action.TRAIN, Action.VALIDATE_TRAIN, Action.JOIN_TRAININGS}
_encode = msgspec.json.Encoder().encode


class ModelRun:
    """What all ways to run a model share: the request, the configuration, and the clock."""

    def __init__(self, call: ModelCall, job: RunningJob, program: ModelProgram | None = None) -> None:
        self.call = call
        self.job = job
        self.folder = Path(call.directory)
        self.program = program or unpack(call.program)
        self.started_at = datetime.now(UTC)
        self._began = self._ended = time.perf_counter()

    @property
    def runner(self) -> ModelRunner:
        """The author's, or of an ensemble the member that runs alone."""
        runner = self.program.runner
        if self.call.member is None:
            return runner
        if not isinstance(runner, EnsembleRunner):
            raise TypeError(f'the model is no ensemble, so it has no member "{self.call.member}"')
        return runner.chosen([self.call.member])[self.call.member]

    @property
    def ensemble(self) -> EnsembleRunner:
        """The author's, which is several models. Raises `TypeError` when it is none, or none any more."""
        runner = self.program.runner
        if not isinstance(runner, EnsembleRunner):
            raise TypeError("the model is no ensemble")
        return runner

    def nested(self, name: str, action: Action, **changes: Any) -> "ModelRun":
        """A run within this one, in a folder of its own below that of this one."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        call = msgspec.structs.replace(self.call, action=action, directory=str(folder), **changes)
        return ModelRun(call, self.job, self.program)

    def outcome(self) -> ModelOutcome:
        """What the run has left."""
        return msgspec.json.decode((self.folder / OUTCOME_FILE).read_bytes(), type=ModelOutcome)

    def request(self) -> TrainRequest | PredictRequest:
        """What the client has sent."""
        kind: Any = TrainRequest if self.call.action in _TRAININGS else PredictRequest
        found: TrainRequest | PredictRequest = msgspec.json.decode((self.folder / REQUEST_FILE).read_bytes(), type=kind)
        return found

    def config(self, request: TrainRequest | PredictRequest) -> tuple[BaseConfig, dict[str, Any]]:
        """The configuration as the author's Struct and as a script reads it, with the horizon of this request.

        Raises `ValueError` for a horizon that the model is not made for.
        """
        stored = dict(self.call.config)
        future = request.future if isinstance(request, PredictRequest) else None
        horizon, field = horizon_of(self.program.configs.typed(stored), request.run_info, future)
        found = horizon_problem(horizon, self.call.bounds, field)
        if found is not None:
            raise ValueError(found.message)
        stored["prediction_periods"] = horizon
        return self.program.configs.typed(stored), stored

    def timed(self, work: Callable[[], Any]) -> Any:
        """The result of the author's own code, whose time counts."""
        self.started_at = datetime.now(UTC)
        self._began = time.perf_counter()
        try:
            return work()
        finally:
            self._ended = time.perf_counter()

    def leave(self, **outcome: Any) -> None:
        """Write down how the run went."""
        made = ModelOutcome(
            started_at=self.started_at,
            completed_at=datetime.now(UTC),
            seconds=round(self._ended - self._began, 2),
            **outcome,
        )
        (self.folder / OUTCOME_FILE).write_bytes(_encode(made))
