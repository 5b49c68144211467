"""What a model is given when it is tried on the past: what was known at a moment, and what to predict after it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.backtests import BacktestPlan, future_rows, periods_in, training_rows
from domain.entity import Ulid
from domain.errors import Invalid
from domain.frames import DataFrame, FeatureCollection
from domain.ml import PredictRequest, RunInfo, TrainRequest
from domain.model_runs import TRIAL_FOLDERS

MOST_MODELS, MOST_TRIALS = 20, 1_000
Count = Annotated[int, Meta(ge=1, le=10_000)]


class BacktestRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `$backtest`: every model, which is a configuration, is tried at `splits` moments of the past.

    The moments are `stride` periods apart, and the last one is `horizon` periods before the end of the data; `horizon`
    None is that of the first configuration. A model learns from all that was known at a moment, at least
    `min_train_periods` (twice the horizon), or with `window` from so many periods before it. `target` is the column
    that is forecast.
    """

    config_ids: Annotated[list[Ulid], Meta(min_length=1, max_length=MOST_MODELS)]
    data: DataFrame
    geo: FeatureCollection | None = None
    horizon: Count | None = None
    splits: Annotated[int, Meta(ge=1, le=200)] = 4
    stride: Count = 1
    min_train_periods: Count | None = None
    window: Count | None = None
    target: Annotated[str, Meta(min_length=1, max_length=200)] = "disease_cases"
    run_info: RunInfo | None = None

    def plan(self, horizon: int) -> BacktestPlan:
        """Which moments these are."""
        return BacktestPlan(
            horizon=horizon,
            splits=self.splits,
            stride=self.stride,
            min_train_periods=self.min_train_periods or 2 * horizon,
            window=self.window,
        )


class BacktestAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of `$backtest`: the job that ends with the report, its artifact, and the graph of all jobs."""

    job_id: str
    artifact_id: str
    graph_id: str
    message: str


class Trial(msgspec.Struct, frozen=True):
    """The two requests of one trial. Nothing in them is later than the cut-off but the covariates to predict with."""

    train: TrainRequest
    predict: PredictRequest

    def files(self) -> dict[str, bytes]:
        """Both as JSON, by the folder that each belongs into."""
        requests = (self.train, self.predict)
        return {name: msgspec.json.encode(request) for name, request in zip(TRIAL_FOLDERS, requests, strict=True)}


def trial(
    data: DataFrame,
    cutoff: str,
    horizon: int,
    target: str,
    *,
    config_id: str,
    artifact_id: str,
    geo: FeatureCollection | None = None,
    run_info: RunInfo | None = None,
    window: int | None = None,
) -> Trial:
    """Try what would have been predicted after the period `cutoff` for the `horizon` periods that followed.

    With `window` only so many periods up to the cut-off are known.
    """
    known = training_rows(data, cutoff, window=window)
    told = msgspec.structs.replace(run_info or RunInfo(), prediction_periods=horizon, prediction_length=None)
    return Trial(
        TrainRequest(config_id=config_id, data=known, geo=geo, run_info=told),
        PredictRequest(
            artifact_id=artifact_id,
            historic=known,
            future=future_rows(data, cutoff, horizon, target=target),
            geo=geo,
            run_info=told,
        ),
    )


def held_back_after(data: DataFrame, horizon: int) -> str:
    """The period after which the last `horizon` periods are held back. Raises `Invalid` when nothing is left then."""
    periods = periods_in(data)
    if len(periods) < 2 * horizon:
        raise Invalid(
            f"the training data has {len(periods)} periods; to learn weights from the last {horizon} of them there "
            f"must be at least {2 * horizon}"
        )
    return periods[-horizon - 1]
