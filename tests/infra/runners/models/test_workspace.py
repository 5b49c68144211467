"""The directory of a script: what is copied into it, what it finds there, and archives that mean well or do not."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.errors import Invalid
from domain.frames import DataFrame, sample_geo
from infra.runners.models.workspace import (
    adapted,
    copy_project,
    pack_workspace,
    unpack_workspace,
    write_config,
    write_frame,
    write_geo,
)

CONFIG = {"prediction_periods": 3, "additional_continuous_covariates": [], "n-lags": 2, "label": "é"}


def test_what_can_be_made_again_is_not_copied(tmp_path: Path) -> None:
    project, workspace = tmp_path / "project", tmp_path / "workspace"
    kept = ["train.R", "src/model.py", "data/codes.csv"]
    left = [".git/HEAD", ".venv/bin/python", "src/__pycache__/m.pyc", "old.pyc", "app.db", "app.db-wal", "build/x"]
    for name in (*kept, *left, "scratch/run/file"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    copy_project(project, workspace, without=project / "scratch")
    found = sorted(str(file.relative_to(workspace)) for file in workspace.rglob("*") if file.is_file())
    assert found == sorted(kept)


@pytest.mark.parametrize(
    "config_format, expected",
    [
        ("flat", CONFIG),
        (
            "chap_core",
            {
                "prediction_periods": 3,
                "additional_continuous_covariates": [],
                "user_option_values": {"n-lags": 2, "label": "é"},
            },
        ),
    ],
)
def test_the_configuration_is_written_in_either_format(
    tmp_path: Path, config_format: str, expected: dict[str, Any]
) -> None:
    write_config(tmp_path, CONFIG, config_format)
    text = (tmp_path / "config.yml").read_text()
    assert yaml.safe_load(text) == expected
    keys = [line.split(":")[0] for line in text.splitlines() if not line.startswith((" ", "-"))]
    assert keys == sorted(keys)


def test_without_options_there_is_no_place_for_them(tmp_path: Path) -> None:
    write_config(tmp_path, {"prediction_periods": 3}, "chap_core")
    assert yaml.safe_load((tmp_path / "config.yml").read_text()) == {"prediction_periods": 3}


def test_geometries_are_there_only_if_they_were_sent(tmp_path: Path) -> None:
    assert write_geo(tmp_path, sample_geo(2)) == "geo.json"
    assert len(json.loads((tmp_path / "geo.json").read_text())["features"]) == 2
    assert write_geo(tmp_path, None) == ""
    assert not (tmp_path / "geo.json").exists()


def test_adapters_add_columns_under_other_names(tmp_path: Path) -> None:
    frame = DataFrame(["time_period", "rainfall"], [["2024-03", 1.5], ["2024-W09", 2.5], ["2024", 0.0]])
    adapters = {"rain": "rainfall", "year": "year", "month": "month", "week": "week", "rainfall": "rainfall"}
    found = adapted(frame, adapters)
    assert found.select(["rain", "year", "month", "week", "rainfall"]).data == [
        [1.5, 2024, 3, None, 1.5],
        [2.5, 2024, None, 9, 2.5],
        [0.0, 2024, None, None, 0.0],
    ]
    with pytest.raises(Invalid, match='The adapter of "t" needs the column "temperature"; there are: time_period'):
        adapted(frame, {"t": "temperature"})
    assert write_frame(tmp_path, "data.csv", frame, {"rain": "rainfall"}) == "data.csv"
    assert (tmp_path / "data.csv").read_text().splitlines()[0] == "time_period,rainfall,rain"


def test_an_archive_holds_everything_and_the_same_makes_the_same(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "deep").mkdir(parents=True)
    (workspace / "deep" / "run.sh").write_text("echo")
    (workspace / "deep" / "run.sh").chmod(0o755)
    (workspace / "outside").symlink_to("/etc/passwd")
    file = pack_workspace(workspace, tmp_path, "a.zip", is_signed=True)
    os.utime(workspace / "deep" / "run.sh", (0, 0))
    pack_workspace(workspace, tmp_path, "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert (file.size, file.is_signed) == ((tmp_path / "a.zip").stat().st_size, True)
    unpack_workspace(tmp_path / "a.zip", tmp_path / "again")
    again = tmp_path / "again"
    assert [str(path.relative_to(again)) for path in again.rglob("*") if path.is_file()] == ["deep/run.sh"]
    assert os.access(tmp_path / "again" / "deep" / "run.sh", os.X_OK)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("fine", "x")
        archive.writestr(name, "x")
    with pytest.raises(Invalid, match="leads out of it"):
        unpack_workspace(tmp_path / "bad.zip", tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_an_archive_that_is_none_or_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none.zip").write_bytes(b"PK no")
    with pytest.raises(Invalid, match="cannot be unpacked"):
        unpack_workspace(tmp_path / "none.zip", tmp_path / "workspace")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 1_000_000)
    monkeypatch.setattr("infra.runners.models.workspace.MOST_UNPACKED_BYTES", 999_999)
    with pytest.raises(Invalid, match="more than"):
        unpack_workspace(tmp_path / "bomb.zip", tmp_path / "workspace")
