"""A model tried on the past: trained with what was known at a moment, and asked for what came after it."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from domain.evaluations import Trial
from domain.model_runs import MODEL_FILE, REQUEST_FILE, TRIAL_FOLDERS, Action
from infra.runners.models.run import ModelRun

TRAIN_FOLDER, PREDICT_FOLDER = TRIAL_FOLDERS
Step = Callable[[ModelRun], None]


def evaluate(run: ModelRun, train: Step, predict: Step) -> None:
    """Train and predict by the requests that lie in the directory, and leave the predictions."""
    trained = run.nested(TRAIN_FOLDER, Action.TRAIN)
    run.job.progress(5, step="training")
    train(trained)
    model = trained.outcome()
    run.job.check()
    run.job.progress(60, step="predicting")
    assert model.content is not None
    parts = [msgspec.structs.replace(part, file=part.file and f"../{TRAIN_FOLDER}/{part.file}") for part in model.parts]
    predicted = run.nested(PREDICT_FOLDER, Action.PREDICT, model=model.content.kind, parts=parts)
    os.link(trained.folder / model.content.name, predicted.folder / MODEL_FILE)
    run.timed(lambda: predict(predicted))
    found = predicted.outcome()
    assert found.content is not None
    content = msgspec.structs.replace(found.content, name=f"{PREDICT_FOLDER}/{found.content.name}")
    run.leave(content=content, report=found.report)


def write_trial(folder: Path, tried: Trial) -> None:
    """Put the requests of a trial where `evaluate` looks for them."""
    for name, content in tried.files().items():
        (folder / name).mkdir()
        (folder / name / REQUEST_FILE).write_bytes(content)
