"""`millrace backtest` against a service that runs."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Serving, eventually, launched, serving
from tests.service.api.test_ensembles import MEMBERS
from tests.service.cli.conftest import Command

MODULE = """
from domain.models import EnsembleRunner
from tests.service.api.model_service import builder
from tests.service.api.test_ensembles import MEMBERS, Options

app = builder("sqlite:///model.db", EnsembleRunner(MEMBERS, "mean"), Options).build()
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("backtest")
    (folder / "main.py").write_text(MODULE)
    with serving("main.py", folder=folder) as running:
        for name in MEMBERS:
            body = {"name": name, "data": {"members": [name]}}
            assert running.http.post("/api/v1/configs", json=body).status_code == 201
        twin = {"name": "twin", "data": {"failing": ["low", "middle", "high"]}}
        for _ in range(2):
            assert running.http.post("/api/v1/configs", json=twin).status_code == 201
        yield running
        assert running.end() == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three years of one place, where there are always 21 cases."""
    path = tmp_path / "data.csv"
    rows = [f"{2020 + index // 12}-{index % 12 + 1:02},here,21.0" for index in range(36)]
    path.write_text("\n".join(["time_period,location,disease_cases", *rows]))
    return path


def test_models_are_tried_and_compared(service: Serving, run: Command, data: Path, tmp_path: Path) -> None:
    given = ["--url", service.url, "--data", str(data), "--horizon", "2", "--splits", "3"]
    said = run("backtest", *given, "-c", "low", "-c", "middle", "--output", str(tmp_path / "report.json"))
    lines = said.out.splitlines()
    assert "6 of 6 trials done" in lines
    assert [line.split()[0] for line in lines[-4:]] == ["seasonal_naive", "middle", "low", "artifact"]
    assert [line.endswith("  best") for line in lines[-4:]] == [True, False, False, False]
    # The samples of `middle` are 20 and 22, and 21 is always right.
    assert lines[-3].split()[1:] == ["6", "0.000", "0.500", "0.149", "1.000", "-"]
    assert json.loads((tmp_path / "report.json").read_text())["models"] == ["low", "middle"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["-c", "lowest"], 'there is no configuration "lowest"; there are: low, middle, high, twin, twin'),
        (["-c", "twin"], '2 configurations have the name "twin": give an id, one of '),
        (["-c", "low", "--data", "nothing.csv"], "nothing.csv is no file"),
        (["-c", "low", "--data", "broken.json"], "broken.json holds no table: "),
        (["-c", "low", "--data", "broken.csv"], "broken.csv holds no table: "),
        (["-c", "low", "--splits", "99"], "the backtest was refused: "),
        (
            ["-c", "low", "--target", "deaths"],
            "the backtest was refused: Request validation failed: the data has no column",
        ),
        (["-c", "low", "--output", "data.csv"], "data.csv is there already: give another --output"),
        (["-c", "low", "--output", "away/report.json"], "away/report.json would be in a folder that is not there"),
    ],
)
def test_what_cannot_be_tried_is_one_line(
    service: Serving, run: Command, data: Path, change: list[str], said: str
) -> None:
    Path("broken.json").write_text('[{"a": 1}, 2]')
    Path("broken.csv").write_bytes(b"a,b\n1,\xff\n")
    found = run("backtest", "--url", service.url, "--data", str(data), "--horizon", "2", *change, exit_code=2)
    assert found.err.count("\n") == 1
    assert said in found.err
    assert found.out == ""


@pytest.mark.parametrize("extent", [["--horizon", "0"], ["--splits", "-1"], ["--window", "0"], ["--stride", "x"], []])
def test_wrong_usage_is_exit_code_2(run: Command, extent: list[str]) -> None:
    assert "Usage: millrace backtest" in run("backtest", "--data", "data.csv", *extent, exit_code=2).err


def test_a_json_file_is_tried_too_with_a_window_and_a_stride(service: Serving, run: Command, tmp_path: Path) -> None:
    rows = [{"time_period": f"2020-{month:02}", "location": "here", "deaths": 11} for month in range(1, 13)]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    given = ["--url", service.url, "--data", "data.json", "--target", "deaths", "--horizon", "1", "--splits", "2"]
    run("backtest", *given, "--stride", "3", "--window", "4", "-c", "low", "-o", "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["cutoffs"], report["target"]) == (["2020-08", "2020-11"], "deaths")
    assert report["overall"]["low"]["mae"] == 0


def test_who_does_not_wait_is_told_that_it_goes_on(service: Serving, data: Path, tmp_path: Path) -> None:
    slow = {"name": "slow", "data": {"seconds": 2, "members": ["low"]}}
    config = service.http.post("/api/v1/configs", json=slow).json()["id"]
    given = ["--url", service.url, "--data", str(data), "--horizon", "2", "--splits", "2", "--config", config]
    with launched(*given, folder=tmp_path, command="backtest") as waiting:
        waiting.wait_for("0 of 2 trials done")
        assert waiting.end(signal.SIGINT) == 130
    found = re.search(r"the backtest goes on as job (\w+), and its report will be (\w+)\n", waiting.output)
    assert found
    assert "Traceback" not in waiting.output
    eventually(lambda: service.http.get(f"/api/v1/jobs/{found[1]}").json()["status"] == "completed")
    artifact = service.http.get(f"/api/v1/artifacts/{found[2]}").json()
    assert artifact["data"]["content"]["models"] == ["slow"]


def test_a_service_that_is_not_there_is_exit_code_3(run: Command, data: Path) -> None:
    said = run("backtest", "--url", "http://127.0.0.1:9", "--data", str(data), "--config", "low", exit_code=3)
    assert "http://127.0.0.1:9 does not answer" in said.err


def test_a_backtest_that_fails_says_why(service: Serving, run: Command, data: Path) -> None:
    twins = [item["id"] for item in service.http.get("/api/v1/configs").json() if item["name"] == "twin"]
    given = ["--url", service.url, "--data", str(data), "--horizon", "2", "--splits", "2"]
    found = run("backtest", *given, "-c", twins[0], exit_code=1)
    assert found.out.splitlines()[-1] == "0 of 2 trials done, 2 failed"
    assert "the backtest is failed" in found.err
    assert "2 of 2 splits have left no predictions" in found.err
