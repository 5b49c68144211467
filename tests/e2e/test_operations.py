"""What a service promises to those who run it: how it starts, how it stops, and what it does when something breaks."""

import os
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.processes import Serving, eventually, free_port, launched, millrace, serving
from tests.servers import postgres
from tests.service.cli.modules import bare, shop

ITEMS = "/api/v1/items"


def in_flight(service: Serving, pool: ThreadPoolExecutor, seconds: float) -> "Future[httpx.Response]":
    """A request that the service has begun and not finished."""
    before = connections(service)
    future = pool.submit(httpx.get, f"{service.url}/slow", params={"seconds": seconds}, timeout=60)
    eventually(lambda: connections(service) > before)
    # A request that comes later and is answered: the first one is with its handler by then.
    assert httpx.get(f"{service.url}/health/live").status_code == 200
    return future


def connections(service: Serving) -> int:
    """How many clients are connected to the service's port."""
    port = f":{int(service.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


def test_a_request_that_has_begun_is_finished(start_lite: Start) -> None:
    with start_lite() as service, ThreadPoolExecutor() as pool:
        slow = in_flight(service, pool, 1)
        assert service.end() == 0
        assert slow.result().text == "done"


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_second_ctrl_c_does_not_wait_for_requests(start_lite: Start, arguments: list[str]) -> None:
    with start_lite(*arguments) as service, ThreadPoolExecutor() as pool:
        slow = in_flight(service, pool, 50)
        os.killpg(service.process.pid, signal.SIGINT)
        eventually(lambda: is_refused(service))
        began = time.monotonic()
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.wait() == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in service.output
        with pytest.raises(httpx.HTTPError):
            slow.result().raise_for_status()


def is_refused(service: Serving) -> bool:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"], ["--reload"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_a_service_cleanly(start_lite: Start, arguments: list[str], number: int) -> None:
    with start_lite(*arguments) as service:
        began = time.monotonic()
        os.killpg(service.process.pid, number)
        assert service.wait() == 0
        # Far below what a service waits for that does not end by itself.
        assert time.monotonic() - began < 8
        assert "Traceback" not in service.output


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_service_that_waits_for_its_database_can_be_interrupted(tmp_path: Path, arguments: list[str]) -> None:
    shop(tmp_path, ("connect_timeout_seconds=0.2", "connect_timeout_seconds=60"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/shop"
        variables = {"DATABASE_URL": url}
        with launched(*arguments, folder=tmp_path, variables=variables) as service, silent.accept()[0]:
            os.killpg(service.process.pid, signal.SIGINT)
            assert service.wait() == 0
            assert service.output == ""


@pytest.mark.parametrize("arguments", [[], ["--workers", "3"], ["--reload"]])
def test_an_unreachable_database_is_one_line_and_exit_code_3(tmp_path: Path, arguments: list[str]) -> None:
    shop(tmp_path)
    variables = {"DATABASE_URL": f"postgresql://me:secret@127.0.0.1:{free_port()}/shop", "PORT": "0"}
    done = millrace("serve", *arguments, folder=tmp_path, variables=variables)
    assert done.returncode == 3
    assert done.stderr.startswith("millrace: Cannot reach the database postgresql://me@127.0.0.1:")
    assert done.stderr.endswith("; check that it runs and what DATABASE_URL says\n")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_an_error_of_a_start_hook_is_one_line_with_its_place(tmp_path: Path, arguments: list[str]) -> None:
    bare(tmp_path, ".on_startup(warm_up)", before="async def warm_up() -> None:\n    raise ValueError('no luck')\n")
    done = millrace("serve", *arguments, folder=tmp_path, variables={"PORT": "0"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "millrace: the service did not start: main.py, line 4: ValueError: no luck\n"


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_busy_port_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    shop(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = millrace("serve", *arguments, "--port", str(port), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"millrace: port {port} on 127.0.0.1 is in use: stop what listens there, or use another, with --port or PORT\n"
    )
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    "host, message",
    [("192.0.2.1", "192.0.2.1 is no address of this machine"), ("no.such.invalid", "the host 'no.such.invalid'")],
)
def test_a_wrong_host_is_one_line(tmp_path: Path, host: str, message: str) -> None:
    shop(tmp_path)
    done = millrace("serve", "--host", host, "--port", "0", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"millrace: {message}")
    assert done.stderr.count("\n") == 1


def test_reload_and_workers_exclude_each_other(tmp_path: Path) -> None:
    shop(tmp_path)
    done = millrace("serve", "--reload", "--workers", "2", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "leave --workers and WORKERS out" in done.stderr


def test_options_count_for_the_module_and_for_workers(tmp_path: Path) -> None:
    module = shop(tmp_path, (".with_health()", ".with_health()\n    .with_logging()"))
    home = tmp_path / "home"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ["--home", str(home), "--log-format", "json", "--log-level", "warning", "--host", "0.0.0.0"]
    with serving(str(module), *options, "--workers", "2", folder=elsewhere) as service:
        assert service.url.startswith("http://0.0.0.0:")
        service.wait_for("\n\nThree")
        assert f"data    {home}/shop.db" in service.output
        assert "service http://127.0.0.1:" in service.output
        assert httpx.get(f"{service.url}{ITEMS}").json() == []
        assert service.end() == 0
        assert '"event":"Uvicorn running on http://0.0.0.0:' in service.output
        assert "http.request.complete" not in service.output
    assert (home / "shop.db").exists()
    assert list(elsewhere.iterdir()) == []


def test_replicas_that_start_together_migrate_once(folder: Path, postgres_url: str) -> None:
    variables = {"DATABASE_URL": postgres_url}
    assert millrace("migrations", "new", "-m", "first", folder=folder).returncode == 0
    with ExitStack() as stack:
        replicas = [stack.enter_context(launched(folder=folder, variables=variables)) for _ in range(3)]
        for number, replica in enumerate(replicas):
            replica.wait_until_started()
            assert httpx.post(f"{replica.url}{ITEMS}", json={"name": f"item {number}"}).status_code == 201
        assert {len(httpx.get(f"{replica.url}{ITEMS}").json()) for replica in replicas} == {3}
        assert [replica.end() for replica in replicas] == [0, 0, 0]
    said = millrace("migrate", "status", folder=folder, variables=variables).stdout
    *own, last = [line.split()[:2] for line in said.splitlines()]
    assert own == [["applied", "millrace"]] * len(own)
    assert last == ["applied", "shop"]


def test_a_database_that_goes_and_comes_back_needs_no_restart(folder: Path) -> None:
    with (
        postgres() as server,
        serving(folder=folder, variables={"DATABASE_URL": server.url}) as service,
        service.client() as client,
    ):
        assert client.post(ITEMS, json={"name": "cup"}).status_code == 201
        server.stop()
        for answer in (client.get(ITEMS), client.post(ITEMS, json={"name": "bowl"})):
            assert answer.status_code == 503
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["title"] == "Service Unavailable"
        health = client.get("/health")
        assert (health.status_code, health.json()["checks"]["database"]["state"]) == (503, "unhealthy")
        assert client.get("/health/live").status_code == 200
        server.start()
        assert client.get("/health").status_code == 200
        assert client.post(ITEMS, json={"name": "bowl"}).status_code == 201
        assert {item["name"] for item in client.get(ITEMS).json()} == {"cup", "bowl"}
        assert service.end() == 0
        assert "Traceback" not in service.output


def workers_of(service: Serving) -> set[int]:
    """The processes that hold the shop's database open."""
    return {pid for pid in service.group() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_a_worker_that_dies_is_replaced(start_lite: Start) -> None:
    with start_lite("--workers", "2") as service, service.client() as client:
        before = workers_of(service)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        service.wait_for("another one starts")
        eventually(lambda: len(workers_of(service) - {min(before)}) == 2)
        client.close()
        assert httpx.post(f"{service.url}{ITEMS}", json={"name": "cup"}).status_code == 201
        assert service.end() == 0


def test_workers_do_not_outlive_a_killed_supervisor(start_lite: Start) -> None:
    with start_lite("--workers", "2") as service:
        assert service.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not service.group())
        assert is_refused(service)


def test_a_changed_file_is_served_and_a_broken_one_is_waited_for(folder: Path) -> None:
    module = folder / "main.py"
    text = module.read_text()

    def version() -> str:
        return str(httpx.get(f"{service.url}/api/v1/info", timeout=30).json()["version"])

    with serving("--reload", folder=folder) as service:
        assert version() == "2.1.0"
        module.write_text(text.replace("2.1.0", "2.2.0"))
        service.wait_for("main.py changed: starting again")
        eventually(lambda: version() == "2.2.0")
        module.write_text("def broken(:\n")
        service.wait_for("millrace: main.py, line 1: invalid syntax")
        module.write_text(text.replace("2.1.0", "2.3.0"))
        eventually(lambda: version() == "2.3.0")
        (folder / "extra.py").write_text("x = 1\n")
        service.wait_for("extra.py changed")
        eventually(lambda: version() == "2.3.0")
        assert service.end() == 0
        assert service.output.count("Three things to try") == 1
