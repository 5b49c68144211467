"""The example under fire: requests made from its own OpenAPI document never cause a server error."""

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.app import load_app

EXAMPLE = Path(__file__).parents[3] / "examples" / "accounts" / "main.py"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example on a port of its own, in a thread with a loop of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MILLRACE_HOME", str(tmp_path_factory.mktemp("home")))
        patched.setenv("LOG_LEVEL", "ERROR")
        patched.delenv("DATABASE_URL", raising=False)
        patched.setattr(sys, "path", list(sys.path))
        before = set(sys.modules)
        app = load_app(str(EXAMPLE))
        # Other tests load modules of the same names.
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLE.parent)):
                del sys.modules[name]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_no_request_causes_a_server_error(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", wait_for_schema=20)
    labels = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("$stream"):
            # It streams for ever, and its parameter has tests of its own.
            continue
        labels.append(operation.label)

        @given(case=operation.as_strategy())
        @hypothesis_settings(max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case) -> None:
            # JSON Schema cannot say what a filter or a cursor must look like, so what is valid by the document may
            # still be refused. All else is checked: no 5xx, documented statuses, media types, headers and bodies.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
    assert len(labels) >= 12
