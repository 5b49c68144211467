"""Jobs under fire: requests made from the service's own OpenAPI document never cause a server error."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.strategies import booleans
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.http.application import Service
from service.settings import Settings
from tests.processes import eventually
from tests.service.api.jobs_service import GRAPHS, JOBS, SCHEDULES, TASKS, builder

# It streams for ever while its job runs, and has tests of its own.
LEFT_OUT = ("$stream",)


@contextmanager
def in_a_thread(app: Service) -> Iterator[str]:
    """Serve an app on a port of its own, in a thread with a loop of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service with jobs."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    # Nobody works: a worker draws random numbers, and Hypothesis does not want anybody else to.
    with in_a_thread(builder(f"sqlite:///{folder / 'works.db'}").build(Settings(worker="false"))) as url:
        yield url


@pytest.fixture(scope="module")
def known(url: str) -> dict[str, str]:
    """The ids of things that are there, by where they are."""
    later = {"task": "nothing", "delay_seconds": 3_600}
    schedule = {"name": "there", "task": "nothing", "cron": "0 0 1 1 *"}
    with httpx.Client(base_url=url) as client:
        return {
            JOBS: client.post(f"{TASKS}/nothing/$execute", json={"delay_seconds": 3_600}).json()["job_id"],
            GRAPHS: client.post(GRAPHS, json={"nodes": {"a": later}}).json()["id"],
            SCHEDULES: client.post(SCHEDULES, json=schedule).json()["id"],
            TASKS: "add",
        }


def test_no_request_causes_a_server_error(url: str, known: dict[str, str]) -> None:
    assert fuzzed(url, known) >= 35


def fuzzed(url: str, known: Mapping[str, str]) -> int:
    """Make requests of all operations below these paths; how many operations there were."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", wait_for_schema=20)
    labels = []
    for result in schema.get_all_operations():
        operation = result.ok()
        place = next((place for place in known if operation.path.startswith(place)), None)
        if place is not None and not operation.path.endswith(LEFT_OUT):
            fuzz(operation, known[place])
            labels.append(operation.label)
    return len(labels)


def fuzz(operation: Any, known: str) -> None:
    """Make requests of an operation, every other one on what is there."""

    @given(case=operation.as_strategy(), is_there=booleans())
    @hypothesis_settings(max_examples=10, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case, is_there: bool) -> None:
        if is_there and case.path_parameters and case.method != "DELETE":
            case.path_parameters = dict.fromkeys(case.path_parameters, known)
        # As for every resource, what is valid by the document may still be refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()
