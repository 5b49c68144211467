"""One run of a model in the process that it has to itself: from the files of the request to those of the outcome."""

import asyncio
import inspect
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from domain.configs import BaseConfig
from domain.errors import Invalid
from domain.frames import DataFrame
from domain.ml import Diagnostic, PredictRequest, TrainRequest, horizon_of, horizon_problem
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
from domain.models import BaseModelRunner, FunctionalModelRunner, ShellModelRunner, current_run
from domain.tasks import RunningJob
from infra.runners.models.contents import read_content, write_content
from infra.runners.models.program import ModelProgram, unpack
from infra.runners.models.shell import CommandEnd, run_command
from infra.runners.models.workspace import (
    copy_project,
    pack_workspace,
    unpack_workspace,
    write_config,
    write_frame,
    write_geo,
)

_encode = msgspec.json.Encoder().encode


class ModelRunFailedError(Exception):
    """A script ended with a code that is not 0."""


class ModelRun:
    """What all ways to run a model share: the request, the configuration, and the clock."""

    def __init__(self, call: ModelCall, job: RunningJob) -> None:
        self.call = call
        self.job = job
        self.folder = Path(call.directory)
        self.program: ModelProgram = unpack(call.program)
        self.started_at = datetime.now(UTC)
        self._began = self._ended = time.perf_counter()

    @property
    def runner(self) -> BaseModelRunner | FunctionalModelRunner | ShellModelRunner:
        """The author's."""
        return self.program.runner

    def request(self) -> TrainRequest | PredictRequest:
        """What the client has sent."""
        kind: Any = TrainRequest if self.call.action in {Action.TRAIN, Action.VALIDATE_TRAIN} else PredictRequest
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


def perform(call: ModelCall, job: RunningJob) -> None:
    """Do what is asked, and leave a `ModelOutcome` and the files it names in the directory."""
    current_run.set(job)
    run = ModelRun(call, job)
    if call.action in {Action.VALIDATE_TRAIN, Action.VALIDATE_PREDICT}:
        _validate(run)
    elif isinstance(run.runner, ShellModelRunner):
        _run_script(run, run.runner)
    elif call.action is Action.TRAIN:
        _train(run, run.runner)
    else:
        _predict(run, run.runner)


def _train(run: ModelRun, runner: BaseModelRunner | FunctionalModelRunner) -> None:
    request = run.request()
    assert isinstance(request, TrainRequest)
    config, stored = run.config(request)
    model = run.timed(lambda: _called(run, lambda: runner.on_train(config, request.data, request.geo)))
    if isinstance(runner, BaseModelRunner):
        run.leave(content=write_content(run.folder, "content", model))
        return
    workspace = run.folder / "workspace"
    workspace.mkdir()
    write_config(workspace, stored, "flat")
    write_frame(workspace, "data.csv", request.data, {})
    write_geo(workspace, request.geo)
    file = write_content(workspace, "model", model)
    (workspace / "model").rename(workspace / MODEL_NAMES[file.kind])
    run.leave(content=pack_workspace(workspace, run.folder, "content.zip", is_signed=file.is_signed))


MODEL_NAMES = {
    ContentKind.PICKLE: "model.pickle",
    ContentKind.JSON: "model.json",
    ContentKind.FRAME: "model.frame.json",
    ContentKind.BYTES: "model.bin",
}
"""The file of the model in the archive of a functional model, by what it is."""


def _predict(run: ModelRun, runner: BaseModelRunner | FunctionalModelRunner) -> None:
    request = run.request()
    assert isinstance(request, PredictRequest)
    config, _ = run.config(request)
    model = _model(run)
    predicted = run.timed(
        lambda: _called(run, lambda: runner.on_predict(config, model, request.historic, request.future, request.geo))
    )
    run.leave(content=write_content(run.folder, "content", frame_of(predicted)))


def _model(run: ModelRun) -> Any:
    """What the training has returned."""
    path, kind = run.folder / MODEL_FILE, run.call.model
    assert kind is not None
    if not isinstance(run.runner, FunctionalModelRunner):
        return read_content(path, kind)
    workspace = run.folder / "workspace"
    unpack_workspace(path, workspace)
    for inner, name in MODEL_NAMES.items():
        if (workspace / name).exists():
            return read_content(workspace / name, inner)
    raise Invalid(f"The training artifact holds none of {', '.join(MODEL_NAMES.values())}")


def frame_of(predicted: Any) -> DataFrame:
    """The frame of what `on_predict` has returned. Raises `TypeError` for what is none."""
    if isinstance(predicted, dict) and "content" in predicted:
        predicted = predicted["content"]
    if isinstance(predicted, dict) and {"columns", "data"} <= predicted.keys():
        predicted = DataFrame(columns=predicted["columns"], data=predicted["data"])
    if type(predicted).__module__.partition(".")[0] == "pandas":
        predicted = DataFrame.from_pandas(predicted)
    if not isinstance(predicted, DataFrame):
        raise TypeError(f"on_predict returned a {type(predicted).__name__}: return a DataFrame")
    predicted.validate_structure()
    return predicted if predicted.schema else predicted.with_schema()


def _called(run: ModelRun, work: Callable[[], Any]) -> Any:
    """The result of a function, `async` or not, with what a class wants done before and after it."""

    async def call() -> Any:
        runner = run.runner
        if not isinstance(runner, BaseModelRunner):
            return await _awaited(work())
        await runner.on_init()
        try:
            return await _awaited(work())
        finally:
            await runner.on_cleanup()

    return asyncio.run(call())


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _validate(run: ModelRun) -> None:
    request = run.request()
    config, _ = run.config(request)
    runner = run.runner
    if isinstance(request, TrainRequest):
        check: Any = runner.on_validate_train
        arguments: tuple[Any, ...] = (config, request.data, request.geo)
    else:
        check = runner.on_validate_predict
        arguments = (config, request.historic, request.future, request.geo)
    found = run.timed(lambda: _called(run, lambda: check(*arguments))) if check is not None else []
    run.leave(diagnostics=msgspec.convert(msgspec.to_builtins(found or []), list[Diagnostic]))


# Scripts


def _run_script(run: ModelRun, runner: ShellModelRunner) -> None:
    request = run.request()
    _, stored = run.config(request)
    workspace = run.folder / "workspace"
    if isinstance(request, TrainRequest):
        copy_project(runner.project, workspace, without=run.folder.parent)
        geo = write_geo(workspace, request.geo)
        command = runner.train_command.format(
            data_file=write_frame(workspace, "data.csv", request.data, runner.adapters), geo_file=geo
        )
    else:
        unpack_workspace(run.folder / MODEL_FILE, workspace)
        (workspace / "predictions.csv").unlink(missing_ok=True)
        command = runner.predict_command.format(
            historic_file=write_frame(workspace, "historic.csv", request.historic, runner.adapters),
            future_file=write_frame(workspace, "future.csv", request.future, runner.adapters),
            output_file="predictions.csv",
            geo_file=write_geo(workspace, request.geo),
        )
    write_config(workspace, stored, runner.config_format)
    end = run.timed(
        lambda: run_command(
            command,
            workspace,
            timeout_seconds=runner.timeout_seconds,
            on_stdout=run.job.log,
            on_stderr=run.job.log,
        )
    )
    archive = pack_workspace(workspace, run.folder, "content.zip")
    said = {"exit_code": end.exit_code, "stdout": end.stdout, "stderr": end.stderr}
    if end.exit_code != 0:
        run.leave(is_failed=True, content=archive, **said)
        raise ModelRunFailedError(_failure(run, end))
    if run.call.action is Action.TRAIN:
        run.leave(content=archive, **said)
    else:
        run.leave(content=_predictions(run, workspace), workspace=archive, **said)
    shutil.rmtree(workspace, ignore_errors=True)


def _predictions(run: ModelRun, workspace: Path) -> ModelFile:
    path = workspace / "predictions.csv"
    if not path.is_file():
        raise RuntimeError(f"Prediction script did not create output file at {path.name}")
    return write_content(run.folder, "content", frame_of(DataFrame.from_csv(path)))


def _failure(run: ModelRun, end: CommandEnd) -> str:
    tail = end.stderr.strip()[-500:] or "(nothing)"
    return (
        f"{run.call.action} script failed with exit code {end.exit_code}; diagnostic artifact {run.call.artifact_id} "
        f"holds what it has left; stderr tail: {tail}"
    )
