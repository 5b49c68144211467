"""Members of an ensemble at addresses where something answers that is not quite what was expected."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from domain.models import EnsembleRunner, RemoteModelRunner
from tests.service.api.jobs_service import JOBS
from tests.service.api.model_service import Model, ensembled
from tests.service.api.test_ensembles import GRAPHS, Options

CONFIG, TRAIN, PREDICT, JOB, ARTIFACT = (
    f"/api/v1/{path}" for path in ("configs", "ml/$train", "ml/$predict", "jobs/J", "artifacts/A")
)
SECRET = {"X-API-Key": "of nobody else"}
KEYS = ["time_period", "location"]
Reply = tuple[int, dict[str, str], bytes]


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


USUAL = {
    CONFIG: reply({"id": "C"}, 201),
    TRAIN: reply({"job_id": "J", "artifact_id": "A"}, 202),
    PREDICT: reply({"job_id": "J", "artifact_id": "A"}, 202),
    JOB: reply({"status": "completed"}),
}


class Strange:
    """A server that answers with `replies` by path, and remembers what it was sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: dict[str, Reply] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []


@contextmanager
def strange() -> Iterator[Strange]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            served.seen.append((f"{self.command} {self.path}", dict(self.headers)))
            status, headers, body = served.replies.get(self.path, reply({"detail": "unknown"}, 404))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that the library calls

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Strange(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def there() -> Iterator[Strange]:
    with strange() as served:
        yield served


@pytest.fixture(scope="module")
async def model(there: Strange, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    folder: Path = tmp_path_factory.mktemp("strange")
    remote = RemoteModelRunner(there.url, headers=SECRET, poll_seconds=0.02, patience_seconds=0.2)
    async with ensembled(
        f"sqlite:///{folder}/model.db", folder, EnsembleRunner({"far": remote}, "mean"), Options
    ) as it:
        yield it


async def member_error(model: Model, accepted: dict[str, Any], node: str) -> str:
    job = await model.stage.reach(accepted["job_id"], "failed")
    assert "0 of 1 members have succeeded and 1 must; failed: far (job " in job["error"]
    graph = await model.stage.get(f"{GRAPHS}/{job['graph_id']}")
    return str(graph["nodes"][node]["error"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({CONFIG: reply(b"<html>Welcome</html>")}, "gave no JSON"),
        ({CONFIG: reply(b"\xff\xfe\x00")}, "gave no JSON"),
        ({CONFIG: reply(b"gzip?", **{"Content-Encoding": "gzip"})}, "DecodingError"),
        ({CONFIG: reply(["C"])}, 'gave no object: ["C"]'),
        ({CONFIG: reply({"name": "c"})}, 'gave no "id": {"name":"c"}'),
        ({CONFIG: reply({"detail": "who are you"}, 401)}, 'gave 401: {"detail": "who are you"}'),
        ({CONFIG: reply({"detail": "so many"}, 429)}, "/api/v1/configs, for 0.2 s: gave 429"),
        ({TRAIN: reply({"job_id": 7}, 202)}, 'gave no "job_id": {"job_id":7}'),
        ({JOB: reply({"id": "J"})}, 'gave no "status"'),
        ({JOB: reply(b"gone", 404)}, "/api/v1/jobs/J gave 404: gone"),
        ({JOB: reply(b"wait", 502)}, "/api/v1/jobs/J, for 0.2 s: gave 502: wait"),
        ({JOB: reply({"status": "failed", "error": "no rain"})}, "is failed: no rain"),
        ({JOB: reply({"status": "canceled"})}, "is canceled: None"),
    ],
)
async def test_a_reply_to_a_training_that_makes_no_sense_is_an_error_that_says_so(
    model: Model, there: Strange, changed: dict[str, Reply], said: str
) -> None:
    there.replies = USUAL | changed
    assert said in await member_error(model, await model.train(await model.config()), "train-far")


async def test_redirects_are_not_followed_so_that_nobody_else_gets_the_headers(model: Model, there: Strange) -> None:
    with strange() as thief:
        there.replies = USUAL | {CONFIG: reply(b"", 307, Location=f"{thief.url}{CONFIG}")}
        error = await member_error(model, await model.train(await model.config()), "train-far")
        assert f"gave 307 and leads to {thief.url}{CONFIG}: it is not followed" in error
        assert SECRET["X-API-Key"] not in error
        assert thief.seen == []


async def test_every_request_has_the_headers(model: Model, there: Strange) -> None:
    there.replies = dict(USUAL)
    there.seen.clear()
    await model.trained()
    assert [what for what, _ in there.seen] == [f"POST {CONFIG}", f"POST {TRAIN}", f"GET {JOB}"]
    assert {headers["X-API-Key"] for _, headers in there.seen} == {SECRET["X-API-Key"]}


def content(table: Any) -> Reply:
    return reply({"id": "A", "data": {"type": "ml_prediction", "content": table}})


def table(future: Any, *columns: str, skip: int = 0, cell: Any = 1.5) -> dict[str, Any]:
    """A row for each of those that are asked for but the first few, with the same in all of these columns."""
    where = [future["columns"].index(key) for key in KEYS]
    rows = [[*(row[index] for index in where), *(cell for _ in columns)] for row in future["data"][skip:]]
    return {"columns": [*KEYS, *columns], "data": rows}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda future: None, "it has no table"),
        (lambda future: "a,b", "it has no table"),
        (lambda future: {"columns": "a"}, "Expected `array`"),
        (lambda future: {"columns": ["a", "b"], "data": [[1]]}, "row 0"),
        (lambda future: {"columns": [*KEYS, "sample_0"], "data": []}, "it has no row for"),
        (lambda future: table(future, "sample_0", skip=1), "it has no row for"),
        (lambda future: table(future, "sample_0", "quantile_0.5"), "columns of several kinds"),
        (lambda future: table(future, "sample_0", "model"), 'columns of several kinds: "sample_0" and "model"'),
        (lambda future: table(future), "besides time_period and location it needs"),
        (lambda future: {"columns": ["sample_0"], "data": [[1]]}, 'its content has no column "time_period"'),
        (lambda future: table(future, "sample_0", cell="many"), "many"),
    ],
)
async def test_what_is_no_forecast_is_an_error_that_says_why(
    model: Model, there: Strange, made: Any, said: str
) -> None:
    there.replies = dict(USUAL)
    trained = await model.trained()
    future = (await model.sample("predict"))["future"]
    there.replies[ARTIFACT] = content(made(future))
    error = await member_error(model, await model.predict(trained), "predict-far")
    assert f"artifact A of {there.url} holds no forecast: " in error
    assert said in error


async def test_what_only_repeats_the_request_and_was_not_asked_for_is_left_out(model: Model, there: Strange) -> None:
    there.replies = dict(USUAL)
    trained = await model.trained()
    future = (await model.sample("predict", num_features=1))["future"]
    echoed = [column for column in future["columns"] if column not in {*KEYS, "disease_cases"}]
    assert echoed
    made = table(future, *echoed, "sample_0", "sample_1")
    more = ["2099-01", "nowhere", *(0.0 for _ in made["columns"][2:])]
    fields = [{"name": name, "type": "string" if name in KEYS else "number"} for name in made["columns"]]
    fields = [{**field, "unit": "cases"} if field["name"].startswith("sample") else field for field in fields]
    there.replies[ARTIFACT] = content(
        {"columns": made["columns"], "data": [more, *reversed(made["data"])], "schema": {"fields": fields}}
    )
    accepted = await model.predict(trained, future=future)
    await model.stage.reach(accepted["job_id"], "completed")
    forecast = (await model.artifact(accepted["artifact_id"]))["data"]["content"]
    assert (forecast["columns"], forecast["data"]) == tuple(table(future, "sample_0", "sample_1").values())
    assert [field.get("unit") for field in forecast["schema"]["fields"]] == [None, None, "cases", "cases"]
    member = next(id for id in (await model.artifact(accepted["artifact_id"]))["parents"] if id != trained)
    assert (await model.artifact(member))["data"]["content"]["columns"] == [*KEYS, "sample_0", "sample_1"]


async def test_a_horizon_that_is_shorter_than_the_request_needs_only_its_rows(model: Model, there: Strange) -> None:
    there.replies = dict(USUAL)
    trained = await model.trained()
    future = (await model.sample("predict"))["future"]
    first = min(row[future["columns"].index("time_period")] for row in future["data"])
    made = table(future, "sample_0")
    made["data"] = [row for row in made["data"] if row[0] == first]
    there.replies[ARTIFACT] = content(made)
    accepted = await model.predict(trained, run_info={"prediction_periods": 1})
    await model.stage.reach(accepted["job_id"], "completed")
    assert (await model.artifact(accepted["artifact_id"]))["data"]["content"]["data"] == made["data"]


@pytest.mark.parametrize("last", [reply({"status": "running"}), reply(b"busy", 503)])
async def test_a_job_there_is_canceled_with_the_one_that_waits_for_it_whatever_is_answered(
    there: Strange, sqlite_url: str, tmp_path: Path, last: Reply
) -> None:
    there.replies = USUAL | {JOB: last}
    there.seen.clear()
    remote = RemoteModelRunner(there.url, poll_seconds=0.02)
    async with ensembled(sqlite_url, tmp_path, EnsembleRunner({"far": remote}, "mean"), Options) as model:
        accepted = await model.train(await model.config())
        graph_id = (await model.stage.get(f"{JOBS}/{accepted['job_id']}"))["graph_id"]
        member = (await model.stage.get(f"{GRAPHS}/{graph_id}"))["nodes"]["train-far"]["job_id"]
        while f"GET {JOB}" not in {what for what, _ in there.seen}:
            await model.stage.get(f"{JOBS}/{member}")
        await model.stage.post(f"{JOBS}/{accepted['job_id']}/$cancel", None)
        await model.stage.reach(member, "canceled")
    assert there.seen[-1][0] == f"DELETE {JOB}"
