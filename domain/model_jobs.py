"""The arguments of the jobs that models run as, beyond a single training or prediction."""

import msgspec
from msgspec import UNSET, UnsetType

from domain.ml import PREDICT, TRAIN
from domain.model_versions import UsedVersion

ENSEMBLE, EVALUATE, BACKTEST = "ml.ensemble", "ml.evaluate", "ml.backtest"
"""The kinds of the jobs."""

WITH_REQUEST = (TRAIN, PREDICT, ENSEMBLE, EVALUATE, BACKTEST)
"""The kinds whose arguments hold the hash of a stored request."""

BACKTEST_REPORT, BACKTEST_PREDICTION = "ml_backtest", "ml_backtest_prediction"
"""The types of the artifacts that they leave."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What another job of the same graph is to leave, and where: the artifact is not there when that job has failed.

    `held_out_id` is the artifact of the predictions that a member has made of what was held back from the training.
    """

    name: str
    job_id: str
    artifact_id: str
    cutoff: str | None = None
    held_out_id: str | None = None


class EnsembleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Makes one artifact of those of the members: of a training with `config_id`, a prediction with `model_id`."""

    artifact_id: str
    request: str
    parts: list[Part]
    config_id: str | None = None
    model_id: str | None = None
    model_version: UsedVersion | UnsetType = UNSET


class EvaluateJob(msgspec.Struct, frozen=True, kw_only=True):
    """Trains with what was known up to `cutoff`, and predicts the `horizon` periods after it.

    `request` is a `BacktestRequest`, or, without a cut-off, a `TrainRequest` of which the last periods are held back.
    `model` is what a report calls the model.
    """

    artifact_id: str
    request: str
    config_id: str
    horizon: int
    cutoff: str | None = None
    model: str | None = None
    member: str | None = None
    target: str = "disease_cases"


class BacktestJob(msgspec.Struct, frozen=True, kw_only=True):
    """Scores the predictions of all splits and models, which `parts` name; the name of a part is that of its model."""

    artifact_id: str
    request: str
    parts: list[Part]
    models: list[str]
    cutoffs: list[str]
    horizon: int
