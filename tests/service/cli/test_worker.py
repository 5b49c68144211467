"""`millrace worker` as a process: what it says, what it does, and how it leaves."""

import asyncio
import os
import signal
import socket
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest

from domain.jobs import JobState
from domain.workers import WorkerOptions
from service.settings import Settings
from service.worker import work
from tests.infra.queue.wakes import until as until_true
from tests.processes import Serving, eventually, free_port, launched, serving
from tests.service.api import jobs_service
from tests.service.cli.conftest import Command
from tests.service.cli.jobs_module import ask, events, find, module, submit
from tests.service.cli.modules import bare

NOTHING = "from domain.tasks import task\n\n\n@task()\nasync def nothing() -> None: ...\n"
CACHING = """
from domain.tasks import task

made = 0


async def make() -> int:
    global made
    made += 1
    return made


@task()
async def ask() -> None:
    found = []
    for _ in range(2):
        found += [await app.cache.get_or_load("made", make, returns=int, tags=["mine"], ttl_seconds=60) for _ in "ab"]
        await app.cache.invalidate("mine")
    assert found == [1, 1, 2, 2], found
"""
WAITING = ".with_database(connect_timeout_seconds={}).with_tasks(nothing)"
worker = partial(launched, command="worker")


@pytest.fixture
def folder(run: Command, tmp_path: Path) -> Path:
    """Where the module with tasks is; commands of this process run there too."""
    module(tmp_path)
    return tmp_path


def until(id: str, state: JobState) -> None:
    """Wait until a job is in this state."""
    eventually(lambda: find(id).state == state)


def started(process: Serving) -> str:
    """The line by which a worker says that it works."""
    process.wait_for("; data ")
    return process.output


def test_a_worker_says_what_it_does_and_does_it(folder: Path) -> None:
    id = submit("add", value=41)
    with worker(folder=folder) as process:
        said = started(process)
        assert said.startswith("worker of Bare: 100 jobs at a time of default, heavy, looking every 1 s; data ")
        assert said.endswith(f"{folder}/var/bare.db\n")
        until(id, JobState.COMPLETED)
        assert process.end() == 0
        assert "Traceback" not in process.output
    # It has taken its leave.
    assert ask("SELECT id FROM millrace_workers") == []


def test_a_worker_takes_jobs_of_the_queues_it_is_told(folder: Path) -> None:
    ids = [submit("add", options={"queue": queue}) for queue in ("one", "two", "three")]
    with worker("--queues", "two, three,two", "--concurrency", "3", folder=folder) as process:
        assert "3 jobs at a time of two, three, " in started(process)
        until(ids[2], JobState.COMPLETED)
        until(ids[1], JobState.COMPLETED)
        assert process.end() == 0
    assert find(ids[0]).state == JobState.QUEUED


def test_a_worker_shows_its_metrics_at_a_port_of_its_own(folder: Path) -> None:
    file = folder / "main.py"
    port = str(free_port())
    with worker("--metrics-port", port, folder=folder) as process:
        assert process.wait() == 2
        assert f"MILLRACE_METRICS_PORT={port}: there are no metrics; call with_monitoring()" in process.output
    file.write_text(file.read_text().replace(".with_tasks(", ".with_monitoring().with_tasks("))
    id = submit("add", value=41)
    with worker("--metrics-port", port, folder=folder) as process:
        started(process)
        until(id, JobState.COMPLETED)
        finished = 'millrace_jobs_finished_total{kind="add",state="completed"} 1.0'
        eventually(lambda: finished in httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        assert process.end() == 0


def test_a_task_may_use_the_cache_of_its_service(run: Command, tmp_path: Path) -> None:
    bare(tmp_path, ".with_database().with_cache().with_tasks(ask)", before=CACHING)
    id = submit("ask")
    with worker(folder=tmp_path) as process:
        until(id, JobState.COMPLETED)
        assert process.end() == 0


def test_a_task_in_a_process_runs_and_ends_with_its_worker(folder: Path) -> None:
    id = submit("grind")
    with worker(folder=folder) as process:
        progress = eventually(lambda: find(id).progress)
        pid = int(msgspec.json.decode(progress or "")["message"])
        assert process.end() == 0
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert find(id)[:2] == (JobState.QUEUED, 0)


def test_what_runs_at_the_end_is_handed_back(folder: Path) -> None:
    id = submit("hold")
    with worker(folder=folder) as process:
        until(id, JobState.RUNNING)
        assert process.end() == 0
        assert "Traceback" not in process.output
    assert find(id)[:4] == (JobState.QUEUED, 0, 0, None)
    assert events(id) == ["submitted", "running", "released"]


def test_a_second_signal_does_not_wait_for_the_time_of_grace(run: Command, tmp_path: Path) -> None:
    module(tmp_path, grace_seconds=3600)
    id = submit("hold")
    with worker(folder=tmp_path) as process:
        until(id, JobState.RUNNING)
        process.process.send_signal(signal.SIGTERM)
        eventually(lambda: no_signal_is_pending(process.process.pid))
        assert process.process.poll() is None
        assert find(id).state == JobState.RUNNING
        assert process.end(signal.SIGINT) == 0
    assert find(id).state == JobState.QUEUED


def test_a_third_signal_ends_it_on_the_spot(folder: Path) -> None:
    id = submit("cling")
    with worker(folder=folder) as process:
        until(id, JobState.RUNNING)
        for _ in range(2):
            process.process.send_signal(signal.SIGTERM)
            # Signals of one kind that come at once are one.
            eventually(lambda: no_signal_is_pending(process.process.pid))
        assert process.end() == 130
    # It could not be handed back: its lease runs out.
    assert find(id).state == JobState.RUNNING


def no_signal_is_pending(pid: int) -> bool:
    """Whether a process has taken all signals it was sent."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = [line.split()[1] for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return all(int(mask, 16) == 0 for mask in pending)


def test_a_worker_that_waits_for_its_database_can_be_ended(tmp_path: Path) -> None:
    bare(tmp_path, WAITING.format(60), before=NOTHING)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = {"DATABASE_URL": f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/x"}
        with worker(folder=tmp_path, variables=variables) as process, silent.accept()[0]:
            assert process.end() == 0
            assert process.output == ""


async def test_a_heartbeat_is_felt_while_the_worker_lives(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.HEARTBEAT_SECONDS", 0.01)
    app, heart = jobs_service.builder(sqlite_url).build(Settings()), tmp_path / "heart"
    started: list[WorkerOptions] = []
    working = asyncio.create_task(
        work(app, queues=("slow",), concurrency=1, on_started=started.append, heartbeat=heart)
    )
    await until_true(heart.exists)
    # Older than it could be.
    os.utime(heart, (0, 0))
    await until_true(lambda: heart.stat().st_mtime > 0)
    assert [(options.queues, options.concurrency, options.processes) for options in started] == [(("slow",), 1, 1)]
    os.kill(os.getpid(), signal.SIGTERM)
    await working
    assert not heart.exists()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


def test_a_heartbeat_that_cannot_be_is_one_line(run: Command, tmp_path: Path) -> None:
    module(tmp_path)
    said = run("worker", "--heartbeat", str(tmp_path / "none" / "heart"), exit_code=2)
    assert said.err == f"millrace: the heartbeat {tmp_path}/none/heart cannot be written: No such file or directory\n"


# What is refused


@pytest.mark.parametrize("queues", ["", "a,,b", "a b", "é", "a," + "b" * 101])
def test_what_is_no_queue_is_one_line(run: Command, tmp_path: Path, queues: str) -> None:
    module(tmp_path)
    said = run("worker", "--queues", queues, exit_code=2)
    assert said.out == ""
    assert said.err.startswith("millrace: --queues ")
    assert said.err.endswith("is no queue; use letters, digits, '.', '_' and '-'\n")
    assert not (tmp_path / "var").exists()


def test_wrong_usage_has_exit_code_2(run: Command, tmp_path: Path) -> None:
    module(tmp_path)
    assert "Usage: millrace worker" in run("worker", "--concurrency", "0", exit_code=2).err


def test_a_service_without_jobs_has_no_worker(run: Command, tmp_path: Path) -> None:
    for calls in ("", ".with_database()"):
        bare(tmp_path, calls)
        said = run("worker", exit_code=2)
        assert said.err == "millrace: the service has no jobs: call with_tasks(…) on its builder\n"


def test_an_unreachable_database_is_one_line_and_exit_code_3(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(tmp_path, WAITING.format(0), before=NOTHING)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/x")
    said = run("worker", exit_code=3)
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("millrace: Cannot reach the database postgresql://me@127.0.0.1:")


def test_a_redis_that_cannot_be_is_one_line(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path)
    monkeypatch.setenv("REDIS_URL", "http://127.0.0.1")
    said = run("worker", exit_code=2)
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "REDIS_URL" in said.err


# Together


def test_a_service_and_its_workers_share_the_work_over_redis(folder: Path, postgres_url: str, redis_url: str) -> None:
    variables = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url}
    with (
        serving(folder=folder, variables=variables) as service,
        worker(folder=folder, variables=variables) as first,
        service.client() as client,
    ):
        assert "woken through Redis" in started(first)
        # The service itself runs none of them.
        reply = client.post("/api/v1/tasks/hold/$execute")
        held = reply.json()["job_id"]
        eventually(lambda: client.get(f"/api/v1/jobs/{held}").json()["state"] == "running")
        for number in range(20):
            reply = client.post("/api/v1/tasks/add/$execute", json={"args": {"value": number}})
            path = reply.headers["location"]
            eventually(partial(is_completed, client, path))
            assert client.get(f"{path}/$result").json() == number + 1
        with worker(folder=folder, variables=variables) as second:
            started(second)
            assert first.end() == 0
            # It is taken over at once by the other one.
            history = f"/api/v1/jobs/{held}/$events"
            eventually(lambda: [event["type"] for event in client.get(history).json()][-2:] == ["released", "running"])
            stats = client.get("/api/v1/jobs/$stats").json()
            assert (stats["total"], stats["queues"][0]["running"]) == (21, 1)
            os.kill(second.process.pid, signal.SIGKILL)
            second.process.wait()
        assert client.delete(f"/api/v1/jobs/{held}").status_code == 204
        assert service.end() == 0


def is_completed(client: httpx.Client, path: str) -> bool:
    """Whether a job has ended well."""
    return bool(client.get(path).json()["status"] == "completed")
