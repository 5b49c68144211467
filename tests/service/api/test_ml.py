"""Models over HTTP: trained, asked to predict, asked beforehand, made to fail, and never to be trusted blindly."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.configs import BaseConfig
from domain.errors import Misconfigured
from domain.models import FunctionalModelRunner
from domain.signing import signature
from infra.database.secrets import shared_secret
from service.managers.model_artifacts import SIGNED
from tests.service.api.jobs_service import JOBS, UNKNOWN, eventually
from tests.service.api.model_service import (
    ARTIFACTS,
    FRAME_TYPE,
    ML,
    Model,
    builder,
    classy,
    modelled,
    predict,
    shell,
    train,
)


@pytest.fixture(scope="module")
async def classes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    folder: Path = tmp_path_factory.mktemp("classes")
    async with modelled(f"sqlite:///{folder / 'model.db'}", None, folder, classy()) as model:
        yield model


@pytest.fixture(scope="module")
async def scripts(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    folder: Path = tmp_path_factory.mktemp("scripts")
    async with modelled(module_database_url, None, folder, shell()) as model:
        yield model


async def is_tidy(model: Model) -> bool:
    """Whether no run has left anything in its folder."""
    return not any(folder.iterdir() for folder in model.scratch.iterdir() if any(folder.iterdir()))


def runs(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


# From training to prediction


async def test_a_model_is_trained_and_predicts(model: Model) -> None:
    config = await model.config(**{"n-lags": 5})
    sample = await model.sample("train", include_geo=True)
    accepted = await model.stage.post(f"{ML}/$train", {"config_id": config, **sample, "unknown": 1})
    assert accepted == {
        "job_id": accepted["job_id"],
        "artifact_id": accepted["artifact_id"],
        "message": f"Training job submitted. Job ID: {accepted['job_id']}",
    }
    job = await model.stage.reach(accepted["job_id"], "completed")
    assert (job["artifact_id"], job["status"], job["progress"]["step"]) == (
        accepted["artifact_id"],
        "completed",
        "fitting",
    )
    assert "training with 5 lags" in await model.log(job["id"])
    artifact = await model.artifact(accepted["artifact_id"])
    data, metadata = artifact["data"], artifact["data"]["metadata"]
    assert list(data) == ["type", "metadata", "content", "content_type", "content_size"]
    assert (data["type"], data["content_type"]) == ("ml_training_workspace", "application/zip")
    assert (data["content"]["_type"], data["content"]["_module"]) == ("bytes", "builtins")
    assert (metadata["status"], metadata["config_id"], metadata["exit_code"]) == ("success", config, None)
    assert (artifact["level"], artifact["parent_id"], artifact["job_id"]) == (0, None, job["id"])
    assert (artifact["config_id"], artifact["code_revision"]) == (config, "0123abc")
    reply = await model.stage.client.get(f"{ARTIFACTS}/{artifact['id']}/$download")
    assert reply.headers["content-type"] == "application/zip"
    assert len(reply.content) == data["content_size"]
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert sorted(archive.namelist()) == ["config.yml", "data.csv", "geo.json", "model.json"]
        assert b"n-lags: 5" in archive.read("config.yml")
    assert (await model.stage.get(f"{ARTIFACTS}/{artifact['id']}/$config"))["id"] == config

    asked = await model.predict(artifact["id"], run_info={"prediction_length": 3, "additional": 1})
    assert asked["message"] == f"Prediction job submitted. Job ID: {asked['job_id']}"
    await model.stage.reach(asked["job_id"], "completed")
    predicted = await model.artifact(asked["artifact_id"])
    assert list(predicted["data"]) == ["type", "metadata", "content", "content_type", "content_size"]
    assert (predicted["data"]["type"], predicted["data"]["content_type"]) == ("ml_prediction", FRAME_TYPE)
    content = predicted["data"]["content"]
    assert content["columns"] == ["time_period", "location", "sample_0", "sample_1"]
    assert content["schema"]["fields"][2] == {"name": "sample_0", "type": "number"}
    assert all(row[3] == row[2] + 3 for row in content["data"])
    assert (predicted["parent_id"], predicted["level"], predicted["root_id"]) == (artifact["id"], 1, artifact["id"])
    assert predicted["parents"] == [artifact["id"]]
    assert predicted["inputs"]["model"] == artifact["content_sha256"]
    tree = await model.stage.get(f"{ARTIFACTS}/{artifact['id']}/$tree")
    assert (tree["level_label"], tree["hierarchy"]) == ("model", "models")
    assert [(child["id"], child["level_label"]) for child in tree["children"]] == [(predicted["id"], "forecast")]
    assert "content" not in tree["children"][0]["data"]
    assert await eventually(lambda: is_tidy(model))


async def test_a_model_that_is_no_json_is_signed(model: Model) -> None:
    artifact = await model.trained(odd=True)
    asked = await model.predict(artifact)
    await model.stage.reach(asked["job_id"], "completed")
    await model.stage.engine.execute(f"UPDATE millrace_artifacts SET signature = 'forged' WHERE id = '{artifact}'")
    asked = await model.predict(artifact)
    job = await model.stage.reach(asked["job_id"], "failed")
    assert "was not made by this service" in job["error"]
    await model.stage.get(f"{ARTIFACTS}/{asked['artifact_id']}", status=404)


async def test_an_artifact_that_a_client_has_made_is_no_model(model: Model) -> None:
    data = {"type": "ml_training_workspace", "metadata": {}, "content": {"mean": 1}, "content_type": "application/json"}
    made = await model.stage.post(ARTIFACTS, {"data": data, "signature": "mine"}, status=201)
    job = await model.stage.reach((await model.predict(made["id"]))["job_id"], "failed")
    assert "was not made by this service" in job["error"]
    generic = await model.stage.post(ARTIFACTS, {"data": {"type": "generic"}}, status=201)
    job = await model.stage.reach((await model.predict(generic["id"]))["job_id"], "failed")
    assert job["error"] == f"ValueError: Artifact {generic['id']} is not a training artifact"


async def test_what_fails_says_why_and_leaves_no_artifact(model: Model) -> None:
    accepted = await model.train(await model.config(fail=True))
    job = await model.stage.reach(accepted["job_id"], "failed")
    assert job["error"] == "ValueError: no target column"
    assert "in train" in job["error_traceback"]
    await model.stage.get(f"{ARTIFACTS}/{accepted['artifact_id']}", status=404)
    unknown = await model.train(UNKNOWN)
    job = await model.stage.reach(unknown["job_id"], "failed")
    assert job["error"] == f"ValueError: Config {UNKNOWN} not found"
    far = await model.train(await model.config(prediction_periods=99))
    job = await model.stage.reach(far["job_id"], "failed")
    assert "prediction_periods is 99; this model predicts from 0 to 24 periods" in job["error"]
    assert await eventually(lambda: is_tidy(model))


async def test_a_training_can_be_canceled(model: Model) -> None:
    accepted = await model.train(await model.config(endless=True))

    async def process() -> int:
        told = (await model.stage.job(accepted["job_id"]))["progress"]
        return int(told["message"]) if told else 0

    pid = await eventually(process)
    await model.stage.post(f"{JOBS}/{accepted['job_id']}/$cancel", status=202)
    await model.stage.reach(accepted["job_id"], "canceled")
    assert not runs(pid)
    await model.stage.get(f"{ARTIFACTS}/{accepted['artifact_id']}", status=404)
    assert await eventually(lambda: is_tidy(model))


async def test_many_predictions_at_once_all_end_well(model: Model) -> None:
    artifact = await model.trained(slow=True)
    body = {"artifact_id": artifact, **await model.sample("predict")}
    asked = await asyncio.gather(*(model.stage.post(f"{ML}/$predict", body) for _ in range(50)))
    assert len({accepted["artifact_id"] for accepted in asked}) == 50
    for accepted in asked:
        await model.stage.reach(accepted["job_id"], "completed")
    found = await model.stage.get(ARTIFACTS, params={"parent_id": artifact, "count": "exact", "page": 1, "size": 1})
    assert found["total"] == 50


async def test_a_large_request_is_taken(model: Model) -> None:
    sample = await model.sample("train", num_locations=1)
    rows = sample["data"]["data"] * 66_667
    accepted = await model.train(await model.config(), data={**sample["data"], "data": rows})
    await model.stage.reach(accepted["job_id"], "completed")
    assert len(rows) > 200_000


# What clients send wrongly


@pytest.mark.parametrize(
    "frame, pointer",
    [
        ({"columns": ["a", "a"], "data": []}, "/data/columns/1"),
        ({"columns": ["a", "b"], "data": [[1, 2], [1]]}, "/data/data/1"),
        ({"columns": [1], "data": []}, "/data/columns/0"),
        ({"columns": ["a"]}, "/data/data"),
    ],
)
async def test_a_frame_that_is_none_is_refused_at_the_door(model: Model, frame: dict[str, Any], pointer: str) -> None:
    problem = await model.stage.post(f"{ML}/$train", {"config_id": UNKNOWN, "data": frame}, status=422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert len(msgspec.json.encode(problem)) < 1_000


async def test_a_prediction_needs_what_came_before(model: Model) -> None:
    body = {"artifact_id": UNKNOWN, "future": {"columns": [], "data": []}}
    problem = await model.stage.post(f"{ML}/$predict", body, status=422)
    assert [error["pointer"] for error in problem["errors"]] == ["/historic"]
    assert (await model.stage.post(f"{ML}/$train", status=422))["status"] == 422
    assert (await model.stage.post(f"{ML}/$train?fast=1", body, status=400))["status"] == 400


# Asking beforehand


async def validated(model: Model, body: dict[str, Any]) -> tuple[bool, list[tuple[str, str, str | None]]]:
    found = await model.stage.post(f"{ML}/$validate", body, status=200)
    return found["valid"], [(item["severity"], item["code"], item["field"]) for item in found["diagnostics"]]


async def test_a_training_is_looked_at_beforehand(model: Model) -> None:
    sample = await model.sample("train")
    asked = {"type": "train", **sample}
    assert await validated(model, {**asked, "config_id": UNKNOWN}) == (
        False,
        [("error", "config_not_found", "config_id")],
    )
    config = await model.config()
    assert await validated(model, {**asked, "config_id": config}) == (True, [("info", "rows", "data")])
    empty = {"columns": sample["data"]["columns"], "data": []}
    assert await validated(model, {**asked, "config_id": config, "data": empty}) == (
        False,
        [("error", "data_empty", "data")],
    )
    far = await model.config(prediction_periods=25)
    assert await validated(model, {**asked, "config_id": far}) == (
        False,
        [("error", "prediction_periods_out_of_bounds", "config.prediction_periods")],
    )
    given = {**asked, "config_id": config, "run_info": {"prediction_periods": 25}}
    assert await validated(model, given) == (
        False,
        [("error", "prediction_periods_out_of_bounds", "run_info.prediction_periods")],
    )
    broken = {**asked, "config_id": await model.config(fail=True)}
    problem = await model.stage.post(f"{ML}/$validate", broken, status=500)
    assert (problem["status"], "the check is broken" in problem["detail"]) == (500, True)
    await model.stage.post(f"{ML}/$validate", sample, status=422)


async def test_a_prediction_is_looked_at_beforehand(model: Model) -> None:
    sample = await model.sample("predict")
    artifact = await model.trained()
    asked = {"type": "predict", "artifact_id": artifact, **sample}
    assert await validated(model, asked) == (True, [])
    warned = {**asked, "run_info": {"prediction_periods": 2}}
    assert await validated(model, warned) == (True, [("warning", "prediction_periods_mismatch", "future")])
    empty = {"columns": sample["historic"]["columns"], "data": []}
    assert await validated(model, {**asked, "historic": empty, "future": empty}) == (
        False,
        [("error", "historic_empty", "historic"), ("error", "future_empty", "future")],
    )
    two = {**sample["future"], "data": sample["future"]["data"][:2]}
    assert await validated(model, {**asked, "future": two}) == (False, [("error", "never", None)])
    assert await validated(model, {**asked, "artifact_id": UNKNOWN}) == (
        False,
        [("error", "training_artifact_not_found", "artifact_id")],
    )
    generic = await model.stage.post(ARTIFACTS, {"data": {"type": "generic"}}, status=201)
    assert await validated(model, {**asked, "artifact_id": generic["id"]}) == (
        False,
        [("error", "invalid_training_artifact", "artifact_id")],
    )
    sql = f"UPDATE millrace_artifacts SET signature = NULL WHERE id = '{artifact}'"
    await model.stage.engine.execute(sql)
    assert await validated(model, asked) == (False, [("error", "training_workspace_corrupted", "artifact_id")])


async def test_an_archive_without_a_model_is_noticed_beforehand(model: Model) -> None:
    artifact, sample = await model.trained(), await model.sample("predict")
    storage = model.stage.container.storage
    assert storage is not None
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("config.yml", "a: 1")
    for content, code in ((empty.getvalue(), "model_pickle_missing"), (b"none", "training_workspace_corrupted")):
        blob = await storage.put(content)
        secret = await shared_secret(model.stage.engine, "artifacts")
        changes = {"content_sha256": blob.sha256, "signature": signature(secret, SIGNED, blob.sha256)}
        await model.stage.app.artifacts.repository.update(artifact, changes)
        asked = {"type": "predict", "artifact_id": artifact, **sample}
        assert await validated(model, asked) == (False, [("error", code, "artifact_id")])


# Sample data


async def test_sample_data_is_what_the_model_takes(model: Model) -> None:
    config = await model.config(additional_continuous_covariates=["humidity"])
    found = await model.sample("train", config_id=config, num_features=1, include_geo=True)
    assert found["config_id"] == config
    assert found["data"]["columns"][-2:] == ["feature_0", "humidity"]
    assert found["geo"]["type"] == "FeatureCollection"
    assert found == await model.sample("train", config_id=config, num_features=1, include_geo=True)
    weekly = await model.sample("predict", period_type="weekly", num_periods=50)
    assert weekly["historic"]["data"][0][0] == "2020-W01"
    # No further than the model predicts.
    assert len({row[0] for row in weekly["future"]["data"]}) == 24
    assert "geo" not in weekly
    path = f"{ML}/$generate-sample-data"
    await model.stage.get(path, params={"config_id": UNKNOWN}, status=404)
    problem = await model.stage.get(path, params={"kind": "both", "num_locations": "x"}, status=422)
    assert [error["loc"] for error in problem["errors"]] == [["query", "kind"], ["query", "num_locations"]]
    assert [error.get("allowed") for error in problem["errors"]] == [["train", "predict"], None]
    await model.stage.get(path, params={"kinds": "train"}, status=400)


# Classes


@pytest.mark.parametrize(
    "told, kind, content_type",
    [
        ({}, "json", "application/json"),
        ({"odd": True}, "pickle", "application/x-pickle"),
        ({"bytes": True}, "bytes", "application/octet-stream"),
    ],
)
async def test_a_class_keeps_its_model_as_what_it_is(
    classes: Model, told: dict[str, Any], kind: str, content_type: str
) -> None:
    accepted = await classes.train(await classes.config(**told))
    job = await classes.stage.reach(accepted["job_id"], "completed")
    assert await classes.log(job["id"]) == ["init", "cleanup"]
    artifact = await classes.artifact(accepted["artifact_id"])
    assert (artifact["content_kind"], artifact["data"]["content_type"]) == (kind, content_type)
    if kind == "json":
        assert artifact["data"]["content"] == {"weight": 1.5}
    asked = await classes.predict(artifact["id"])
    await classes.stage.reach(asked["job_id"], "completed")
    rows = (await classes.artifact(asked["artifact_id"]))["data"]["content"]["data"]
    assert {row[2] for row in rows} == {2 if kind == "bytes" else 1.5}


async def test_a_pickle_that_was_not_signed_is_noticed_beforehand(classes: Model) -> None:
    artifact = await classes.trained(odd=True)
    await classes.stage.app.artifacts.repository.update(artifact, {"signature": None})
    asked = {"type": "predict", "artifact_id": artifact, **await classes.sample("predict")}
    assert await validated(classes, asked) == (False, [("error", "model_pickle_corrupted", "artifact_id")])


async def test_without_a_check_of_its_own_nothing_is_asked(classes: Model) -> None:
    asked = {"type": "train", "config_id": await classes.config(), **await classes.sample("train")}
    assert await validated(classes, asked) == (True, [])


# Scripts


async def test_scripts_train_and_predict(scripts: Model) -> None:
    accepted = await scripts.train(await scripts.config())
    job = await scripts.stage.reach(accepted["job_id"], "completed")
    assert sorted(await scripts.log(job["id"])) == ["6 rows, []", "on the other line"]
    metadata = (await scripts.artifact(accepted["artifact_id"]))["data"]["metadata"]
    assert (metadata["exit_code"], metadata["stdout"], metadata["stderr"]) == (
        0,
        "6 rows, []\n",
        "on the other line\n",
    )
    asked = await scripts.predict(accepted["artifact_id"])
    await scripts.stage.reach(asked["job_id"], "completed")
    predicted = await scripts.artifact(asked["artifact_id"])
    assert predicted["data"]["metadata"]["exit_code"] is None
    assert await scripts.log(asked["job_id"]) == ["6 periods to come"]
    rain = (await scripts.sample("train"))["data"]["data"][0][4]
    assert {tuple(row[2:]) for row in predicted["data"]["content"]["data"]} == {(rain, 1e-05)}
    tree = await scripts.stage.get(f"{ARTIFACTS}/{accepted['artifact_id']}/$tree")
    [workspace] = tree["children"][0]["children"]
    assert (workspace["level"], workspace["data"]["type"]) == (2, "ml_prediction_workspace")
    assert workspace["data"]["metadata"]["stdout"] == "6 periods to come\n"
    assert await eventually(lambda: is_tidy(scripts))


async def test_a_script_that_fails_leaves_a_diagnostic_artifact_under_the_promised_id(scripts: Model) -> None:
    accepted = await scripts.train(await scripts.config(fail=True))
    job = await scripts.stage.reach(accepted["job_id"], "failed")
    assert "train script failed with exit code 3" in job["error"]
    assert "stderr tail: on the other line\ncannot go on" in job["error"]
    artifact = await scripts.artifact(accepted["artifact_id"])
    metadata = artifact["data"]["metadata"]
    assert (metadata["status"], metadata["exit_code"]) == ("failed", 3)
    assert metadata["stderr"].endswith("cannot go on\n")
    job = await scripts.stage.reach((await scripts.predict(artifact["id"]))["job_id"], "failed")
    assert "Cannot predict using failed training artifact" in job["error"]
    asked = {"type": "predict", "artifact_id": artifact["id"], **await scripts.sample("predict")}
    assert await validated(scripts, asked) == (False, [("error", "training_artifact_failed", "artifact_id")])
    assert await eventually(lambda: is_tidy(scripts))


async def test_a_prediction_that_fails_does_so_too(scripts: Model) -> None:
    broken = await scripts.predict(await scripts.trained(broken=True))
    job = await scripts.stage.reach(broken["job_id"], "failed")
    assert "predict script failed with exit code 1" in job["error"]
    artifact = await scripts.artifact(broken["artifact_id"])
    assert (artifact["data"]["type"], artifact["level"]) == ("ml_prediction_workspace", 1)
    silent = await scripts.predict(await scripts.trained(silent=True))
    job = await scripts.stage.reach(silent["job_id"], "failed")
    assert job["error"] == "RuntimeError: Prediction script did not create output file at predictions.csv"
    await scripts.stage.get(f"{ARTIFACTS}/{silent['artifact_id']}", status=404)


async def test_canceling_ends_a_script_and_all_that_it_has_started(scripts: Model) -> None:
    accepted = await scripts.train(await scripts.config(endless=True))

    async def child() -> int:
        said = [line for line in await scripts.log(accepted["job_id"]) if line.startswith("child ")]
        return int(said[0].split()[1]) if said else 0

    pid = await eventually(child)
    await scripts.stage.delete(f"{JOBS}/{accepted['job_id']}")

    async def is_gone() -> bool:
        return not runs(pid)

    assert await eventually(is_gone)
    assert await eventually(lambda: is_tidy(scripts))
    await scripts.stage.get(f"{ARTIFACTS}/{accepted['artifact_id']}", status=404)


# What a builder refuses


def test_a_model_that_another_process_could_not_find_is_refused(tmp_path: Path) -> None:
    runner = FunctionalModelRunner(lambda config, data, geo: None, predict)
    with pytest.raises(Misconfigured, match="at the top of a module"):
        builder(f"sqlite:///{tmp_path / 'm.db'}", runner).build()


def test_what_belongs_together_is_demanded(tmp_path: Path) -> None:
    from domain.registration import ServiceInfo
    from service.builder import ServiceBuilder

    plain = ServiceBuilder(ServiceInfo(id="a", display_name="A")).with_database(f"sqlite:///{tmp_path / 'm.db'}")
    with pytest.raises(Misconfigured, match=r"with_ml\(\) needs configurations and artifacts"):
        plain.with_ml(FunctionalModelRunner(train, predict)).build()
    with pytest.raises(Misconfigured, match="no runner of a model"):
        plain.with_ml(train)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=r"enable_config_linking=True\) needs with_config"):
        plain.with_artifacts(enable_config_linking=True).build()
    with pytest.raises(Misconfigured, match="needs an MLServiceInfo"):
        plain.with_config(BaseConfig).build()
