"""Several models as one: run one after the other in this process, or put together of what other jobs have left."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from domain.backtests import truth_of
from domain.ensembles.combining import combine
from domain.ensembles.weights import learned_weights, remaining_weights
from domain.evaluations import held_back_after, trial
from domain.forecasts import Forecast, ForecastKind, forecast_of
from domain.frames import DataFrame
from domain.ml import TrainRequest
from domain.model_runs import MODEL_FILE, REQUEST_FILE, Action, PartFile
from domain.models import EnsembleRunner
from domain.scores import scores_of
from infra.runners.models import single
from infra.runners.models.contents import write_content
from infra.runners.models.evaluation import evaluate, write_trial
from infra.runners.models.run import ModelRun


class TooFewMembersError(Exception):
    """More members of an ensemble have failed than may."""


# In this process


def train_members(run: ModelRun) -> None:
    """Train the chosen members one after the other, for whoever goes on in this very directory."""
    request = run.request()
    assert isinstance(request, TrainRequest)
    config, _ = run.config(request)
    names = list(run.ensemble.chosen(getattr(config, "members", [])))
    parts = _attempted(run, names, lambda name: _trained(run, name))
    _check_number(run.ensemble, parts)
    weights, _ = _weights(run, parts, lambda part: _predicted_after(run, request, config.prediction_periods, part.name))
    weighed = [msgspec.structs.replace(part, weight=weights.get(part.name)) for part in parts]
    run.leave(content=write_content(run.folder, "content", names), parts=weighed)


def _trained(run: ModelRun, name: str) -> PartFile:
    inner = run.nested(f"members/{name}", Action.TRAIN, member=name)
    os.link(run.folder / REQUEST_FILE, inner.folder / REQUEST_FILE)
    single.train(inner)
    content = inner.outcome().content
    assert content is not None
    file = f"members/{name}/{content.name}"
    return PartFile(name=name, artifact_id=run.call.artifact_id, file=file, kind=content.kind)


def _predicted_after(run: ModelRun, request: TrainRequest, horizon: int, name: str) -> DataFrame:
    """What a member would have predicted for the last periods of the training data without having seen them."""
    inner = run.nested(f"held_out/{name}", Action.EVALUATE, member=name)
    tried = trial(
        request.data,
        held_back_after(request.data, horizon),
        horizon,
        run.ensemble.target,
        config_id=request.config_id,
        artifact_id=run.call.artifact_id,
        geo=request.geo,
        run_info=request.run_info,
    )
    write_trial(inner.folder, tried)
    evaluate(inner, single.train, single.predict)
    content = inner.outcome().content
    assert content is not None
    return _frame(inner, content.name)


def predict_members(run: ModelRun) -> None:
    """Predict with the members one after the other, each with the model that `parts` names, and combine that."""
    models = {part.name: part for part in run.call.parts}
    parts = _attempted(run, list(models), lambda name: _predicted(run, models[name]))
    _combined(run, [msgspec.structs.replace(part, weight=models[part.name].weight) for part in parts])


def _predicted(run: ModelRun, model: PartFile) -> PartFile:
    assert model.file is not None
    inner = run.nested(f"forecasts/{model.name}", Action.PREDICT, member=model.name, model=model.kind, parts=[])
    os.link(run.folder / REQUEST_FILE, inner.folder / REQUEST_FILE)
    os.link(run.folder / model.file, inner.folder / MODEL_FILE)
    single.predict(inner)
    content = inner.outcome().content
    assert content is not None
    return msgspec.structs.replace(model, file=f"forecasts/{model.name}/{content.name}", kind=content.kind)


def _attempted(run: ModelRun, names: Sequence[str], work: Callable[[str], PartFile]) -> list[PartFile]:
    """What each member has left; one that fails has left nothing, and the reason is in the log of the job."""
    parts = []
    for number, name in enumerate(names):
        run.job.check()
        run.job.progress(100 * number / len(names), step=name)
        try:
            parts.append(work(name))
        except Exception as error:  # noqa: BLE001 - the policy of the ensemble says whether it goes on without it
            run.job.log(f"member {name} has failed: {type(error).__name__}: {error}")
            parts.append(PartFile(name=name, artifact_id=run.call.artifact_id, is_failed=True))
    return parts


# Of what other jobs have left


def join_trainings(run: ModelRun) -> None:
    """Make one model of those of the members: which they are, and what each of them weighs."""
    parts = run.call.parts
    _check_number(run.ensemble, parts)

    def held_out(part: PartFile) -> DataFrame | None:
        return None if part.held_out is None else _frame(run, part.held_out)

    weights, errors = _weights(run, parts, held_out)
    members = [_said(part, weight=weights.get(part.name), held_out_error=errors.get(part.name)) for part in parts]
    report = {"strategy": str(run.ensemble.strategy), "members": members}
    run.leave(content=run.timed(lambda: write_content(run.folder, "content", report)), report={"ensemble": report})


def combine_predictions(run: ModelRun) -> None:
    """Make one forecast of those of the members."""
    _combined(run, run.call.parts)


def _combined(run: ModelRun, parts: Sequence[PartFile]) -> None:
    ensemble = run.ensemble
    _check_number(ensemble, parts)
    there = {part.name: part.file for part in parts if not part.is_failed and part.file is not None}
    given = {part.name: part.weight for part in parts}
    known = {name: weight for name, weight in given.items() if weight is not None}
    weights = remaining_weights(known or dict.fromkeys(given, 1.0), list(there))
    forecasts = {name: _parked(run, number, name, file) for number, (name, file) in enumerate(there.items())}
    made = run.timed(
        lambda: combine(
            forecasts,
            ensemble.strategy,
            weights=weights,
            trim=ensemble.trim,
            seed=ensemble.seed,
            samples=ensemble.samples,
        ).to_frame()
    )
    report = {
        "strategy": str(ensemble.strategy),
        "members": [_said(part, weight=weights.get(part.name)) for part in parts],
    }
    run.leave(content=write_content(run.folder, "content", made), report={"ensemble": report})


def _parked(run: ModelRun, number: int, name: str, file: str) -> Forecast:
    """The forecast of a member with its numbers in a file, so that those of only one are in memory at a time."""
    forecast = forecast_of(_frame(run, file), name)
    if forecast.kind is ForecastKind.HARD:
        # Names of classes are objects, which cannot be mapped, and there is one in each row.
        return forecast
    path = run.folder / f"values-{number}.npy"
    np.save(path, forecast.values)
    return msgspec.structs.replace(forecast, values=np.load(path, mmap_mode="r"))


def _check_number(ensemble: EnsembleRunner, parts: Sequence[PartFile]) -> None:
    failed = [part for part in parts if part.is_failed]
    least = ensemble.least(len(parts))
    if len(parts) - len(failed) < least or len(failed) == len(parts):
        names = ", ".join(part.name if part.job_id is None else f"{part.name} (job {part.job_id})" for part in failed)
        raise TooFewMembersError(
            f"{len(parts) - len(failed)} of {len(parts)} members have succeeded and {least} must; failed: {names}"
        )


def _weights(
    run: ModelRun, parts: Sequence[PartFile], held_out: Callable[[PartFile], DataFrame | None]
) -> tuple[dict[str, float], dict[str, float]]:
    """What each member weighs, and the errors that this comes from, if it was learned."""
    ensemble = run.ensemble
    there = [part for part in parts if not part.is_failed]
    names = [part.name for part in there]
    if ensemble.weights != "learned" or len(there) == 1:
        given = ensemble.weights if isinstance(ensemble.weights, dict) else dict.fromkeys(ensemble.members, 1.0)
        return remaining_weights({part.name: given[part.name] for part in parts}, names), {}
    request = run.request()
    assert isinstance(request, TrainRequest)
    config, _ = run.config(request)
    horizon = config.prediction_periods
    truth = truth_of(request.data, held_back_after(request.data, horizon), horizon, target=ensemble.target)
    errors = {}
    for part in there:
        frame = held_out(part)
        if frame is not None:
            errors[part.name] = _error(forecast_of(frame, part.name), truth)
    if errors.keys() != set(names):
        missing = ", ".join(sorted(set(names) - errors.keys()))
        raise TooFewMembersError(f"no weights can be learned: nothing is known of the error of {missing}")
    return learned_weights(errors), errors


def _error(forecast: Forecast, truth: Mapping[tuple[str, str], float]) -> float:
    found = scores_of(forecast, truth).metrics().crps
    return float("nan") if found is None else found


def _frame(run: ModelRun, file: str) -> DataFrame:
    return msgspec.json.decode((run.folder / file).read_bytes(), type=DataFrame)


def _said(part: PartFile, **more: Any) -> dict[str, Any]:
    status, id = ("failed", None) if part.is_failed else ("success", part.artifact_id)
    known = {"name": part.name, "status": status, "artifact_id": id}
    return {**known, "job_id": part.job_id, **{name: value for name, value in more.items() if value is not None}}
