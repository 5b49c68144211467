"""Pipelines: what is trained, tried, promoted and asked again and again, in one graph that a schedule begins."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Misconfigured
from domain.frames import DataFrame
from domain.models import EnsembleRunner
from domain.pipelines import Pipeline, PipelineData
from service.builder import ServiceBuilder
from tests.service.api.jobs_service import JOBS, staged
from tests.service.api.model_service import Model, builder
from tests.service.api.test_ensembles import GRAPHS, MEMBERS, Options

MODELS = "/api/v1/models"
COLUMNS = ["time_period", "location", "rainfall", "disease_cases"]


def load() -> PipelineData:
    """Two years of two places, where there are always 21 cases."""
    months = [f"{2020 + index // 12}-{index % 12 + 1:02}" for index in range(26)]
    rows: list[list[Any]] = [[month, place, 1.0, 21.0] for month in months for place in ("here", "there")]
    return PipelineData(
        data=DataFrame(COLUMNS, rows[:48]), future=DataFrame(COLUMNS, rows[48:]).drop(["disease_cases"])
    )


def load_badly() -> PipelineData:
    """What is no data."""
    return {"data": []}  # type: ignore[return-value]


def candidates(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {"members": [name]} for name in names}


WEEKLY = Pipeline(
    "weekly",
    load,
    model="cases",
    candidates=candidates("low", "middle", "high"),
    horizon=2,
    splits=2,
    gate="crps < champion.crps",
    charts=("fan", "skill", "calibration"),
)


def service(url: str) -> ServiceBuilder:
    broken = Pipeline("broken", load_badly, model="cases", candidates=candidates("low"), horizon=2, charts=())
    strict = Pipeline(
        "strict", load, model="others", candidates=candidates("low"), horizon=2, splits=1, gate="crps < 0", charts=()
    )
    made = builder(url, EnsembleRunner(MEMBERS, "mean"), Options).with_models()
    return made.with_pipelines(WEEKLY, broken, strict).with_schedules()


@pytest.fixture(scope="module")
async def model(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    folder: Path = tmp_path_factory.mktemp("pipelines")
    kept = {"storage_folder": folder / "storage", "temporary_folder": folder / "scratch"}
    async with staged(module_database_url, None, service, **kept) as stage:
        yield Model(stage, folder / "scratch")


async def begun(model: Model, name: str) -> str:
    accepted = await model.stage.post("/api/v1/tasks/ml.pipeline/$execute", {"args": {"name": name}})
    return str(accepted["job_id"])


async def ended(model: Model, graph_id: str) -> Any:
    while True:
        graph = await model.stage.get(f"{GRAPHS}/{graph_id}")
        if graph["status"] not in {"pending", "running"}:
            return graph
        await asyncio.sleep(0.05)


async def test_the_best_candidate_is_promoted_and_asked(model: Model) -> None:
    job = await begun(model, "weekly")
    await model.stage.reach(job, "completed")
    told = await model.stage.get(f"{JOBS}/{job}/$result")
    graph = await ended(model, told["graph_id"])
    assert graph["status"] == "completed", graph
    promoted = await model.stage.get(f"{JOBS}/{graph['nodes']['promote']['job_id']}/$result")
    assert (promoted["best"], promoted["is_promoted"], promoted["reason"]) == ("middle", True, None)
    version = await model.stage.get(f"{MODELS}/cases/versions/{promoted['version']}")
    assert version["artifact_id"] == told["trainings"]["middle"]
    assert version["metrics"]["crps"] == pytest.approx(0.5)
    forecast = await model.artifact(told["forecast_id"])
    assert forecast["data"]["metadata"]["model_version"] == {"model": "cases", "number": promoted["version"]}
    assert {tuple(row[2:]) for row in forecast["data"]["content"]["data"]} == {(20.0, 22.0)}

    charts = {name: await model.artifact(id) for name, id in told["charts"].items()}
    assert {chart["data"]["type"] for chart in charts.values()} == {"vega_chart"}
    assert charts["fan"]["parent_id"] == forecast["id"]
    assert {forecast["id"], told["observations_id"], version["artifact_id"]} <= set(charts["fan"]["parents"])
    assert charts["skill"]["parent_id"] == told["report_id"]

    # The next time the best is no better than the champion, which goes on to be asked.
    job = await begun(model, "weekly")
    await model.stage.reach(job, "completed")
    again = await model.stage.get(f"{JOBS}/{job}/$result")
    graph = await ended(model, again["graph_id"])
    assert graph["status"] == "completed", graph
    kept = await model.stage.get(f"{JOBS}/{graph['nodes']['promote']['job_id']}/$result")
    assert (kept["champion"], kept["is_promoted"]) == (promoted["version"], False)
    assert "crps" in kept["reason"]
    forecast = await model.artifact(again["forecast_id"])
    assert forecast["data"]["metadata"]["model_version"] == {"model": "cases", "number": promoted["version"]}


async def test_without_a_champion_there_is_nobody_to_predict_with(model: Model) -> None:
    job = await begun(model, "strict")
    await model.stage.reach(job, "completed")
    graph = await ended(model, (await model.stage.get(f"{JOBS}/{job}/$result"))["graph_id"])
    promoted = await model.stage.get(f"{JOBS}/{graph['nodes']['promote']['job_id']}/$result")
    assert (promoted["version"], promoted["champion"], promoted["is_promoted"]) == (1, None, False)
    assert (graph["status"], graph["nodes"]["predict"]["state"]) == ("failed", "failed")
    assert "points to nothing" in graph["nodes"]["predict"]["error"]


async def test_a_schedule_begins_a_pipeline(model: Model) -> None:
    body = {"name": "every Monday", "task": "ml.pipeline", "args": {"name": "weekly"}, "cron": "0 6 * * MON"}
    schedule = await model.stage.post("/api/v1/schedules", body, status=201)
    fired = await model.stage.post(f"/api/v1/schedules/{schedule['id']}/$trigger", None)
    await model.stage.reach(fired["job_id"], "completed")


async def test_a_pipeline_that_there_is_not_is_refused_at_the_door(model: Model) -> None:
    body = {"args": {"name": "monthly"}}
    problem = await model.stage.post("/api/v1/tasks/ml.pipeline/$execute", body, status=422)
    assert problem["errors"][0]["loc"] == ["body", "args", "name"]
    assert problem["errors"][0]["allowed"] == ["weekly", "broken", "strict"]


async def test_a_pipeline_without_data_says_why(model: Model) -> None:
    job = await begun(model, "broken")
    await model.stage.reach(job, "failed")
    error = (await model.stage.get(f"{JOBS}/{job}"))["error"]
    assert "the function returned a dict: return PipelineData" in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidates": {}}, "it has no candidates"),
        ({"candidates": {"a b": {}}}, "letters, digits"),
        ({"score": "luck"}, "use one of crps, wis, mae, rmse"),
        ({"horizon": 0}, "horizon=0: at least 1"),
        ({"charts": ["pie"]}, "there is no chart 'pie'; there are: fan, choropleth, skill, calibration"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_said_at_once(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"model": "cases", "candidates": candidates("low"), "horizon": 1, **change}
    with pytest.raises(Misconfigured, match=said):
        Pipeline("weekly", load, **given)


def test_a_pipeline_needs_versions(sqlite_url: str) -> None:
    made = builder(sqlite_url, EnsembleRunner(MEMBERS, "mean"), Options).with_pipelines(WEEKLY, WEEKLY)
    with pytest.raises(Misconfigured, match="two pipelines have the name 'weekly'"):
        made.build()
