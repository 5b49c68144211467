"""A model as functions or a class: called, and what it returns written down."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from domain.errors import Invalid
from domain.frames import DataFrame
from domain.ml import PredictRequest, TrainRequest
from domain.model_runs import MODEL_FILE, ContentKind
from domain.models import BaseModelRunner, FunctionalModelRunner
from infra.runners.models.contents import read_content, write_content
from infra.runners.models.run import ModelRun
from infra.runners.models.workspace import pack_workspace, unpack_workspace, write_config, write_frame, write_geo


def train(run: ModelRun, runner: BaseModelRunner | FunctionalModelRunner) -> None:
    """Train, and leave the model."""
    request = run.request()
    assert isinstance(request, TrainRequest)
    config, stored = run.config(request)
    model = run.timed(lambda: called(run, lambda: runner.on_train(config, request.data, request.geo)))
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


def predict(run: ModelRun, runner: BaseModelRunner | FunctionalModelRunner) -> None:
    """Predict with the model of a training, and leave the frame."""
    request = run.request()
    assert isinstance(request, PredictRequest)
    config, _ = run.config(request)
    model = model_of(run)
    predicted = run.timed(
        lambda: called(run, lambda: runner.on_predict(config, model, request.historic, request.future, request.geo))
    )
    run.leave(content=write_content(run.folder, "content", frame_of(predicted)))


def model_of(run: ModelRun) -> Any:
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


def called(run: ModelRun, work: Callable[[], Any]) -> Any:
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
