"""`millrace test` and `millrace artifact` against a service that runs."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Serving, serving
from tests.service.cli.conftest import Command

MODULE = """
from service.builder import MLServiceBuilder
from tests.service.api.model_service import builder, functional

app = builder("sqlite:///model.db", functional()).build()
"""

PLAIN = """
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder

app = ServiceBuilder(info=ServiceInfo(id="plain", display_name="Plain")).with_health().build()
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "main.py").write_text(MODULE)
    with serving("main.py", folder=folder) as running:
        yield running
        assert running.end() == 0


def test_a_service_that_works_passes(service: Serving, run: Command) -> None:
    said = run("test", "-u", service.url, "-c", "2", "-p", "2", "--rows", "30", "--predict-rows", "15", "--verbose")
    lines = said.out.splitlines()
    assert lines[0] == "met Model (model 1.0.0)"
    assert sum("prediction made artifact" in line for line in lines) == 4
    assert lines[-2:] == ["9 steps passed, 0 failed", "ALL TESTS PASSED"]


def test_a_wrong_option_is_refused(service: Serving, run: Command) -> None:
    said = run("test", "-u", service.url, "--period-type", "daily", exit_code=2)
    assert said.err == "millrace: --period-type is monthly or weekly, --geo-type polygon or point\n"


def test_a_service_without_a_model_is_named(run: Command, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    with serving("plain.py", folder=tmp_path) as running:
        said = run("test", "-u", running.url, exit_code=1)
        assert said.err.startswith("millrace: GET /api/v1/configs/$schema answered 404: ")
        assert running.end() == 0


def test_a_service_that_is_away_is_one_line(run: Command) -> None:
    for command in (("test",), ("artifact", "ls")):
        said = run(*command, "-u", "http://127.0.0.1:9", exit_code=3)
        assert said.err.startswith("millrace: http://127.0.0.1:9 does not answer: ConnectError")


def test_artifacts_are_listed_and_downloaded(service: Serving, run: Command, tmp_path: Path) -> None:
    run("test", "-u", service.url, "--rows", "30", "--predict-rows", "15")
    lines = run("artifact", "ls", "-u", service.url, "--type", "ml_training_workspace").out.splitlines()
    id, level, kind, media_type, size, _ = lines[-1].split()
    assert (level, kind, media_type) == ("0", "ml_training_workspace", "application/zip")
    file = tmp_path / "model.zip"
    assert run("artifact", "download", id, "-u", service.url, "-o", str(file)).out == f"{file}  {size} bytes\n"
    assert "model.json" in zipfile.ZipFile(file).namelist()
    assert "is there already" in run("artifact", "download", id, "-u", service.url, "-o", str(file), exit_code=1).err
    folder = tmp_path / "unpacked"
    run("artifact", "download", id, "-u", service.url, "-o", str(folder), "--extract")
    assert (folder / "config.yml").is_file()
    said = run("artifact", "download", "01K00000000000000000000ZZZ", "-u", service.url, exit_code=1)
    assert "cannot be downloaded: 404" in said.err
    [prediction, *_] = run("artifact", "ls", "-u", service.url, "--type", "ml_prediction").out.split()
    said = run("artifact", "download", prediction, "-u", service.url, "-o", str(tmp_path / "x"), "-x", exit_code=1)
    assert said.err == "millrace: the content is no archive: leave --extract out\n"
