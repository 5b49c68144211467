"""The example with tasks, a graph and a schedule does what its README says."""

from pathlib import Path
from typing import Any

from tests.e2e.test_stories import carried_out, things_to_try
from tests.processes import ROOT, Serving, eventually, serving

EXAMPLE = str(ROOT / "examples" / "rainfall" / "main.py")


def get(service: Serving, path: str) -> Any:
    reply = service.http.get(f"/api/v1/{path}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def graphs_in(service: Serving, status: str) -> list[Any]:
    graphs = [get(service, f"graphs/{graph['id']}") for graph in get(service, "graphs")]
    return [graph for graph in graphs if graph["status"] == status]


def test_a_report_is_made_in_the_background_and_making_it_again_replaces_it(tmp_path: Path, database_url: str) -> None:
    with serving(EXAMPLE, folder=tmp_path, variables={"DATABASE_URL": database_url}) as service:
        _, _, run = things_to_try(service)
        for count in (1, 2):
            assert carried_out(run).status_code == 202
            [graph, *_] = eventually(
                lambda count=count: len(found := graphs_in(service, "completed")) == count and found
            )
            assert graph["counts"] == {"completed": 5}
            # It does not answer at the first attempt.
            assert graph["nodes"]["lake"]["attempt"] == 2
            [report] = get(service, "reports")
            assert report["low_mm"] < report["total_mm"] < report["high_mm"]
        assert service.end() == 0


def test_the_monthly_report_is_planned_once_however_often_the_service_starts(tmp_path: Path) -> None:
    for _ in range(2):
        with serving(EXAMPLE, folder=tmp_path) as service:
            [schedule] = get(service, "schedules")
            assert (schedule["cron"], schedule["task"], schedule["is_paused"]) == ("0 6 1 * *", "report", False)
            [moment] = get(service, f"schedules/{schedule['id']}/$preview?count=1")
            assert "-01T06:00:00+0" in moment["local"]
            assert service.end() == 0
