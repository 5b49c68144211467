"""`millrace init`: what it makes runs, and passes its own tests."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.processes import ROOT, serving
from tests.service.cli.conftest import Command


@pytest.mark.parametrize("template", ["crud", "fn", "shell"])
def test_what_is_made_passes_its_own_tests_and_runs(run: Command, tmp_path: Path, template: str) -> None:
    said = run("init", "rain-model", "--template", template, "--path", str(tmp_path), "--author", 'A "B" C').out
    folder = tmp_path / "rain-model"
    assert said.splitlines() == [f"{folder} is made. To start it:", f"  cd {folder}", "  millrace serve main.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=folder,
        env={**environment, "PYTHONPATH": f"{ROOT}:{folder}", "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with serving("main.py", folder=folder) as service:
        info = httpx.get(f"{service.url}/api/v1/info").json()
        assert (info["id"], info["display_name"]) == ("rain-model", "Rain model")
        assert httpx.get(f"{service.url}/health").status_code == 200
        assert service.end() == 0


def test_nothing_is_overwritten(run: Command, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert "is there already" in run("init", "there", "--path", str(tmp_path), exit_code=1).err
    assert "'No Name' is no name" in run("init", "No Name", exit_code=2).err
    assert list((tmp_path / "there").iterdir()) == []
