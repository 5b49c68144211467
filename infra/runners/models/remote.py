"""A model of another service, asked over HTTP: its configuration, its job and its artifact are made and waited for."""

from typing import Any

import msgspec
from msgspec import UNSET

from domain.errors import ServiceError
from domain.forecasts import KEYS, forecast_of
from domain.frames import DataFrame
from domain.ml import PredictRequest, RunInfo, TrainRequest, periods_of
from domain.model_runs import MODEL_FILE
from domain.models import RemoteModelRunner
from infra.runners.models.contents import write_content
from infra.runners.models.functions import frame_of
from infra.runners.models.remote_service import RemoteFailedError, RemoteService, member_of
from infra.runners.models.run import ModelRun


class RemoteModel(msgspec.Struct, frozen=True):
    """What is kept of a training: where it was done, and what that service calls its parts."""

    url: str
    config_id: str
    artifact_id: str


def train(run: ModelRun, runner: RemoteModelRunner) -> None:
    """Have the other service train."""
    request = run.request()
    assert isinstance(request, TrainRequest)
    config, _ = run.config(request)
    with RemoteService(run.job, runner) as service:
        data = {
            **runner.config,
            "prediction_periods": config.prediction_periods,
            "additional_continuous_covariates": config.additional_continuous_covariates,
        }
        where = "/api/v1/configs"
        made = service.asked("POST", where, {"name": f"ensemble {run.call.artifact_id}", "data": data})
        config_id = member_of(made, "id", f"POST {runner.url}{where}")
        body = msgspec.structs.replace(request, config_id=config_id, run_info=_told(config.prediction_periods, request))
        artifact_id = run.timed(lambda: service.done("/api/v1/ml/$train", body))
    model = RemoteModel(runner.url, config_id, artifact_id)
    run.leave(content=write_content(run.folder, "content", msgspec.to_builtins(model)))


def predict(run: ModelRun, runner: RemoteModelRunner) -> None:
    """Have the other service predict with what it has trained, and keep its forecast here."""
    request = run.request()
    assert isinstance(request, PredictRequest)
    config, _ = run.config(request)
    model = msgspec.json.decode((run.folder / MODEL_FILE).read_bytes(), type=RemoteModel)
    if model.url != runner.url:
        raise RemoteFailedError(
            f"the model was trained at {model.url}, and the member is now at {runner.url}: train again"
        )
    with RemoteService(run.job, runner) as service:
        told = _told(config.prediction_periods, request)
        body = msgspec.structs.replace(request, artifact_id=model.artifact_id, model=UNSET, run_info=told)
        artifact_id = run.timed(lambda: service.done("/api/v1/ml/$predict", body))
        found = service.asked("GET", f"/api/v1/artifacts/{artifact_id}")
    what = f"artifact {artifact_id} of {runner.url}"
    run.leave(content=write_content(run.folder, "content", _forecast(found, request, config.prediction_periods, what)))


def _forecast(found: dict[str, Any], request: PredictRequest, horizon: int, what: str) -> DataFrame:
    """The forecast in an artifact, of what was asked for and in its order. Raises `RemoteFailedError`."""
    content = found["data"].get("content") if isinstance(found.get("data"), dict) else None
    try:
        if not isinstance(content, dict):
            raise TypeError("it has no table")
        frame = _without_echo(frame_of(msgspec.convert(content, DataFrame)), request.future)
        forecast_of(frame, "its content")
        return _as_asked(frame, request.future, horizon)
    except (ServiceError, TypeError, ValueError) as error:
        raise RemoteFailedError(f"{what} holds no forecast: {error}") from error


def _without_echo(frame: DataFrame, future: DataFrame) -> DataFrame:
    """The frame without what it merely repeats of the request, unless there is nothing else."""
    others = [column for column in frame.columns if column not in KEYS]
    own = [column for column in others if column not in future.columns] or others
    return frame.select([column for column in frame.columns if column in KEYS or column in own])


def _as_asked(frame: DataFrame, future: DataFrame, horizon: int) -> DataFrame:
    """The rows for the periods and locations of the request. Raises `ValueError` for one that is missing."""
    if not set(KEYS) <= set(future.columns):
        return frame
    rows = dict(zip(_keys(frame), frame.data, strict=True))
    asked = list(dict.fromkeys(_keys(future)))
    there = [key for key in asked if key in rows]
    missing = [key for key in asked if key not in rows]
    # A horizon that is shorter than the request is meant to leave the last rows out.
    if missing and (not there or periods_of(future) <= horizon):
        period, location = missing[0]
        raise ValueError(f"it has no row for {location} in {period}")
    return DataFrame(frame.columns, [rows[key] for key in there], frame.schema)


def _keys(frame: DataFrame) -> list[tuple[str, str]]:
    period, location = (frame.get_column(key) for key in KEYS)
    return [(str(one), str(other)) for one, other in zip(period, location, strict=True)]


def _told(horizon: int, request: TrainRequest | PredictRequest) -> RunInfo:
    return msgspec.structs.replace(request.run_info or RunInfo(), prediction_periods=horizon, prediction_length=None)
