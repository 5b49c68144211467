"""A model as two commands, run in a workspace of their own."""

import shutil
from pathlib import Path

from domain.frames import DataFrame
from domain.ml import TrainRequest
from domain.model_runs import MODEL_FILE, Action, ModelFile
from domain.models import ShellModelRunner
from infra.runners.models.contents import write_content
from infra.runners.models.functions import frame_of
from infra.runners.models.run import ModelRun
from infra.runners.models.shell import CommandEnd, run_command
from infra.runners.models.workspace import (
    copy_project,
    pack_workspace,
    unpack_workspace,
    write_config,
    write_frame,
    write_geo,
)


class ModelRunFailedError(Exception):
    """A script ended with a code that is not 0."""


def run_script(run: ModelRun, runner: ShellModelRunner) -> None:
    """Train or predict by a command, and leave its workspace."""
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
