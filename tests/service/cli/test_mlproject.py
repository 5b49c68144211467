"""`millrace mlproject run`: a directory is served as it is."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT
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
    command = [sys.executable, "-m", "service.cli", "mlproject", "run", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        found = next(line for line in process.stdout if "Uvicorn running on" in line)
        url = re.search(r"http://[\d.:]+", found)
        assert url is not None
        said = run("test", "--url", url[0], "--rows", "30", "--predict-rows", "15", "--verbose")
        assert "met mean_of_rain (mean-of-rain 1.0.0)" in said.out
        assert said.out.endswith("ALL TESTS PASSED\n")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode in {0, 130}
    # Nothing was written into it.
    assert sorted(file.name for file in folder.iterdir()) == ["MLproject", "predict.py", "train.py"]


def test_what_is_no_project_is_one_line(run: Command, tmp_path: Path) -> None:
    assert "there is none of MLproject, MLproject.yaml" in run("mlproject", "run", str(tmp_path), exit_code=2).err
    (tmp_path / "MLproject.yml").write_text("a: [")
    assert "cannot be read" in run("mlproject", "run", str(tmp_path), exit_code=2).err
    assert "use NAME=FILE" in run("mlproject", "run", str(tmp_path), "--param", "x", exit_code=2).err
