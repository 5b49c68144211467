"""`millrace mlproject run`: a directory is served as it is."""

import shutil
import signal
import sys
from pathlib import Path

from tests.processes import launched
from tests.service.api.model_service import SCRIPTS
from tests.service.cli.conftest import Command

PROJECT = """
name: mean_of_rain
user_options:
  window: {type: integer, default: 3}
adapters: {rain: rainfall, month: month}
meta_data: {config_format: flat, author: A}
entry_points:
  train: {command: "PYTHON train.py {train_data} {polygons}"}
  predict: {command: "PYTHON predict.py {historic_data} {future_data} {out_file}"}
"""


def test_a_directory_is_served_and_works(tmp_path: Path, run: Command) -> None:
    folder = tmp_path / "project"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "MLproject").write_text(PROJECT.replace("PYTHON", sys.executable))
    with launched("run", str(folder), "--port", "0", folder=tmp_path, command="mlproject") as service:
        service.wait_until_started()
        said = run("test", "--url", service.url, "--rows", "30", "--predict-rows", "15", "--verbose")
        assert "met mean_of_rain (mean-of-rain 1.0.0)" in said.out
        assert said.out.endswith("ALL TESTS PASSED\n")
        assert service.end(signal.SIGINT) in {0, 130}
    # Nothing was written into it.
    assert sorted(file.name for file in folder.iterdir()) == ["MLproject", "predict.py", "train.py"]


def test_what_is_no_project_is_one_line(run: Command, tmp_path: Path) -> None:
    assert "there is none of MLproject, MLproject.yaml" in run("mlproject", "run", str(tmp_path), exit_code=2).err
    (tmp_path / "MLproject.yml").write_text("a: [")
    assert "cannot be read" in run("mlproject", "run", str(tmp_path), exit_code=2).err
    assert "use NAME=FILE" in run("mlproject", "run", str(tmp_path), "--param", "x", exit_code=2).err
