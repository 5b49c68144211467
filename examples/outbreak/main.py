"""Outbreak: how many people will fall ill in the next months or weeks, in each of six districts."""

from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import forecast
from domain.frames import DataFrame, FeatureCollection
from domain.hierarchy import ArtifactHierarchy
from domain.jobs import Retention
from domain.ml import Diagnostic, Severity
from domain.models import EnsembleConfig, EnsembleRunner, FunctionalModelRunner, running_job
from domain.registration import AssessedStatus, MLServiceInfo, ModelMetadata, PeriodType
from first_start import first_start
from service.builder import MLServiceBuilder
from weekly import MODEL, WEEKLY, plan

REQUIRED = ["rainfall", "mean_temperature", "population"]


class OutbreakConfig(EnsembleConfig):
    """How to forecast: `members` are `seasonal`, by the season alone, and `regression`, by rain and warmth too, with
    `penalty` against believing too much of it; several of them become one forecast. `samples` is how many futures are
    drawn, by `seed`.
    """

    penalty: Annotated[float, Meta(ge=0)] = 1.0
    samples: Annotated[int, Meta(ge=1, le=1_000)] = 100
    seed: int = 1


def train_seasonal(config: OutbreakConfig, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    """Learn what each season was like."""
    _tell(data)
    return forecast.fit_seasonal(data)


def train_regression(config: OutbreakConfig, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    """Fit a regression to the cases that were counted."""
    _tell(data)
    return forecast.fit_regression(data, config.penalty, config.additional_continuous_covariates)


def _tell(data: DataFrame) -> None:
    running_job().progress(10, step="fitting", message=f"{len(data)} rows of {data.nunique('location')} locations")


def predict_seasonal(
    config: OutbreakConfig,
    model: dict[str, Any],
    historic: DataFrame,
    future: DataFrame,
    geo: FeatureCollection | None,
) -> DataFrame:
    """Draw samples of the cases in each future period and location from what the same season was like."""
    chance = np.random.default_rng(config.seed)
    return _samples(config, forecast.predict_seasonal(model, future, config.samples, chance))


def predict_regression(
    config: OutbreakConfig,
    model: dict[str, Any],
    historic: DataFrame,
    future: DataFrame,
    geo: FeatureCollection | None,
) -> DataFrame:
    """Draw samples of the cases in each future period and location around what rain and warmth let expect."""
    chance = np.random.default_rng(config.seed)
    return _samples(config, forecast.predict_regression(model, historic, future, config.samples, chance))


def _samples(config: OutbreakConfig, rows: list[list[Any]]) -> DataFrame:
    return DataFrame(["time_period", "location", *(f"sample_{number}" for number in range(config.samples))], rows)


def check_training(config: OutbreakConfig, data: DataFrame, geo: FeatureCollection | None) -> list[Diagnostic]:
    """Say what is missing, and when there is less than two years to learn a season from."""
    needed_columns = ["time_period", "location", "disease_cases", *REQUIRED]
    if missing := [name for name in needed_columns if name not in data.columns]:
        message = f"the model learns from {', '.join(needed_columns)}; there is no {', '.join(missing)}"
        return [Diagnostic(severity=Severity.ERROR, code="columns_missing", message=message, field="data")]
    periods = data.nunique("time_period")
    needed = 104 if "W" in str(data.get_column("time_period")[0]) else 24
    if periods >= needed:
        return []
    message = f"{periods} periods are less than two years, so the season is hardly known"
    return [Diagnostic(severity=Severity.WARNING, code="short_history", message=message, field="data")]


app = (
    MLServiceBuilder(
        info=MLServiceInfo(
            id="outbreak",
            display_name="Outbreak",
            description="Forecasts cases of a disease from season, rain and warmth",
            model_metadata=ModelMetadata(
                author="The Millrace authors", author_assessed_status=AssessedStatus.YELLOW, organization="Millrace"
            ),
            period_type=PeriodType.ANY,
            min_prediction_periods=1,
            max_prediction_periods=104,
            allow_free_additional_continuous_covariates=True,
            required_covariates=REQUIRED,
        ),
        config_schema=OutbreakConfig,
        hierarchy=ArtifactHierarchy(MODEL, {0: "model", 1: "forecast", 2: "chart"}),
        runner=EnsembleRunner(
            {
                "seasonal": FunctionalModelRunner(train_seasonal, predict_seasonal, check_training),
                "regression": FunctionalModelRunner(train_regression, predict_regression, check_training),
            },
            "linear_pool",
            min_members=1,
        ),
    )
    # What happened last week has to be known until the next one.
    .with_jobs(retention=Retention(completed_days=60))
    .with_models()
    .with_pipelines(WEEKLY)
    .with_schedules()
    .with_app("charts")
    .on_startup(plan)
    .on_startup(first_start)
    .build()
)
