"""The examples around a model: trained at the first start, driven by hand, and by scripts just as well."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.frames import DataFrame
from tests.processes import ROOT, Serving, environment, eventually, launched, millrace, serving

EXAMPLES = ROOT / "examples"
OUTBREAK = str(EXAMPLES / "outbreak" / "main.py")
API = "/api/v1"


def get(service: Serving, path: str, **parameters: Any) -> Any:
    reply = service.http.get(f"{API}/{path}", params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def post(service: Serving, path: str, body: Any, status: int = 202) -> Any:
    reply = service.http.post(f"{API}/{path}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def ended(service: Serving, job: str) -> Any:
    def look() -> Any:
        found = get(service, f"jobs/{job}")
        return found if found["finished_at"] else None

    found = eventually(look)
    assert found["status"] == "completed", found["error"]
    return found


def content(service: Serving, artifact: str) -> DataFrame:
    return msgspec.convert(get(service, f"artifacts/{artifact}")["data"]["content"], DataFrame)


def pipelines(service: Serving) -> list[Any]:
    return get(service, "jobs", kind="ml.pipeline")  # type: ignore[no-any-return]


def test_the_first_start_finds_a_champion_and_the_second_has_nothing_to_do(tmp_path: Path, database_url: str) -> None:
    start = partial(serving, OUTBREAK, folder=tmp_path, variables={"DATABASE_URL": database_url})
    with start() as service:
        service.wait_for("the same by hand")
        for said in ("tried on the past: 9 of 9 times", "regression is the champion", "chart drawn: fan"):
            assert said in service.output
        [job] = pipelines(service)
        told = get(service, f"jobs/{job['id']}/$result")
        assert get(service, f"graphs/{told['graph_id']}")["status"] == "completed"
        report = get(service, f"artifacts/{told['report_id']}")["data"]["content"]
        scores = {name: report["overall"][name]["crps"] for name in ("seasonal", "regression", "ensemble")}
        assert min(scores, key=lambda name: scores[name]) == "regression"
        alias = get(service, "models/outbreak/aliases/champion")
        assert alias["gate"] == "crps <= champion.crps"
        version = get(service, f"models/outbreak/versions/{alias['version']}")
        assert version["artifact_id"] == told["trainings"]["regression"]
        forecast = get(service, f"artifacts/{told['forecast_id']}")["data"]
        assert forecast["metadata"]["model_version"] == {"model": "outbreak", "number": alias["version"]}
        frame = msgspec.convert(forecast["content"], DataFrame)
        assert frame.shape == (12 * 6, 2 + 100)
        assert all(isinstance(cell, float) and cell >= 0 for row in frame.data for cell in row[2:])
        count = len(get(service, "jobs"))
        assert service.end() == 0
    with start() as service:
        [schedule] = get(service, "schedules")
        assert (schedule["cron"], schedule["args"]) == ("0 6 * * MON", {"name": "weekly"})
        assert len(get(service, "jobs")) == count
        configs = {config["name"]: config["id"] for config in get(service, "configs")}
        asked = {"type": "train", "data": {"columns": ["rainfall"], "data": [[1.0]]}}
        for name, found in (("regression", 1), ("ensemble", 2)):
            said = post(service, "ml/$validate", {**asked, "config_id": configs[name]}, 200)["diagnostics"]
            assert [(one["severity"], one["code"]) for one in said] == [("error", "columns_missing")] * found
        assert service.end() == 0


@pytest.mark.parametrize("moment", ["first start", "tried on the past"])
def test_a_first_start_that_is_interrupted_goes_on_at_the_next_one(tmp_path: Path, moment: str) -> None:
    with serving(OUTBREAK, folder=tmp_path) as service:
        service.wait_for(moment)
        assert service.end(signal.SIGINT) == 0
    with serving(OUTBREAK, folder=tmp_path) as service:
        [job] = pipelines(service)
        ended(service, job["id"])
        told = get(service, f"jobs/{job['id']}/$result")
        eventually(lambda: get(service, f"graphs/{told['graph_id']}")["status"] == "completed")
        assert len(get(service, "models/outbreak/versions")) == 3
        assert service.end() == 0


def test_what_is_said_to_do_by_hand_can_be_done(tmp_path: Path) -> None:
    with serving(OUTBREAK, folder=tmp_path) as service:
        service.wait_for("fan.svg")
        lines = [line.partition("]   ")[2] for line in service.output.splitlines() if "]   " in line]
        lines = [line.replace("[outbreak]", "") for line in lines]
        assert len(lines) == 7
        for line in lines:
            ran = subprocess.run(
                ["bash", "-euc", line], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
            )
            assert ran.returncode == 0, ran.stderr
            if "-d @" in line:
                ended(service, msgspec.json.decode(ran.stdout)["job_id"])
        assert (tmp_path / "fan.svg").read_text().startswith("<svg")
        assert service.end() == 0


# What the same forecast by scripts has `method` for, it has `members`.
CHOICES = {"outbreak": lambda name: {"members": [name]}, "outbreak_scripts": lambda name: {"method": name}}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Serving]]:
    """Both services."""
    with ExitStack() as stack:
        running = {}
        for example in CHOICES:
            folder = tmp_path_factory.mktemp(example)
            running[example] = stack.enter_context(serving(str(EXAMPLES / example / "main.py"), folder=folder))
        yield running
        assert [service.end() for service in running.values()] == [0, 0]


@pytest.mark.parametrize("method", ["regression", "seasonal"])
@pytest.mark.parametrize("period_type", ["monthly", "weekly"])
def test_scripts_forecast_what_functions_do(examples: dict[str, Serving], method: str, period_type: str) -> None:
    forecasts = []
    for example, service in examples.items():
        made = {"name": f"{period_type} {method}", "data": {**CHOICES[example](method), "samples": 5}}
        config = post(service, "configs", made, 201)["id"]
        given = {"num_locations": 2, "num_periods": 60, "num_features": 0, "seed": 3, "period_type": period_type}
        body = get(service, "ml/$generate-sample-data", kind="train", config_id=config, **given)
        trained = post(service, "ml/$train", body)
        ended(service, trained["job_id"])
        ahead = get(service, "ml/$generate-sample-data", kind="predict", **given)
        predicted = post(service, "ml/$predict", {**ahead, "artifact_id": trained["artifact_id"]})
        ended(service, predicted["job_id"])
        forecasts.append(content(service, predicted["artifact_id"]))
    by_function, by_script = forecasts
    assert by_function.columns == by_script.columns
    # CSV writes whole numbers as such.
    assert [
        [float(cell) if isinstance(cell, int) else cell for cell in row] for row in by_script.data
    ] == by_function.data


def test_what_is_forecast_is_honest_about_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES / "outbreak"), *sys.path])
    import numpy as np

    import districts
    import forecast

    for kind, horizon in (("monthly", 12), ("weekly", 26)):
        known, future, truth = districts.split(districts.observed(kind), horizon)
        chance = np.random.default_rng(1)
        seasonal = forecast.predict_seasonal(forecast.fit_seasonal(known), future, 200, chance)
        model = forecast.fit_regression(known, 1.0)
        regression = forecast.predict_regression(model, known, future, 200, chance)
        counted = {(row[0], row[1]): row[2] for row in truth.data}
        for rows in (seasonal, regression):
            inside = [
                np.quantile(row[2:], 0.05) <= counted[row[0], row[1]] <= np.quantile(row[2:], 0.95) for row in rows
            ]
            assert 0.8 <= np.mean(inside) <= 0.99, (kind, np.mean(inside))


SLOW = """
import time
from domain.models import FunctionalModelRunner, running_job
from service.builder import MLServiceBuilder
from tests.service.api.model_service import Options, builder, predict


def train(config, data, geo):
    running_job().progress(1, step="training")
    while not open("go").read():
        time.sleep(0.05)
    return {"mean": 1.0}


app = builder(None, FunctionalModelRunner(train, predict)).with_jobs(lease_seconds=2).build()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the module of a model is whose training lasts until it is let go."""
    (tmp_path / "main.py").write_text(SLOW)
    (tmp_path / "go").write_text("")
    return tmp_path


def training(service: Serving) -> Any:
    """Have a model trained; the reply, once it is in the middle of that."""
    config = post(service, "configs", {"name": "c", "data": {}}, 201)["id"]
    body = get(service, "ml/$generate-sample-data", kind="train", config_id=config)
    accepted = post(service, "ml/$train", body)
    eventually(lambda: get(service, f"jobs/{accepted['job_id']}")["progress"])
    assert get(service, f"jobs/{accepted['job_id']}")["status"] == "running"
    return accepted


def is_finished_by_a_second_attempt(service: Serving, accepted: Any, folder: Path) -> None:
    """The promised ids stay good, and there is one artifact of the two attempts."""
    eventually(lambda: get(service, f"jobs/{accepted['job_id']}")["attempt"] == 2)
    assert get(service, "artifacts") == []
    (folder / "go").write_text("now")
    job = ended(service, accepted["job_id"])
    assert (job["losses"], job["artifact_id"]) == (1, accepted["artifact_id"])
    [artifact] = get(service, "artifacts")
    assert artifact["id"] == accepted["artifact_id"]
    assert get(service, f"artifacts/{artifact['id']}")["data"]["metadata"]["status"] == "success"


def test_a_training_survives_the_death_of_its_service_and_its_ids_stay_good(folder: Path) -> None:
    with serving("main.py", folder=folder) as service:
        accepted = training(service)
        service.process.kill()
        service.wait()
    with serving("main.py", folder=folder) as service:
        is_finished_by_a_second_attempt(service, accepted, folder)
        assert service.end() == 0


def test_a_training_survives_the_death_of_its_worker_on_another_one(
    folder: Path, postgres_url: str, redis_url: str
) -> None:
    variables = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url, "MILLRACE_STORAGE": str(folder / "storage")}
    worker = partial(launched, "main.py", folder=folder, variables=variables, command="worker")
    with serving("main.py", folder=folder, variables=variables) as service:
        with worker() as first:
            accepted = training(service)
            first.process.kill()
            first.wait()
            # What it has started dies with it, so nobody else can bring the training to its end.
            eventually(lambda: not first.group())
        with worker() as second:
            is_finished_by_a_second_attempt(service, accepted, folder)
            assert second.end() == 0
        events = get(service, f"jobs/{accepted['job_id']}/$events")
        assert [event["type"] for event in events] == ["submitted", "running", "lost", "running", "completed"]
        begun = [(event["attempt"], event["worker_id"]) for event in events if event["type"] == "running"]
        assert [attempt for attempt, _ in begun] == [1, 2]
        assert len({worker_id for _, worker_id in begun}) == 2
        assert service.end() == 0
    checked = millrace("storage", "fsck", "main.py", folder=folder, variables=variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr
