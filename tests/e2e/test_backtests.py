"""A backtest of five models at eight moments, while what works on it is killed again and again."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Serving, eventually, launched, millrace, serving

API = "/api/v1"
MODELS, SPLITS, KILLS = 5, 8, 3

MAIN = """
import time
from domain.frames import DataFrame
from domain.models import FunctionalModelRunner
from tests.service.api.model_service import Options, builder


def train(config, data, geo):
    time.sleep(0.1)
    return {"mean": sum(data.get_column("disease_cases")) / len(data) + config.extra["shift"]}


def predict(config, model, historic, future, geo):
    rows = [[*row, model["mean"] - 1, model["mean"] + 1] for row in future.select(["time_period", "location"]).data]
    return DataFrame(["time_period", "location", "sample_0", "sample_1"], rows)


# Whoever is killed at random may be killed with the same job again and again, which would make it look like poison.
app = builder(None, FunctionalModelRunner(train, predict)).with_jobs(lease_seconds=2, max_losses=100).build()
"""


def get(service: Serving, path: str, **parameters: Any) -> Any:
    reply = service.http.get(f"{API}/{path}", params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def post(service: Serving, path: str, body: Any, status: int) -> Any:
    reply = service.http.post(f"{API}/{path}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def begun(service: Serving) -> Any:
    """A backtest; the reply."""
    configs = [
        post(service, "configs", {"name": f"shift {shift}", "data": {"shift": shift}}, 201)["id"]
        for shift in range(MODELS)
    ]
    rows = [[f"{2020 + month // 12}-{month % 12 + 1:02}", "here", float(month % 7)] for month in range(40)]
    data = {"columns": ["time_period", "location", "disease_cases"], "data": rows}
    body = {"config_ids": configs, "data": data, "horizon": 2, "splits": SPLITS}
    return post(service, "ml/$backtest", body, 202)


def reach(service: Serving, accepted: Any, goal: int) -> None:
    """Wait until so many of its trials are completed."""
    eventually(lambda: get(service, f"graphs/{accepted['graph_id']}")["counts"].get("completed", 0) >= goal)


def finished(service: Serving, accepted: Any) -> Any:
    """The report, once it is there."""
    eventually(lambda: get(service, f"jobs/{accepted['job_id']}")["finished_at"], within=90)
    return get(service, f"artifacts/{accepted['artifact_id']}")["data"]["content"]


def check_every_split_was_evaluated_once(service: Serving, accepted: Any, undisturbed: Any) -> None:
    report = finished(service, accepted)
    graph = get(service, f"graphs/{accepted['graph_id']}")
    assert graph["counts"] == {"completed": MODELS * SPLITS + 1}, graph["counts"]
    lost = 0
    for node in graph["nodes"].values():
        events = Counter(event["type"] for event in get(service, f"jobs/{node['job_id']}/$events"))
        assert events["completed"] == 1
        lost += events["lost"]
    assert lost > 0, "nobody was killed in the middle of anything"
    tree = get(service, f"artifacts/{accepted['artifact_id']}/$tree")
    tried = Counter((one["data"]["metadata"]["model"], one["data"]["metadata"]["cutoff"]) for one in tree["children"])
    assert len(tried) == MODELS * SPLITS
    assert set(tried.values()) == {1}
    made = Counter(artifact["data"]["type"] for artifact in get(service, "artifacts", limit=500)["items"])
    assert made == {"ml_backtest_prediction": MODELS * SPLITS, "ml_backtest": 1}
    assert report == undisturbed
    # What is predicted is two numbers around the mean of what was known, so its errors are known, too.
    for shift in range(MODELS):
        assert report["overall"][f"shift {shift}"]["mae"] == pytest.approx(expected(report["cutoffs"], shift))


def expected(cutoffs: list[str], shift: int) -> float:
    errors = []
    for cutoff in cutoffs:
        year, month = map(int, cutoff.split("-"))
        last = (year - 2020) * 12 + month - 1
        mean = sum(float(index % 7) for index in range(last + 1)) / (last + 1) + shift
        errors += [abs((last + step) % 7 - mean) for step in (1, 2)]
    return sum(errors) / len(errors)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the module of the models is."""
    (tmp_path / "main.py").write_text(MAIN)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of the same backtest when nobody is killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "main.py").write_text(MAIN)
    with serving("main.py", folder=folder) as service:
        report = finished(service, begun(service))
        assert service.end() == 0
    return report


def test_a_service_that_is_killed_evaluates_every_split_once(folder: Path, undisturbed: Any) -> None:
    chance = random.Random(1)
    accepted: Any = None
    for kill in range(KILLS + 1):
        with serving("main.py", folder=folder) as service:
            accepted = accepted or begun(service)
            if kill == KILLS:
                check_every_split_was_evaluated_once(service, accepted, undisturbed)
                assert service.end() == 0
                return
            goal = (kill + 1) * 10 + chance.randrange(5)
            reach(service, accepted, goal)
            service.process.kill()
            service.wait()


def test_workers_that_are_killed_evaluate_every_split_once(
    folder: Path, undisturbed: Any, postgres_url: str, redis_url: str
) -> None:
    variables = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url, "MILLRACE_STORAGE": str(folder / "storage")}
    worker = partial(launched, "main.py", folder=folder, variables=variables, command="worker")
    chance = random.Random(2)
    with serving("main.py", folder=folder, variables=variables) as service, crew(worker) as workers:
        accepted = begun(service)
        for kill in range(KILLS):
            goal = (kill + 1) * 10 + chance.randrange(5)
            reach(service, accepted, goal)
            workers(chance.randrange(2))
        check_every_split_was_evaluated_once(service, accepted, undisturbed)
        assert service.end() == 0
    checked = millrace("storage", "fsck", "main.py", folder=folder, variables=variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@contextmanager
def crew(worker: Callable[[], Any]) -> Iterator[Callable[[int], None]]:
    """Two workers; what is given kills one of them and starts another in its place."""
    with ExitStack() as stack:
        hands = [stack.enter_context(worker()) for _ in range(2)]

        def replace(index: int) -> None:
            hands[index].process.kill()
            hands[index].wait()
            hands[index] = stack.enter_context(worker())

        yield replace
