"""Outbreak: how many people will fall ill in the next months or weeks, in each of six districts."""

import enum
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import forecast
from domain.configs import BaseConfig
from domain.frames import DataFrame, FeatureCollection
from domain.hierarchy import ArtifactHierarchy
from domain.ml import Diagnostic, Severity
from domain.models import FunctionalModelRunner, running_job
from domain.registration import AssessedStatus, MLServiceInfo, ModelMetadata, PeriodType
from first_start import first_start
from service.builder import MLServiceBuilder


class Method(enum.StrEnum):
    """By what is forecast."""

    REGRESSION = "regression"
    SEASONAL = "seasonal"


class OutbreakConfig(BaseConfig):
    """How to forecast: by the season alone, or by a regression on rain and warmth too, with `penalty` against
    believing too much of it. `samples` is how many futures are drawn, by `seed`.
    """

    method: Method = Method.REGRESSION
    penalty: Annotated[float, Meta(ge=0)] = 1.0
    samples: Annotated[int, Meta(ge=1, le=1_000)] = 100
    seed: int = 1


def train(config: OutbreakConfig, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    """Fit what the configuration asks for to the cases that were counted."""
    running_job().progress(10, step="fitting", message=f"{len(data)} rows of {data.nunique('location')} locations")
    if config.method is Method.SEASONAL:
        return forecast.fit_seasonal(data)
    return forecast.fit_regression(data, config.penalty, config.additional_continuous_covariates)


def predict(
    config: OutbreakConfig,
    model: dict[str, Any],
    historic: DataFrame,
    future: DataFrame,
    geo: FeatureCollection | None,
) -> DataFrame:
    """Draw samples of the cases in each future period and location."""
    chance = np.random.default_rng(config.seed)
    if model["method"] == Method.SEASONAL:
        rows = forecast.predict_seasonal(model, future, config.samples, chance)
    else:
        rows = forecast.predict_regression(model, historic, future, config.samples, chance)
    return DataFrame(["time_period", "location", *(f"sample_{number}" for number in range(config.samples))], rows)


def check_training(config: OutbreakConfig, data: DataFrame, geo: FeatureCollection | None) -> list[Diagnostic]:
    """Say when there is less than two years to learn a season from."""
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
            required_covariates=["rainfall", "mean_temperature", "population"],
        ),
        config_schema=OutbreakConfig,
        hierarchy=ArtifactHierarchy("outbreak", {0: "model", 1: "forecast"}),
        runner=FunctionalModelRunner(train, predict, check_training),
    )
    .on_startup(first_start)
    .build()
)
