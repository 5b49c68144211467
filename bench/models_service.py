"""The service whose models are measured: their training does all that a core can do."""

import time
from typing import Any

from domain.configs import BaseConfig
from domain.frames import DataFrame, FeatureCollection
from domain.hierarchy import ArtifactHierarchy
from domain.models import FunctionalModelRunner, running_job
from domain.registration import MLServiceInfo, ModelMetadata, PeriodType
from service.builder import MLServiceBuilder, ServiceBuilder


class Seconds(BaseConfig):
    """How long a model is trained."""

    seconds: float = 0.0


def train(config: Seconds, data: DataFrame, geo: FeatureCollection | None) -> Any:
    running_job().progress(step="training")
    until = time.monotonic() + config.seconds
    while time.monotonic() < until:
        sum(range(1_000))
    return {"rows": len(data)}


def predict(
    config: Seconds, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    return future.select(["time_period", "location"]).add_column("sample_0", [model["rows"]] * len(future))


def builder(url: str) -> ServiceBuilder:
    """A service around a model, which does not log."""
    return MLServiceBuilder(
        info=MLServiceInfo(
            id="model",
            display_name="Model",
            model_metadata=ModelMetadata(author="A"),
            period_type=PeriodType.MONTHLY,
        ),
        config_schema=Seconds,
        hierarchy=ArtifactHierarchy("models", {0: "model", 1: "forecast"}),
        runner=FunctionalModelRunner(train, predict),
        database_url=url,
        include_logging=False,
    )
