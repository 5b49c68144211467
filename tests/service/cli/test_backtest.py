"""`millrace backtest` against a service that runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import Serving, serving
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
            assert httpx.post(f"{running.url}/api/v1/configs", json=body).status_code == 201
        twin = {"name": "twin", "data": {"failing": ["low", "middle", "high"]}}
        for _ in range(2):
            assert httpx.post(f"{running.url}/api/v1/configs", json=twin).status_code == 201
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
    # The samples of `middle` are 20 and 22, and 21 is always right.
    assert lines[-3].split()[1:] == ["6", "0.000", "0.500", "0.149", "1.000", "-"]
    assert json.loads((tmp_path / "report.json").read_text())["models"] == ["low", "middle"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["-c", "lowest"], 'there is no configuration "lowest"; there are: low, middle, high, twin, twin'),
        (["-c", "twin"], '2 configurations have the name "twin": give an id, one of '),
        (["-c", "low", "--data", "nothing.csv"], "nothing.csv is no file"),
        (["-c", "low", "--splits", "99"], "answered 422"),
        (["-c", "low", "--target", "deaths"], "answered 422"),
    ],
)
def test_what_cannot_be_tried_is_one_line(
    service: Serving, run: Command, data: Path, change: list[str], said: str
) -> None:
    found = run("backtest", "--url", service.url, "--data", str(data), "--horizon", "2", *change, exit_code=1)
    assert found.err.count("\n") == 1
    assert said in found.err


def test_a_backtest_that_fails_says_why(service: Serving, run: Command, data: Path) -> None:
    twins = [item["id"] for item in httpx.get(f"{service.url}/api/v1/configs").json() if item["name"] == "twin"]
    given = ["--url", service.url, "--data", str(data), "--horizon", "2", "--splits", "2"]
    found = run("backtest", *given, "-c", twins[0], exit_code=1)
    assert "the backtest is failed" in found.err
    assert "2 of 2 splits have left no predictions" in found.err
