"""Outbreak by scripts: the same forecast, made by two commands that work on files."""

import enum
import sys
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from domain.configs import BaseConfig
from domain.hierarchy import ArtifactHierarchy
from domain.models import ShellModelRunner
from domain.registration import MLServiceInfo, ModelMetadata, PeriodType
from service.builder import MLServiceBuilder

EXAMPLES = Path(__file__).resolve().parents[1]


class Method(enum.StrEnum):
    """By what is forecast."""

    REGRESSION = "regression"
    SEASONAL = "seasonal"


class Options(BaseConfig):
    """What the scripts find in `config.yml`."""

    method: Method = Method.REGRESSION
    penalty: Annotated[float, Meta(ge=0)] = 1.0
    samples: Annotated[int, Meta(ge=1, le=1_000)] = 100
    seed: int = 1


app = MLServiceBuilder(
    info=MLServiceInfo(
        id="outbreak-scripts",
        display_name="Outbreak by scripts",
        model_metadata=ModelMetadata(author="The Millrace authors", organization="Millrace"),
        period_type=PeriodType.ANY,
        min_prediction_periods=1,
        max_prediction_periods=104,
        required_covariates=["rainfall", "mean_temperature", "population"],
    ),
    config_schema=Options,
    hierarchy=ArtifactHierarchy("outbreak", {0: "model", 1: "forecast", 2: "workspace"}),
    # The project is the folder of both examples, for they share how to forecast.
    runner=ShellModelRunner(
        f"{sys.executable} outbreak_scripts/train.py {{data_file}}",
        f"{sys.executable} outbreak_scripts/predict.py {{historic_file}} {{future_file}} {{output_file}}",
        timeout_seconds=600,
        project=EXAMPLES,
    ),
).build()
