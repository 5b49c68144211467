"""What an ensemble can be told over HTTP: strategies, weights, how many members and how long; members of every kind."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.frames import DataFrame, FeatureCollection
from domain.models import EnsembleConfig, EnsembleRunner, FunctionalModelRunner, running_job
from tests.service.api.jobs_service import JOBS
from tests.service.api.model_service import Classy, Model, ensembled, functional, shell
from tests.service.api.test_ensembles import GRAPHS, MEMBERS, Options, failure, predict_middle, train_middle


class Mixed(EnsembleConfig, kw_only=True):
    """What the members of every kind look at."""

    n_lags: int = msgspec.field(default=2, name="n-lags")


async def forecast(model: Model, trained: str) -> tuple[list[Any], dict[str, Any]]:
    """The samples of the first row, and what is said of the ensemble."""
    accepted = await model.predict(trained)
    await model.stage.reach(accepted["job_id"], "completed")
    data = (await model.artifact(accepted["artifact_id"]))["data"]
    rows = {tuple(row[2:]) for row in data["content"]["data"]}
    assert len(rows) == 1, "all rows are predicted alike"
    return list(rows.pop()), data["metadata"]["ensemble"]


def weights(said: dict[str, Any]) -> dict[str, float]:
    return {member["name"]: member["weight"] for member in said["members"]}


# The samples of `low` are 10 and 12, those of `middle` 20 and 22, and those of `high` 60 and 62.
@pytest.mark.parametrize(
    ("strategy", "given", "expected"),
    [
        ("median", {}, [20, 22]),
        ("median", {"weights": {"low": 1, "middle": 1, "high": 3}}, [60, 62]),
        ("trimmed", {"trim": 0.34}, [20, 22]),
        ("weighted", {"weights": {"low": 3, "middle": 1, "high": 0}}, [12.5, 14.5]),
        ("quantile_average", {"weights": {"low": 0, "middle": 1, "high": 1}}, [40, 42]),
    ],
)
async def test_forecasts_are_combined_as_the_strategy_and_the_weights_say(
    strategy: str, given: dict[str, Any], expected: list[float], sqlite_url: str, tmp_path: Path
) -> None:
    async with ensembled(sqlite_url, tmp_path, EnsembleRunner(MEMBERS, strategy, **given), Options) as model:
        samples, said = await forecast(model, await model.trained())
        assert said["strategy"] == strategy
        assert samples == pytest.approx(expected)
        raw = given.get("weights", dict.fromkeys(MEMBERS, 1))
        assert weights(said) == pytest.approx({name: raw[name] / sum(raw.values()) for name in MEMBERS})


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, {"low": 4, "middle": 4, "high": 4}), ({"low": 3, "middle": 1, "high": 0}, {"low": 9, "middle": 3})],
)
async def test_a_pool_has_as_many_samples_of_a_member_as_it_weighs(
    given: dict[str, float], expected: dict[str, int], sqlite_url: str, tmp_path: Path
) -> None:
    runner = EnsembleRunner(MEMBERS, "linear_pool", weights=given or None, samples=12)
    async with ensembled(sqlite_url, tmp_path, runner, Options) as model:
        samples, _ = await forecast(model, await model.trained())
        whose = {10: "low", 12: "low", 20: "middle", 22: "middle", 60: "high", 62: "high"}
        assert Counter(whose[sample] for sample in samples) == expected


async def test_given_weights_are_shared_by_those_that_are_chosen_and_have_not_failed(
    sqlite_url: str, tmp_path: Path
) -> None:
    given = {"low": 5, "middle": 1, "high": 3}
    runner = EnsembleRunner(MEMBERS, "weighted", weights=given, min_members=1)
    async with ensembled(sqlite_url, tmp_path, runner, Options) as model:
        samples, said = await forecast(model, await model.trained(members=["middle", "high"]))
        assert weights(said) == {"middle": 0.25, "high": 0.75}
        assert samples == [50, 52]
        samples, said = await forecast(model, await model.trained(failing=["low"]))
        assert samples == [50, 52]
        assert [member["name"] for member in said["members"]] == ["middle", "high"]


async def test_all_members_must_succeed_unless_it_is_said_that_fewer_may(sqlite_url: str, tmp_path: Path) -> None:
    async with ensembled(sqlite_url, tmp_path, EnsembleRunner(MEMBERS, "mean"), Options) as model:
        accepted = await model.train(await model.config(failing=["high"]))
        error = await failure(model, accepted["job_id"])
        assert "2 of 3 members have succeeded and 3 must; failed: high (job " in error
        # Of those that are chosen; more are not needed.
        samples, _ = await forecast(model, await model.trained(failing=["high"], members=["low", "middle"]))
        assert samples == [15, 17]


def _waited(seconds: float) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        running_job().check()
        time.sleep(0.01)
    return {}


def train_forever(config: Options, data: DataFrame, geo: FeatureCollection | None) -> Any:
    return _waited(config.seconds)


def predict_forever(
    config: Options, model: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None
) -> DataFrame:
    _waited(600)
    return future


async def test_a_member_that_takes_longer_than_it_may_is_left_out(sqlite_url: str, tmp_path: Path) -> None:
    members = {
        "quick": FunctionalModelRunner(train_middle, predict_middle),
        "slow": FunctionalModelRunner(train_forever, predict_forever),
    }
    runner = EnsembleRunner(members, "mean", min_members=1, member_timeout_seconds=2)
    async with ensembled(sqlite_url, tmp_path, runner, Options) as model:
        accepted = await model.train(await model.config(seconds=600, members=["slow"]))
        assert "failed: slow (job " in await failure(model, accepted["job_id"])
        quick = await model.trained(seconds=0)
        accepted = await model.predict(quick)
        job = await model.stage.reach(accepted["job_id"], "completed")
        data = (await model.artifact(accepted["artifact_id"]))["data"]
        said = data["metadata"]["ensemble"]["members"]
        assert [(member["name"], member["status"], member.get("weight")) for member in said] == [
            ("quick", "success", 1),
            ("slow", "failed", None),
        ]
        assert {tuple(row[2:]) for row in data["content"]["data"]} == {(20, 22)}
        nodes = (await model.stage.get(f"{GRAPHS}/{job['graph_id']}"))["nodes"]
        assert "2 s" in nodes["predict-slow"]["error"]
        slow = await model.stage.get(f"{JOBS}/{nodes['predict-slow']['job_id']}")
        assert slow["timeout_seconds"] == 2


async def test_scripts_functions_and_a_class_become_one_forecast(sqlite_url: str, tmp_path: Path) -> None:
    runner = EnsembleRunner({"scripts": shell(), "functions": functional(), "class": Classy(1.5)}, "mean")
    async with ensembled(sqlite_url, tmp_path, runner, Mixed) as model:
        sample = await model.sample("train")
        for column in ("disease_cases", "rainfall"):
            index = sample["data"]["columns"].index(column)
            for row in sample["data"]["data"]:
                row[index] = 6
        accepted = await model.train(await model.config(), data=sample["data"])
        await model.stage.reach(accepted["job_id"], "completed")
        made = await model.artifact(accepted["artifact_id"])
        types = [(await model.artifact(id))["data"]["content_type"] for id in made["parents"]]
        samples, said = await forecast(model, accepted["artifact_id"])
        # By rank: 0.00001 and 6 of the scripts, 6 and 9 of the functions, 1.5 and 1.5 of the class.
        assert samples == pytest.approx([(0.00001 + 6 + 1.5) / 3, (6 + 9 + 1.5) / 3])
        assert weights(said) == pytest.approx(dict.fromkeys(runner.members, 1 / 3))
        assert types == ["application/zip", "application/zip", "application/json"]
