"""What clients ask of a model, and what is found wrong with it before it runs."""

import enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.entity import Ulid
from domain.frames import DataFrame, FeatureCollection
from domain.model_versions import UsedVersion
from domain.validation import problem, rejected

TRAIN, PREDICT = "ml.train", "ml.predict"
"""The kinds of the jobs."""

TRAINING_WORKSPACE, PREDICTION, PREDICTION_WORKSPACE = (
    "ml_training_workspace",
    "ml_prediction",
    "ml_prediction_workspace",
)
"""The types of the artifacts that models leave."""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one request wants beyond the configuration: the horizon in periods, and covariates the client has added.

    `prediction_length` is another name of `prediction_periods`, which counts if both are sent.
    """

    prediction_periods: int | None = None
    prediction_length: int | None = None
    additional_continuous_covariates: list[str] = []
    future_covariate_origin: str | None = None

    @property
    def horizon(self) -> int | None:
        """How many periods are to be predicted; None when the request does not say."""
        return self.prediction_length if self.prediction_periods is None else self.prediction_periods


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `$train`."""

    config_id: Ulid
    data: DataFrame
    geo: FeatureCollection | None = None
    run_info: RunInfo | None = None


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `$predict`.

    What predicts is either `artifact_id`, which a training has left, or `model`, a version of one: by its number
    (`outbreak@3`), or by an alias (`outbreak@champion`).
    """

    artifact_id: Ulid | UnsetType = UNSET
    model: Annotated[str, Meta(max_length=220)] | UnsetType = UNSET
    historic: DataFrame
    future: DataFrame
    geo: FeatureCollection | None = None
    run_info: RunInfo | None = None


class ValidateTrain(TrainRequest, frozen=True, kw_only=True, tag_field="type", tag="train"):
    """The body of `$validate` that asks whether a training would be accepted."""


class ValidatePredict(PredictRequest, frozen=True, kw_only=True, tag_field="type", tag="predict"):
    """The body of `$validate` that asks whether a prediction would be accepted."""


def check_target(request: PredictRequest) -> None:
    """Raise `InvalidBody` unless a request says once what is to predict."""
    if request.artifact_id is UNSET and request.model is UNSET:
        raise rejected([problem("missing", '"artifact_id" is required', ("artifact_id",), None)])
    if request.artifact_id is not UNSET and request.model is not UNSET:
        raise rejected([problem("conflict", 'give "artifact_id" or "model", not both', ("model",), request.model)])


class Severity(enum.StrEnum):
    """How much a finding matters; an error means that the run would fail."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about a request; `field` is the path of the member it is about."""

    severity: Severity
    code: Annotated[str, Meta(min_length=1, max_length=128)]
    message: Annotated[str, Meta(min_length=1, max_length=2048)]
    field: Annotated[str, Meta(max_length=256)] | None = None


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of `$validate`; valid means that nothing is an error. `model_version` is as in `Accepted`."""

    valid: bool
    diagnostics: list[Diagnostic]
    model_version: UsedVersion | UnsetType = UNSET


def validation_of(diagnostics: list[Diagnostic], used: UsedVersion | UnsetType = UNSET) -> Validation:
    """The reply that holds these findings."""
    is_valid = all(found.severity is not Severity.ERROR for found in diagnostics)
    return Validation(valid=is_valid, diagnostics=diagnostics, model_version=used)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of `$train` and `$predict`: the job, and the id under which its result will be found.

    `model_version` is what predicts, for who has asked for a model.
    """

    job_id: str
    artifact_id: str
    message: str
    model_version: UsedVersion | UnsetType = UNSET


class ModelJob(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of both kinds of jobs: ids, and the hash of the request as it was sent.

    `config_id` is that of a training, `model_id` the training artifact of a prediction, and `model_version` the version
    that it is, if that was asked for; or `model` is what is asked for when the job begins. `member` is the model of an
    ensemble that runs alone.
    """

    artifact_id: str
    request: str
    config_id: str | None = None
    model_id: str | None = None
    model_version: UsedVersion | UnsetType = UNSET
    model: str | UnsetType = UNSET
    member: str | UnsetType = UNSET


class SampleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What sample data is asked for; without `include_geo` there are geometries if the model requires them."""

    kind: Literal["train", "predict"] = "train"
    config_id: Ulid | None = None
    num_locations: Annotated[int, Meta(ge=1, le=1_000)] = 5
    num_periods: Annotated[int, Meta(ge=1, le=5_000)] = 50
    num_features: Annotated[int, Meta(ge=0, le=100)] = 3
    period_type: Literal["monthly", "weekly"] | None = None
    geo_type: Literal["polygon", "point"] = "polygon"
    include_geo: bool | None = None
    seed: int = -1


class Period(msgspec.Struct, frozen=True):
    """The horizons a model is made for, in periods."""

    least: int = 0
    most: int = 100


def horizon_problem(horizon: int, bounds: Period, field: str) -> Diagnostic | None:
    """What is wrong with a horizon, if anything is."""
    if bounds.least <= horizon <= bounds.most:
        return None
    return Diagnostic(
        severity=Severity.ERROR,
        code="prediction_periods_out_of_bounds",
        message=f"prediction_periods is {horizon}; this model predicts from {bounds.least} to {bounds.most} periods",
        field=field,
    )


def horizon_of(config: Any, run_info: RunInfo | None, future: DataFrame | None = None) -> tuple[int, str]:
    """How many periods a run is to predict, and the member of the request that says so.

    What the request says comes first, then the longest run of periods of any location in `future`, then the
    configuration.
    """
    asked = run_info.horizon if run_info is not None else None
    if asked is not None:
        return asked, "run_info.prediction_periods"
    if future is not None and (longest := periods_of(future)):
        return longest, "future"
    return config.prediction_periods, "config.prediction_periods"


def periods_of(frame: DataFrame) -> int:
    """The number of different periods of the location that has the most; 0 without a column of periods."""
    if "time_period" not in frame.columns:
        return 0
    times = frame.get_column("time_period")
    places = frame.get_column("location") if "location" in frame.columns else [None] * len(times)
    periods: dict[Any, set[Any]] = {}
    for place, time in zip(places, times, strict=True):
        periods.setdefault(place, set()).add(time)
    return max(map(len, periods.values()), default=0)
