"""What a service promises to those who use it, on both databases, against a real server process."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.processes import ROOT, Serving, eventually, millrace, running, serving

ITEMS = "/api/v1/items"


def names(client: httpx.Client) -> set[str]:
    return {item["name"] for item in client.get(ITEMS, params={"fields": "name"}).json()}


def test_an_item_is_made_read_changed_and_removed_and_the_rest_is_there_after_a_restart(start: Start) -> None:
    with start() as service, service.client() as client:
        created = client.post(ITEMS, json={"name": "cup", "price": 3})
        assert created.status_code == 201
        cup = created.json()
        path = f"{ITEMS}/{cup['id']}"
        assert created.headers["location"].endswith(path)
        assert client.get(path).json() == cup
        assert client.patch(path, json={"price": 4}).json()["price"] == 4
        assert client.post(ITEMS, json={"name": "cup"}).status_code == 409
        assert client.post(ITEMS, json={"name": "bowl", "price": 9}).status_code == 201
        found = client.get(ITEMS, params={"filter": '{"price":{"gte":4}}', "sort": "-price", "fields": "name,price"})
        assert found.json() == [{"name": "bowl", "price": 9}, {"name": "cup", "price": 4}]
        assert client.get(ITEMS, params={"search": "BOW", "fields": "name"}).json() == [{"name": "bowl"}]
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404
        assert client.get("/health").json()["status"] == "healthy"
        assert "server" not in created.headers
        assert service.end() == 0
    with start() as service, service.client() as client:
        assert names(client) == {"bowl"}


def test_every_acknowledged_item_survives_the_sudden_death_of_the_process(start: Start) -> None:
    numbers = count()
    acknowledged: set[str] = set()

    def post(client: httpx.Client) -> None:
        while True:
            name = f"item {next(numbers)}"
            try:
                if client.post(ITEMS, json={"name": name}).status_code == 201:
                    acknowledged.add(name)
            except httpx.TransportError:
                return

    with start() as service, service.client() as client, ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(post, client)
        eventually(lambda: len(acknowledged) > 100)
        assert service.end(signal.SIGKILL) == -signal.SIGKILL
    with start() as service, service.client() as client:
        assert acknowledged <= names(client)


def test_an_open_stream_ends_and_so_does_the_process_when_it_is_told_to(start: Start) -> None:
    with start() as service, service.client() as client:
        with client.stream("GET", "/health/$stream", params={"poll_interval": 60}) as stream:
            events = stream.iter_text()
            assert '"status":"healthy"' in next(events)
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(3)
            assert "".join(events) == ""
        assert service.wait() == 0
        assert "Traceback" not in service.output


def test_several_workers_serve_one_database(start: Start) -> None:
    with start("--workers", "2") as service, service.client() as client:
        made = {f"item {number}" for number in range(20)}
        for name in made:
            # A new connection each time may go to another worker.
            assert httpx.post(f"{service.url}{ITEMS}", json={"name": name}).status_code == 201
        assert names(client) == made
        assert service.end() == 0
        assert service.output.count("Uvicorn running") == service.output.count("Three things to try") == 1
        assert "Traceback" not in service.output


def things_to_try(service: Serving) -> list[str]:
    service.wait_for("-d '")
    service.wait_for("\n\n")
    return re.findall(r"^  (curl .*)$", service.output, re.MULTILINE)


def carried_out(command: str) -> Any:
    """What a line for a shell gets: its words, sent by the client we have."""
    program, url, *options = shlex.split(command)
    assert program == "curl"
    if not options:
        return httpx.get(url)
    name, header, data, body = options
    assert (name, data) == ("-H", "-d")
    return httpx.post(url, content=body, headers=dict([header.split(": ")]))


def test_the_three_things_to_try_work(start: Start) -> None:
    with start() as service:
        listed, searched, made = things_to_try(service)
        for _ in range(2):
            assert carried_out(listed).json()["items"] is not None
        assert carried_out(searched).status_code == 200
        assert carried_out(made).status_code == 201
        assert len(carried_out(searched).json()) == 1
        assert "Shop 2.1.0" in service.output
        assert f"docs    {service.url}/docs" in service.output


@pytest.fixture
def accounts(tmp_path: Path, database_url: str) -> Iterator[Serving]:
    example = str(ROOT / "examples" / "accounts" / "main.py")
    with serving(example, folder=tmp_path, variables={"DATABASE_URL": database_url}) as service:
        yield service


def test_the_example_has_people_and_things_to_try(accounts: Serving) -> None:
    with accounts.client() as client:
        assert client.get("/api/v1/users/$stats").json()["total"] == 300
        admins = client.get("/api/v1/users", params={"role": "admin"}).json()
        assert 5 < len(admins) < 30
        assert {type(user["age"]) for user in client.get("/api/v1/users").json()} == {int, type(None)}
    listed, searched, made = things_to_try(accounts)
    assert carried_out(listed).json()["items"]
    assert carried_out(searched).json()
    assert carried_out(made).status_code == 201


def test_the_example_fills_its_table_once_however_many_processes_start(tmp_path: Path, database_url: str) -> None:
    example = str(ROOT / "examples" / "accounts")
    for arguments in ([example, "--workers", "2"], [example]):
        with serving(*arguments, folder=tmp_path, variables={"DATABASE_URL": database_url}) as service:
            assert httpx.get(f"{service.url}/api/v1/users/$stats").json()["total"] == 300
            assert service.end() == 0


def test_ctrl_c_below_make_and_a_shell_is_no_failure(folder: Path) -> None:
    """As `make run` starts it: everybody in the terminal gets the signal, and the shell waits for the service."""
    command = shlex.join([sys.executable, "-m", "service.cli", "serve"])
    rules = f"run:\n\t@trap : INT; {command}; status=$$?; [ $$status -eq 130 ] || exit $$status\n"
    (folder / "Makefile").write_text(rules)
    with running(["make", "run"], folder=folder) as service:
        service.wait_until_started()
        assert httpx.post(f"{service.url}{ITEMS}", json={"name": "cup"}).status_code == 201
        os.killpg(service.process.pid, signal.SIGINT)
        service.wait()
        assert "Traceback" not in service.output
        eventually(lambda: not service.group())
    with serving(folder=folder) as again, again.client() as client:
        assert names(client) == {"cup"}


def test_a_service_is_migrated_before_it_serves(folder: Path, database_url: str) -> None:
    variables = {"DATABASE_URL": database_url, "MILLRACE_MIGRATE": "false"}
    refused = millrace("serve", folder=folder, variables={**variables, "PORT": "0"})
    assert refused.returncode == 2
    assert refused.stderr.startswith("millrace: table millrace_secrets is missing; table ")
    assert "is missing: run `millrace migrate`" in refused.stderr
    assert millrace("migrate", folder=folder, variables=variables).returncode == 0
    with serving(folder=folder, variables=variables) as service:
        assert httpx.get(f"{service.url}{ITEMS}").json() == []
