"""`millrace chart`: a file becomes a picture, and what is wrong is one line."""

import json
import re
import shlex
from pathlib import Path

import httpx
import pytest

from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.cli.main import main
from service.settings import Settings
from tests.service.api.test_fuzz import in_a_thread

CSV = "month,cases,place\n2024-01,12,Oslo\n2024-02,19,Oslo\n2024-01,3,Bergen\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text(CSV)
    return tmp_path


def test_a_file_becomes_a_picture(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = shlex.split("chart data.csv --type line --x month --y cases --color place -o chart.svg")
    assert main(command) == 0
    picture = (folder / "chart.svg").read_text()
    assert len(re.findall(r'aria-roledescription="line mark"', picture)) == 2
    assert len(re.findall(r'aria-roledescription="point"', picture)) == 3
    assert capfd.readouterr().out == f"chart.svg  {len(picture.encode())} bytes\n"
    assert main(command) == 1
    assert main([*command, "--force"]) == 0


def test_a_json_file_is_drawn_as_it_suits(folder: Path) -> None:
    frame = {"columns": ["place", "cases"], "data": [["Oslo", 3], ["Bergen", 4]]}
    (folder / "frame.json").write_text(json.dumps(frame))
    (folder / "rows.json").write_text(json.dumps([{"place": "Oslo", "cases": 3}, {"place": "Bergen", "cases": 4}]))
    for name in ("frame", "rows"):
        assert main(["chart", f"{name}.json", "-o", f"{name}_spec.json"]) == 0
        spec = json.loads((folder / f"{name}_spec.json").read_text())
        assert (spec["mark"]["type"], spec["data"]["values"][0]) == ("bar", {"place": "Oslo", "cases": 3})
    assert main(["chart", "frame_spec.json", "-o", "frame.png"]) == 0
    assert (folder / "frame.png").read_bytes().startswith(b"\x89PNG")


def test_a_forecast_is_drawn_with_its_history(folder: Path) -> None:
    (folder / "forecast.csv").write_text("time_period,location,sample_0,sample_1\n2024-03,Oslo,1,3\n")
    (folder / "history.csv").write_text("time_period,location,cases\n2024-02,Oslo,2\n")
    assert main(shlex.split("chart forecast.csv --history history.csv -o fan.json")) == 0
    values = json.loads((folder / "fan.json").read_text())["data"]["values"]
    assert [row.get("median", row.get("observed")) for row in values] == [2.0, 2]


@pytest.mark.parametrize(
    "command, said",
    [
        ("chart data.csv -o chart.pdf", "Unsupported format: pdf"),
        ("chart nothing.csv -o chart.svg", "nothing.csv is no file"),
        ("chart data.csv --x nope -o chart.svg", "Field 'nope' not found in data"),
        ("chart data.csv --type pie -o chart.svg", "Unsupported chart type: pie"),
        ("chart data.csv --geo places.json -o chart.svg", "places.json is no file"),
        ("chart torn.csv -o chart.svg", "torn.csv cannot be read"),
        ("chart torn.json -o chart.svg", "torn.json cannot be read"),
        ("chart hostile.json -o chart.svg", '"data.url" is refused'),
        ("chart data.csv -o no/such/folder.json", "cannot be written"),
        ("chart x --url http://127.0.0.1:1 -o chart.svg", "does not answer"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str], command: str, said: str) -> None:
    (folder / "torn.csv").write_text("a,b\n1\n")
    (folder / "torn.json").write_text("{")
    (folder / "hostile.json").write_text(json.dumps({"mark": "bar", "data": {"url": "file:///etc/passwd"}}))
    assert main(shlex.split(command)) != 0
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (folder / "chart.svg").exists()


def test_an_artifact_of_a_running_service_is_drawn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    builder = ServiceBuilder(info=ServiceInfo(id="charts", display_name="Charts"))
    made = builder.with_database(f"sqlite:///{folder / 'charts.db'}").with_artifacts()
    frame = {"columns": ["place", "cases"], "data": [["Oslo", 3], ["Bergen", 4]]}
    data = {"content": frame, "content_type": "application/vnd.chapkit.dataframe+json"}
    with in_a_thread(made.build(Settings(storage_folder=folder / "storage"))) as url:
        id = httpx.post(f"{url}/api/v1/artifacts", json={"data": data}).json()["id"]
        assert main(["chart", id, "--url", url, "--title", "Cases", "-o", "chart.svg"]) == 0
        picture = (folder / "chart.svg").read_text()
        assert len(re.findall(r'aria-roledescription="bar"', picture)) == 2
        assert ">Cases</text>" in picture
        assert main(["chart", id, "--url", url, "--type", "pie", "-o", "pie.svg"]) == 1
    assert "Unsupported chart type: pie" in capfd.readouterr().err
