"""Members of an ensemble that are models of another service, which runs in a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Misconfigured
from domain.models import EnsembleRunner, RemoteModelRunner
from tests.processes import Serving, eventually, free_port, serving
from tests.service.api.jobs_service import JOBS
from tests.service.api.model_service import ARTIFACTS, Model, ensembled
from tests.service.api.test_ensembles import MEMBERS, Options, failure

MODULE = """
from tests.service.api.model_service import builder, functional

app = builder("sqlite:///model.db", functional()).build()
"""

HELD = """
import time
from pathlib import Path
from tests.service.api import model_service
from tests.service.api.model_service import FunctionalModelRunner, builder


def train(config, data, geo):
    while Path("hold").exists():
        time.sleep(0.01)
    return model_service.train(config, data, geo)


runner = FunctionalModelRunner(train, model_service.predict)
app = builder("sqlite:///model.db", runner).with_jobs(lease_seconds=2).build()
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("far")
    (folder / "main.py").write_text(MODULE)
    with serving("main.py", folder=folder) as running:
        yield running
        assert running.end() == 0


@asynccontextmanager
async def around(
    url: str, database_url: str, folder: Path, *, patience_seconds: float = 30, **config: Any
) -> AsyncIterator[Model]:
    """An ensemble of a model of the service at `url` and one of its own."""
    remote = RemoteModelRunner(url, config, poll_seconds=0.05, patience_seconds=patience_seconds)
    runner = EnsembleRunner({"far": remote, "high": MEMBERS["high"]}, "mean", min_members=1)
    async with ensembled(database_url, folder, runner, Options) as model:
        yield model


def asked(far: Serving, path: str, **more: Any) -> Any:
    return far.http.get(path, params=more).json()


async def test_another_service_trains_and_predicts(far: Serving, sqlite_url: str, tmp_path: Path) -> None:
    async with around(far.url, sqlite_url, tmp_path, **{"n-lags": 7}) as model:
        trained = await model.trained(members=["far"], prediction_periods=3)
        accepted = await model.predict(trained)
        await model.stage.reach(accepted["job_id"], "completed")
        here = (await model.artifact(accepted["artifact_id"]))["data"]["content"]
        [there] = asked(far, ARTIFACTS, level=1)
        content = asked(far, f"{ARTIFACTS}/{there['id']}")["data"]["content"]
        assert here["columns"] == content["columns"]
        assert [sorted(row[2:]) for row in here["data"]] == [sorted(row[2:]) for row in content["data"]]
        [config] = asked(far, "/api/v1/configs")
        assert (config["data"]["n-lags"], config["data"]["prediction_periods"]) == (7, 3)


async def test_a_job_that_fails_there_fails_here_for_the_same_reason(
    far: Serving, sqlite_url: str, tmp_path: Path
) -> None:
    async with around(far.url, sqlite_url, tmp_path, fail=True) as model:
        accepted = await model.train(await model.config())
        await model.stage.reach(accepted["job_id"], "completed")
        said = (await model.artifact(accepted["artifact_id"]))["data"]["metadata"]["ensemble"]["members"]
        assert [(member["name"], member["status"]) for member in said] == [("far", "failed"), ("high", "success")]
        assert "no target column" in await failure(model, said[0]["job_id"])


async def test_what_is_canceled_here_is_canceled_there(far: Serving, sqlite_url: str, tmp_path: Path) -> None:
    async with around(far.url, sqlite_url, tmp_path, endless=True) as model:
        accepted = await model.train(await model.config(members=["far"]))

        def running() -> list[Any]:
            return [job for job in asked(far, JOBS) if job["status"] == "running"]

        [there] = await asyncio.to_thread(eventually, running)
        await model.stage.post(f"{JOBS}/{accepted['job_id']}/$cancel")
        await model.stage.reach(accepted["job_id"], "canceled")
        await asyncio.to_thread(eventually, lambda: not running())
        # It is canceled by deleting it, which all services of this kind know.
        await asyncio.to_thread(eventually, lambda: asked(far, f"{JOBS}/{there['id']}")["status"] == 404)


@pytest.mark.parametrize(
    ("url", "said"), [("http://127.0.0.1:9", "ConnectError"), ("{far}/health", "/health/api/v1/configs gave 404")]
)
async def test_a_service_that_is_away_or_another_one_is_named(
    far: Serving, url: str, said: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with around(url.format(far=far.url), sqlite_url, tmp_path, patience_seconds=0.5) as model:
        accepted = await model.train(await model.config(members=["far"]))
        await failure(model, accepted["job_id"])
        graph = await model.stage.get(f"{JOBS}/{accepted['job_id']}")
        member = (await model.stage.get(f"/api/v1/graphs/{graph['graph_id']}"))["nodes"]["train-far"]
        assert said in member["error"]


async def test_a_service_that_starts_later_and_is_killed_while_it_trains_is_waited_for(
    sqlite_url: str, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "main.py").write_text(HELD)
    (there / "hold").touch()
    port = free_port()
    start = partial(serving, "main.py", folder=there, variables={"PORT": str(port)})
    async with around(f"http://127.0.0.1:{port}", sqlite_url, tmp_path) as model:
        accepted = await model.train(await model.config(members=["far"]))
        graph_id = (await model.stage.get(f"{JOBS}/{accepted['job_id']}"))["graph_id"]
        member = (await model.stage.get(f"/api/v1/graphs/{graph_id}"))["nodes"]["train-far"]["job_id"]

        async def told(what: str) -> None:
            while True:
                if any(what in line for line in await model.log(member)):
                    return
                await asyncio.sleep(0.05)

        await told("POST http://127.0.0.1:")
        with start() as first:
            await told(" does it as job ")
            await asyncio.to_thread(eventually, lambda: asked(first, JOBS)[0]["status"] == "running")
            first.process.kill()
            first.wait()
        await told(f"GET http://127.0.0.1:{port}{JOBS}/")
        (there / "hold").unlink()
        with start() as second:
            await model.stage.reach(accepted["job_id"], "completed")
            assert [job["status"] for job in asked(second, JOBS)] == ["completed"]
            assert second.end() == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("far:8000",), "give the address of a service"),
        (("http://user:secret@far",), "give the address of a service"),
        (("http://far", {}, -1.0), "poll_seconds"),
    ],
)
def test_what_is_no_address_is_refused(given: tuple[Any, ...], said: str) -> None:
    url, *rest = given
    with pytest.raises(Misconfigured, match=said):
        RemoteModelRunner(url, *rest[:1], **({"poll_seconds": rest[1]} if len(rest) > 1 else {}))
