"""The services whose exchanges were recorded, as they are written here."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.configs import BaseConfig
from domain.frames import DataFrame, FeatureCollection
from domain.health import CheckResult, HealthState
from domain.hierarchy import ArtifactHierarchy
from domain.ml import Diagnostic, Severity
from domain.models import BaseModelRunner, FunctionalModelRunner, ModelRunner, ShellModelRunner
from domain.registration import AssessedStatus, MLServiceInfo, ModelMetadata, PeriodType, ServiceInfo
from service.builder import MLServiceBuilder, ServiceBuilder


class Inner(msgspec.Struct):
    """Options that belong together."""

    alpha: float = 0.5


class Options(BaseConfig):
    """What the model can be told."""

    n_lags: Annotated[int, Meta(ge=0)] = 2
    inner: Inner = msgspec.field(default_factory=Inner)
    slow: float = 0.0


def train(config: Options, data: DataFrame, geo: FeatureCollection | None) -> Any:
    time.sleep(config.slow)
    if "disease_cases" not in data.columns:
        raise ValueError("no target column")
    known = [cell for cell in data.get_column("disease_cases") if cell is not None]
    return {"mean": sum(known) / len(known)}


def predict(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    rows = [[*row, model["mean"], model["mean"] + 1] for row in future.select(["time_period", "location"]).data]
    return DataFrame(["time_period", "location", "sample_0", "sample_1"], rows)


def check(config: Options, data: DataFrame, geo: FeatureCollection | None) -> list[Diagnostic]:
    few = Diagnostic(severity=Severity.WARNING, code="few_rows", message="few rows", field="data")
    return [few] if len(data) < 2 else []


async def flag() -> CheckResult:
    return CheckResult(HealthState.HEALTHY)


def configs_and_artifacts(url: str) -> ServiceBuilder:
    """Configurations and artifacts, without a model."""
    return (
        ServiceBuilder(info=ServiceInfo(id="probe", display_name="Probe"))
        .with_database(url)
        .with_config(Options)
        .with_artifacts(ArtifactHierarchy("probe", {0: "train", 1: "predict"}), enable_config_linking=True)
    )


def _around(url: str, config: type[BaseConfig], runner: ModelRunner) -> ServiceBuilder:
    """A model; one job at a time, as there."""
    builder = MLServiceBuilder(
        info=MLServiceInfo(
            id="probe-func",
            display_name="Probe Func",
            description="probe",
            model_metadata=ModelMetadata(
                author="A",
                author_assessed_status=AssessedStatus.YELLOW,
                contact_email="a@example.com",
                repository_url="https://example.com/repo",
            ),
            period_type=PeriodType.MONTHLY,
            max_prediction_periods=24,
            required_covariates=["rainfall"],
        ),
        config_schema=config,
        hierarchy=ArtifactHierarchy("probe", {0: "train", 1: "predict", 2: "workspace"}),
        runner=runner,
        database_url=url,
        include_logging=False,
    )
    return builder.with_health(checks={"flag": flag}).with_jobs(max_concurrency=1, grace_seconds=0)


def models_and_jobs(url: str) -> ServiceBuilder:
    """A model made of functions."""
    return _around(url, Options, FunctionalModelRunner(train, predict, check))


class Cfg(BaseConfig):
    """What the scripts can be told."""

    n_lags: int = msgspec.field(default=2, name="n-lags")
    mode: str = "ok"


def scripts(url: str) -> ServiceBuilder:
    """A model made of scripts."""
    runner = ShellModelRunner(
        f'{sys.executable} scripts/train.py {{data_file}} "{{geo_file}}"',
        f'{sys.executable} scripts/predict.py {{historic_file}} {{future_file}} {{output_file}} "{{geo_file}}"',
        project=Path(__file__).with_name("recorded_scripts"),
    )
    return _around(url, Cfg, runner)


class Kind(BaseConfig):
    """Of what kind a model is to be."""

    kind: str = "dict"


class Obj:
    """What is no JSON."""


def _models() -> dict[str, Any]:
    frame = DataFrame(["time_period", "location", "disease_cases"], [["2020-W01", "a", 1.0]])
    return {"dict": {"mean": 1}, "obj": Obj(), "df": frame, "float": 1.5, "none": None}


class Classy(BaseModelRunner):
    """A model of any kind, which predicts the same whatever it is."""

    async def on_train(self, config: Any, data: DataFrame, geo: FeatureCollection | None = None) -> Any:
        return _models()[config.kind]

    async def on_predict(
        self, config: Any, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None = None
    ) -> DataFrame:
        assert type(model) is type(_models()[config.kind])
        return future.select(["time_period", "location"]).add_column("sample_0", [1.0] * len(future))


def classes(url: str) -> ServiceBuilder:
    """A model that is a class."""
    return _around(url, Kind, Classy())


BUILDERS: dict[str, Callable[[str], ServiceBuilder]] = {
    "configs_and_artifacts.json": configs_and_artifacts,
    "models_and_jobs.json": models_and_jobs,
    "older_client.json": models_and_jobs,
    "newer_client.json": models_and_jobs,
    "classes.json": classes,
    "scripts.json": scripts,
}
