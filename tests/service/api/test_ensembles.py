"""Ensembles and backtests over HTTP: members side by side, members that fail, what is said of them, and the past."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.errors import Misconfigured
from domain.evaluations import BacktestRequest
from domain.frames import DataFrame, FeatureCollection
from domain.models import EnsembleConfig, EnsembleRunner, FunctionalModelRunner
from tests.service.api.jobs_service import JOBS
from tests.service.api.model_service import ARTIFACTS, CONFIGS, ML, Model, ensembled

GRAPHS = "/api/v1/graphs"


class Options(EnsembleConfig, kw_only=True):
    """What the members can be told: which of them fail, always or while a file is there."""

    failing: list[str] = msgspec.field(default_factory=list)
    broken_while: str = ""
    seconds: float = 0.0


def _train(name: str, config: Options, data: DataFrame) -> dict[str, Any]:
    time.sleep(config.seconds)
    if name in config.failing and (not config.broken_while or Path(config.broken_while).exists()):
        raise ValueError(f"{name} fails")
    return {"name": name, "last": max(data.get_column("time_period")), "rows": len(data)}


def _predict(value: float, future: DataFrame) -> DataFrame:
    assert "disease_cases" not in future.columns or not any(future.get_column("disease_cases"))
    rows = [[*row, value, value + 2] for row in future.select(["time_period", "location"]).data]
    return DataFrame(["time_period", "location", "sample_0", "sample_1"], rows)


def train_low(config: Options, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    return _train("low", config, data)


def train_middle(config: Options, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    return _train("middle", config, data)


def train_high(config: Options, data: DataFrame, geo: FeatureCollection | None) -> dict[str, Any]:
    return _train("high", config, data)


def predict_low(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    assert max(historic.get_column("time_period")) < min(future.get_column("time_period"))
    return _predict(10, future)


def predict_middle(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    return _predict(20, future)


def predict_high(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    return _predict(60, future)


MEMBERS = {
    "low": FunctionalModelRunner(train_low, predict_low),
    "middle": FunctionalModelRunner(train_middle, predict_middle),
    "high": FunctionalModelRunner(train_high, predict_high),
}


@pytest.fixture(scope="module")
async def model(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    folder: Path = tmp_path_factory.mktemp("ensemble")
    runner = EnsembleRunner(MEMBERS, "mean", min_members=2)
    async with ensembled(module_database_url, folder, runner, Options) as model:
        yield model


async def failure(model: Model, job_id: str) -> str:
    await model.stage.reach(job_id, "failed")
    return str((await model.stage.get(f"{JOBS}/{job_id}"))["error"])


async def test_members_are_trained_side_by_side_and_their_forecasts_become_one(model: Model) -> None:
    config = await model.config()
    accepted = await model.train(config)
    job = await model.stage.reach(accepted["job_id"], "completed")
    graph = await model.stage.get(f"{GRAPHS}/{job['graph_id']}")
    assert set(graph["nodes"]) == {"train-low", "train-middle", "train-high", "model"}
    assert graph["nodes"]["model"]["depends_on"] == {f"train-{name}": "always" for name in MEMBERS}
    trained = await model.artifact(accepted["artifact_id"])
    said = trained["data"]["metadata"]["ensemble"]
    assert [(member["name"], member["status"], round(member["weight"], 6)) for member in said["members"]] == [
        (name, "success", 0.333333) for name in MEMBERS
    ]
    assert trained["parents"] == [member["artifact_id"] for member in said["members"]]
    linked = await model.stage.get(f"{CONFIGS}/{config}/$artifacts")
    assert {trained["id"], *trained["parents"]} == {artifact["id"] for artifact in linked}

    accepted = await model.predict(trained["id"])
    await model.stage.reach(accepted["job_id"], "completed")
    forecast = await model.artifact(accepted["artifact_id"])
    assert forecast["data"]["type"] == "ml_prediction"
    assert {tuple(row[2:]) for row in forecast["data"]["content"]["data"]} == {(30.0, 32.0)}
    assert forecast["parents"][0] == trained["id"] == forecast["parent_id"]
    assert len(forecast["parents"]) == 4
    assert forecast["data"]["metadata"]["ensemble"]["strategy"] == "mean"


async def test_a_configuration_chooses_members(model: Model) -> None:
    trained = await model.trained(members=["high"])
    accepted = await model.predict(trained)
    await model.stage.reach(accepted["job_id"], "completed")
    content = (await model.artifact(accepted["artifact_id"]))["data"]["content"]
    assert {tuple(row[2:]) for row in content["data"]} == {(60.0, 62.0)}


async def test_a_member_that_there_is_not_is_refused_by_name(model: Model) -> None:
    config = await model.config(members=["high", "higher"])
    body = {"config_id": config, **await model.sample("train")}
    problem = await model.stage.post(f"{ML}/$train", body, status=422)
    assert problem["errors"][0]["msg"] == 'the ensemble has no member "higher"; there are: low, middle, high'


async def test_a_member_that_fails_is_left_out_and_said_to_have_failed(model: Model) -> None:
    accepted = await model.train(await model.config(failing=["low"]))
    await model.stage.reach(accepted["job_id"], "completed")
    said = (await model.artifact(accepted["artifact_id"]))["data"]["metadata"]["ensemble"]["members"]
    assert [(member["name"], member["status"], member.get("weight")) for member in said] == [
        ("low", "failed", None),
        ("middle", "success", 0.5),
        ("high", "success", 0.5),
    ]
    assert "low fails" in await failure(model, said[0]["job_id"])
    accepted = await model.predict(accepted["artifact_id"])
    await model.stage.reach(accepted["job_id"], "completed")
    content = (await model.artifact(accepted["artifact_id"]))["data"]["content"]
    assert {tuple(row[2:]) for row in content["data"]} == {(40.0, 42.0)}


async def test_too_few_members_fail_the_whole_and_are_named(model: Model) -> None:
    accepted = await model.train(await model.config(failing=["low", "high"]))
    error = await failure(model, accepted["job_id"])
    assert "1 of 3 members have succeeded and 2 must; failed: low (job " in error
    await model.stage.get(f"{ARTIFACTS}/{accepted['artifact_id']}", status=404)


@pytest.mark.parametrize("by", ["$cancel", "DELETE"])
async def test_canceling_the_promised_job_cancels_its_members(model: Model, by: str) -> None:
    accepted = await model.train(await model.config(seconds=30))
    job = await model.stage.get(f"{JOBS}/{accepted['job_id']}")
    if by == "$cancel":
        await model.stage.post(f"{JOBS}/{accepted['job_id']}/$cancel", None)
    else:
        await model.stage.delete(f"{JOBS}/{accepted['job_id']}")
    graph = await _ended(model, job["graph_id"])
    assert {node["state"] for node in graph["nodes"].values()} == {"canceled"}


async def _ended(model: Model, graph_id: str) -> Any:
    while True:
        graph = await model.stage.get(f"{GRAPHS}/{graph_id}")
        if graph["status"] not in {"pending", "running"}:
            return graph
        await asyncio.sleep(0.05)


async def test_what_is_wrong_with_an_ensemble_is_said_at_once() -> None:
    with pytest.raises(Misconfigured, match="use one of mean, median"):
        EnsembleRunner(MEMBERS, "best")
    with pytest.raises(Misconfigured, match="one for each of low, middle, high; got low"):
        EnsembleRunner(MEMBERS, "weighted", weights={"low": 1})
    with pytest.raises(Misconfigured, match="mean takes no notice of weights; use weighted or median"):
        EnsembleRunner(MEMBERS, "mean", weights="learned")
    with pytest.raises(Misconfigured, match="it has 0 members"):
        EnsembleRunner({}, "mean")
    with pytest.raises(Misconfigured, match=r"min_members=4\): from 1 to 3"):
        EnsembleRunner(MEMBERS, "mean", min_members=4)


# The past


async def test_a_backtest_tries_every_model_at_every_moment_and_scores_it(model: Model) -> None:
    configs = {name: await model.config() for name in ("a", "b")}
    low = (await model.stage.post(CONFIGS, {"name": "low", "data": {"members": ["low"]}}, status=201))["id"]
    data = (await model.sample("train", num_periods=40))["data"]
    body = {"config_ids": [configs["a"], low], "data": data, "horizon": 2, "splits": 3, "stride": 2}
    accepted = await model.stage.post(f"{ML}/$backtest", body)
    await model.stage.reach(accepted["job_id"], "completed")
    graph = await model.stage.get(f"{GRAPHS}/{accepted['graph_id']}")
    assert graph["counts"] == {"completed": 7}
    found = await model.artifact(accepted["artifact_id"])
    report = found["data"]["content"]
    assert found["data"]["type"] == "ml_backtest"
    assert report["models"] == ["c", "low"]
    assert len(report["cutoffs"]) == 3
    assert report["overall"]["low"]["n"] == 3 * 2 * 2
    assert report["overall"]["seasonal_naive"]["skill"] == 0
    tree = await model.stage.get(f"{ARTIFACTS}/{found['id']}/$tree")
    assert len(tree["children"]) == 6
    assert {
        (child["data"]["metadata"]["model"], child["data"]["metadata"]["cutoff"]) for child in tree["children"]
    } == {(name, cutoff) for name in ("c", "low") for cutoff in report["cutoffs"]}


async def test_a_backtest_can_be_asked_for_in_code(model: Model) -> None:
    data = msgspec.convert((await model.sample("train", num_periods=20))["data"], DataFrame)
    request = BacktestRequest(config_ids=[await model.config(members=["low"])], data=data, horizon=2, splits=1)
    accepted = await model.stage.app.backtests.submit(request)
    job = await model.stage.reach(accepted.job_id, "completed")
    assert (job["graph_id"], job["artifact_id"]) == (accepted.graph_id, accepted.artifact_id)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config_ids": []}, "config_ids"),
        ({"config_ids": ["01ARZ3NDEKTSV4RRFFQ69G5FAV"]}, "Config 01ARZ3NDEKTSV4RRFFQ69G5FAV not found"),
        ({"splits": 100}, "there could be"),
        ({"horizon": 25}, "this model predicts from 0 to 24 periods"),
        ({"target": "deaths"}, 'the data has no column "deaths"'),
        ({"split": 3}, "split"),
    ],
)
async def test_what_cannot_be_tried_is_refused(model: Model, change: dict[str, Any], said: str) -> None:
    data = (await model.sample("train", num_periods=20))["data"]
    body = {"config_ids": [await model.config()], "data": data, "horizon": 2, **change}
    problem = await model.stage.post(f"{ML}/$backtest", body, status=422)
    assert said in str(problem["errors"])


async def test_splits_that_fail_are_named(model: Model) -> None:
    config = await model.config(failing=["low", "middle", "high"])
    data = (await model.sample("train", num_periods=20))["data"]
    body = {"config_ids": [config], "data": data, "horizon": 2, "splits": 2}
    accepted = await model.stage.post(f"{ML}/$backtest", body)
    error = await failure(model, accepted["job_id"])
    assert "2 of 2 splits have left no predictions: c after " in error


async def test_what_has_failed_is_run_again_under_the_promised_ids(model: Model, tmp_path: Path) -> None:
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    config = await model.config(failing=["low", "middle", "high"], broken_while=str(obstacle))
    trained = await model.train(config)
    data = (await model.sample("train", num_periods=20))["data"]
    body = {"config_ids": [config], "data": data, "horizon": 2, "splits": 2}
    tried = await model.stage.post(f"{ML}/$backtest", body)
    jobs = [trained["job_id"], tried["job_id"]]
    for job in jobs:
        await failure(model, job)
    obstacle.unlink()
    for job in jobs:
        graph = (await model.stage.get(f"{JOBS}/{job}"))["graph_id"]
        await model.stage.post(f"{GRAPHS}/{graph}/$rerun", None)
        await model.stage.reach(job, "completed")
    made = await model.artifact(trained["artifact_id"])
    assert [member["status"] for member in made["data"]["metadata"]["ensemble"]["members"]] == ["success"] * 3
    assert (await model.artifact(tried["artifact_id"]))["data"]["content"]["models"] == ["c"]


async def test_a_model_that_was_made_stays_as_it_is_when_a_member_is_run_again(model: Model, tmp_path: Path) -> None:
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    trained = await model.train(await model.config(failing=["low"], broken_while=str(obstacle)))
    job = await model.stage.reach(trained["job_id"], "completed")
    before = await model.artifact(trained["artifact_id"])
    obstacle.unlink()
    await model.stage.post(f"{GRAPHS}/{job['graph_id']}/$rerun", None)
    again = await model.stage.reach(trained["job_id"], "completed")
    while again["attempt"] == job["attempt"] and again["finished_at"] == job["finished_at"]:
        again = await model.stage.reach(trained["job_id"], "completed")
    assert again["artifact_id"] == trained["artifact_id"]
    assert await model.artifact(trained["artifact_id"]) == before


# Weights that are learned


async def test_weights_are_learned_from_what_is_held_back(sqlite_url: str, tmp_path: Path) -> None:
    runner = EnsembleRunner(MEMBERS, "weighted", weights="learned")
    async with ensembled(sqlite_url, tmp_path, runner, Options) as model:
        config = await model.config(prediction_periods=2)
        sample = await model.sample("train", num_periods=12)
        column = sample["data"]["columns"].index("disease_cases")
        for row in sample["data"]["data"]:
            row[column] = 12
        accepted = await model.train(config, data=sample["data"])
        await model.stage.reach(accepted["job_id"], "completed")
        said = (await model.artifact(accepted["artifact_id"]))["data"]["metadata"]["ensemble"]["members"]
        weights = {member["name"]: member["weight"] for member in said}
        errors = {member["name"]: member["held_out_error"] for member in said}
        assert errors["low"] < errors["middle"] < errors["high"]
        assert sum(weights.values()) == pytest.approx(1)
        assert weights["low"] / weights["high"] == pytest.approx(errors["high"] / errors["low"])
        accepted = await model.predict(accepted["artifact_id"])
        await model.stage.reach(accepted["job_id"], "completed")
        content = (await model.artifact(accepted["artifact_id"]))["data"]["content"]
        mean = sum(weights[name] * value for name, value in (("low", 10), ("middle", 20), ("high", 60)))
        assert content["data"][0][2] == pytest.approx(mean)
        # In a backtest the members of one trial are run in one process, with weights learned from its own past.
        body = {"config_ids": [config], "data": sample["data"], "horizon": 2, "splits": 2}
        accepted = await model.stage.post(f"{ML}/$backtest", body)
        await model.stage.reach(accepted["job_id"], "completed")
