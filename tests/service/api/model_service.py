"""Services around models of each kind, which do what their configuration tells them to."""

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.configs import BaseConfig
from domain.frames import DataFrame, FeatureCollection
from domain.hierarchy import ArtifactHierarchy
from domain.ml import Diagnostic, Severity
from domain.models import BaseModelRunner, FunctionalModelRunner, ModelRunner, ShellModelRunner, running_job
from domain.registration import MLServiceInfo, ModelMetadata, PeriodType
from service.builder import MLServiceBuilder, ServiceBuilder
from tests.service.api.jobs_service import JOBS, Stage, staged

ML, CONFIGS, ARTIFACTS = "/api/v1/ml", "/api/v1/configs", "/api/v1/artifacts"
SCRIPTS = Path(__file__).with_name("scripts")
FRAME_TYPE = "application/vnd.chapkit.dataframe+json"


class Options(BaseConfig):
    """What the models can be told; in `extra` also to `fail`, to be `endless`, and to return an `odd` model."""

    n_lags: int = msgspec.field(default=2, name="n-lags")


class Odd:
    """What is no JSON."""

    def __init__(self, mean: float) -> None:
        self.mean = mean


def train(config: Options, data: DataFrame, geo: FeatureCollection | None) -> Any:
    print(f"training with {config.n_lags} lags")
    job = running_job()
    job.progress(50, step="fitting", message=str(os.getpid()))
    if config.extra.get("fail"):
        raise ValueError("no target column")
    while config.extra.get("endless"):
        time.sleep(0.01)
    known = [cell for cell in data.get_column("disease_cases") if cell is not None]
    mean = sum(known) / len(known)
    return Odd(mean) if config.extra.get("odd") else {"mean": mean, "places": len(geo.features) if geo else 0}


def predict(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    mean = model.mean if isinstance(model, Odd) else model["mean"]
    if config.extra.get("slow"):
        time.sleep(0.05)
    rows = [[*row, mean, mean + config.prediction_periods] for row in future.select(["time_period", "location"]).data]
    return DataFrame(["time_period", "location", "sample_0", "sample_1"], rows)


def check(config: Options, data: DataFrame, geo: FeatureCollection | None) -> list[Diagnostic]:
    if config.extra.get("fail"):
        raise RuntimeError("the check is broken")
    return [Diagnostic(severity=Severity.INFO, code="rows", message=f"{len(data)} rows", field="data")]


def check_prediction(
    config: Options, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> list[Diagnostic]:
    return [Diagnostic(severity=Severity.ERROR, code="never", message="not on a Monday")] if len(future) == 2 else []


class Classy(BaseModelRunner):
    """A model that is a class, with what surrounds its runs written down in the log."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    async def on_init(self) -> None:
        running_job().log("init")

    async def on_cleanup(self) -> None:
        running_job().log("cleanup")

    async def on_train(self, config: Any, data: DataFrame, geo: FeatureCollection | None = None) -> Any:
        if config.extra.get("bytes"):
            return b"\x00\x01"
        return Odd(self.weight) if config.extra.get("odd") else {"weight": self.weight}

    async def on_predict(
        self,
        config: Any,
        model: Any,
        historic: DataFrame,
        future: DataFrame,
        geo: FeatureCollection | None = None,
    ) -> DataFrame:
        weight = model.mean if isinstance(model, Odd) else model["weight"] if isinstance(model, dict) else len(model)
        return future.select(["time_period", "location"]).add_column("sample_0", [weight] * len(future))


def functional() -> ModelRunner:
    """Two functions, with checks."""
    return FunctionalModelRunner(train, predict, check, check_prediction)


def classy() -> ModelRunner:
    """A class, with an argument."""
    return Classy(1.5)


def shell() -> ModelRunner:
    """Two scripts."""
    return ShellModelRunner(
        f"{sys.executable} train.py {{data_file}} {{geo_file}}",
        f"{sys.executable} predict.py {{historic_file}} {{future_file}} {{output_file}}",
        adapters={"rain": "rainfall", "month": "month"},
        project=SCRIPTS,
    )


def builder(url: str | None, runner: ModelRunner, config_schema: type[BaseConfig] = Options) -> ServiceBuilder:
    """The service around a model."""
    return MLServiceBuilder(
        info=MLServiceInfo(
            id="model",
            display_name="Model",
            model_metadata=ModelMetadata(author="A"),
            period_type=PeriodType.MONTHLY,
            max_prediction_periods=24,
            required_covariates=["rainfall"],
            git_revision="0123abc",
        ),
        config_schema=config_schema,
        hierarchy=ArtifactHierarchy("models", {0: "model", 1: "forecast"}),
        runner=runner,
        database_url=url,
        include_logging=False,
    ).with_jobs(grace_seconds=0, max_processes=2)


class Model:
    """A running service around a model as tests use it."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        self.stage = stage
        self.scratch = scratch

    async def config(self, **data: Any) -> str:
        """A new configuration."""
        return str((await self.stage.post(CONFIGS, {"name": "c", "data": data}, status=201))["id"])

    async def sample(self, kind: str, **more: Any) -> dict[str, Any]:
        """Sample data."""
        given = {"kind": kind, "num_locations": 2, "num_periods": 3, "num_features": 0, "seed": 1, **more}
        found: dict[str, Any] = await self.stage.get(f"{ML}/$generate-sample-data", params=given)
        return found

    async def train(self, config: str, **more: Any) -> dict[str, Any]:
        """Have the model trained; the reply."""
        body = {"config_id": config, **await self.sample("train"), **more}
        accepted: dict[str, Any] = await self.stage.post(f"{ML}/$train", body)
        return accepted

    async def predict(self, artifact: str, **more: Any) -> dict[str, Any]:
        """Have it predict; the reply."""
        body = {"artifact_id": artifact, **await self.sample("predict"), **more}
        accepted: dict[str, Any] = await self.stage.post(f"{ML}/$predict", body)
        return accepted

    async def trained(self, **data: Any) -> str:
        """The artifact of a training that went well."""
        accepted = await self.train(await self.config(**data))
        await self.stage.reach(accepted["job_id"], "completed")
        return str(accepted["artifact_id"])

    async def artifact(self, id: str) -> dict[str, Any]:
        """An artifact with its content."""
        found: dict[str, Any] = await self.stage.get(f"{ARTIFACTS}/{id}")
        return found

    async def log(self, job: str) -> list[str]:
        """What a job has said."""
        return [line["text"] for line in await self.stage.get(f"{JOBS}/{job}/$logs")]


@asynccontextmanager
async def modelled(url: str, redis_url: str | None, folder: Path, runner: ModelRunner) -> AsyncIterator[Model]:
    """The service, running."""
    kept = {"storage_folder": folder / "storage", "temporary_folder": folder / "scratch"}
    async with staged(url, redis_url, lambda place: builder(place, runner), **kept) as stage:
        yield Model(stage, folder / "scratch")


@asynccontextmanager
async def ensembled(url: str, folder: Path, runner: ModelRunner, schema: type[BaseConfig]) -> AsyncIterator[Model]:
    """The service around several models with configurations of their own type, running."""
    kept = {"storage_folder": folder / "storage", "temporary_folder": folder / "scratch"}
    async with staged(url, None, lambda place: builder(place, runner, schema), **kept) as stage:
        yield Model(stage, folder / "scratch")
