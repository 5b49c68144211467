"""A service and its orchestrator: known while it runs, again after it was forgotten, and never in anybody's way."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.errors import Misconfigured
from domain.health import HealthState
from domain.orchestrator import Destination, RegistrationOptions, delay_seconds, destination, ping_seconds
from domain.registration import MLServiceInfo, ModelMetadata, PeriodType, ServiceInfo
from infra.http.orchestrator import READINESS_HEADER, HttpOrchestrator
from service.builder import ServiceBuilder
from service.managers.registration import Registration
from service.settings import Settings
from tests.orchestrator import Orchestrator, free_port, listening
from tests.service.api.jobs_service import eventually

INFO = MLServiceInfo(
    id="mean-model",
    display_name="Mean",
    model_metadata=ModelMetadata(author="A"),
    period_type=PeriodType.ANY,
    git_revision="0123abc",
)


@asynccontextmanager
async def service(orchestrator: str, info: ServiceInfo = INFO, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A service that registers, running."""
    port = free_port()
    given = {"retry_delay": 0.05, "keepalive_interval": 0.05, "re_register_grace_period": 0.1, **options}
    app = (
        ServiceBuilder(info=info)
        .with_health()
        .with_registration(f"{orchestrator}/v2/services/$register", host="127.0.0.1", port=port, **given)
        .build(Settings(port=port))
    )
    async with app.lifespan(), listening(app, port) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


@asynccontextmanager
async def orchestrating(port: int | None = None, **options: Any) -> AsyncIterator[Orchestrator]:
    """An orchestrator, running."""
    orchestrator = Orchestrator(**options)
    async with listening(orchestrator, port or free_port()) as url:
        orchestrator.url = url
        yield orchestrator


async def known(orchestrator: Orchestrator) -> dict[str, Any]:
    """What the orchestrator knows of the service, once it does."""

    async def look() -> Any:
        return orchestrator.services.get("mean-model")

    found: dict[str, Any] = await eventually(look)
    return found


async def state(client: httpx.AsyncClient) -> tuple[int, str, str]:
    reply = await client.get("/health")
    check = reply.json()["checks"]["registration"]
    return reply.status_code, check["state"], check.get("message", "")


async def test_a_service_is_known_while_it_runs() -> None:
    async with orchestrating(key="sekret") as orchestrator:
        async with service(orchestrator.url, service_key="sekret") as client:
            payload = await known(orchestrator)
            assert payload == {"id": "mean-model", "url": str(client.base_url).rstrip("/"), "info": payload["info"]}
            assert list(payload["info"])[-3:] == ["git_revision", "target", "hpo_search_space"]
            assert (payload["info"]["period_type"], payload["info"]["git_revision"]) == ("any", "0123abc")

            async def is_alive() -> bool:
                return orchestrator.count("PUT") >= 3

            assert await eventually(is_alive)
            assert await state(client) == (200, "healthy", "")
            assert set(orchestrator.keys) == {"sekret"}
            assert orchestrator.asked_back == [200]
        assert orchestrator.services == {}
        assert orchestrator.calls[-1] == ("DELETE", "/v2/services/mean-model")


async def test_one_that_was_forgotten_registers_again() -> None:
    async with orchestrating() as orchestrator, service(orchestrator.url):
        await known(orchestrator)
        for _ in range(2):
            orchestrator.forget()
            await known(orchestrator)
        assert orchestrator.count("POST") == 3


async def test_an_orchestrator_that_comes_late_or_comes_back_is_waited_for() -> None:
    port = free_port()
    async with service(f"http://127.0.0.1:{port}") as client:

        async def is_in_trouble() -> bool:
            return (await state(client))[1] == "degraded"

        assert await eventually(is_in_trouble)
        async with orchestrating(port) as orchestrator:
            await known(orchestrator)
        assert await eventually(is_in_trouble)
        status, _, message = await state(client)
        assert (status, message.startswith("retrying: The orchestrator does not answer")) == (200, True)
        async with orchestrating(port) as orchestrator:
            await known(orchestrator)


@pytest.mark.parametrize("trouble", [{"status": 503}, {"garbage": True}])
async def test_an_orchestrator_in_trouble_is_asked_again(trouble: dict[str, Any]) -> None:
    async with orchestrating() as orchestrator:
        for name, value in trouble.items():
            setattr(orchestrator, name, value)
        async with service(orchestrator.url) as client:

            async def is_asked_again() -> bool:
                return orchestrator.count("POST") >= 3 and (await state(client))[1] == "degraded"

            assert await eventually(is_asked_again)
            orchestrator.status, orchestrator.garbage = None, False
            await known(orchestrator)


async def test_a_slow_orchestrator_is_not_waited_for_longer_than_is_said() -> None:
    async with orchestrating() as orchestrator:
        orchestrator.delay_seconds = 5
        async with service(orchestrator.url, timeout=0.1) as client:

            async def is_in_trouble() -> bool:
                return "does not answer" in (await state(client))[2]

            assert await eventually(is_in_trouble)
            orchestrator.delay_seconds = 0
            await known(orchestrator)


async def test_a_wrong_key_is_a_matter_for_people() -> None:
    async with orchestrating(key="sekret") as orchestrator, service(orchestrator.url, service_key="other") as client:

        async def is_refused() -> bool:
            return (await state(client))[1] == "unhealthy"

        assert await eventually(is_refused)
        status, _, message = await state(client)
        assert (status, message.startswith("refused: POST ")) == (503, True)
        assert "sekret" not in message


async def test_without_an_address_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICEKIT_ORCHESTRATOR_URL", raising=False)
    app = ServiceBuilder(info=INFO).with_health().with_registration().build(Settings())
    async with app.lifespan():
        pass
    assert app.readiness_token is not None


def test_where_to_register_comes_from_arguments_first() -> None:
    url = "http://o:1/v2/services/$register"
    environment = {
        "SERVICEKIT_ORCHESTRATOR_URL": url,
        "SERVICEKIT_HOST": "model",
        "SERVICEKIT_PORT": "9",
        "SERVICEKIT_REGISTRATION_KEY": "k",
    }
    found = destination(RegistrationOptions(), environment, "here")
    assert found is not None
    assert (found.register_url, found.service_url, found.key) == (url, "http://model:9", "k")
    assert found.deregister_url("m") == "http://o:1/v2/services/m"
    found = destination(RegistrationOptions(host="h", port=7, service_key="own"), environment, "here")
    assert found is not None
    assert (found.service_url, found.key) == ("http://h:7", "own")
    found = destination(RegistrationOptions(), {"SERVICEKIT_ORCHESTRATOR_URL": url, "SERVICEKIT_PORT": "x"}, "here")
    assert found is not None
    assert found.service_url == "http://here:8000"
    found = destination(RegistrationOptions(service_url="https://model.example"), environment, "here")
    assert found is not None
    assert found.service_url == "https://model.example"
    assert destination(RegistrationOptions(), {}, "here") is None


@pytest.mark.parametrize(
    "options, words",
    [
        ({"orchestrator_url": "orchestrator"}, "give an address"),
        ({"service_url": "ftp://x"}, "give an address"),
        ({"max_retries": 0}, "at least 1"),
        ({"timeout": 0}, "more than 0 seconds"),
        ({"retries": 3}, "retries"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        ServiceBuilder(info=INFO).with_registration(**options)


def test_delays_grow_and_signs_of_life_come_in_time() -> None:
    assert [delay_seconds(failures, 2.0, spread=1.0) for failures in (1, 2, 3, 99)] == [2.0, 4.0, 8.0, 60.0]
    assert delay_seconds(1, 2.0, spread=0.0) == 1.0
    assert ping_seconds(10.0, 30.0, spread=1.0) == 10.0
    assert ping_seconds(30.0, 30.0, spread=0.0) == 9.0


async def test_nobody_but_the_orchestrator_gets_the_key() -> None:
    other = Orchestrator()
    async with orchestrating(key="sekret") as orchestrator, listening(other, free_port()) as elsewhere:
        own, orchestrator.url = orchestrator.url, elsewhere
        async with service(own, service_key="sekret"):

            async def is_alive() -> bool:
                return orchestrator.count("PUT") >= 2

            assert await eventually(is_alive)
    assert other.calls == []


async def test_one_that_stops_in_the_middle_of_its_registration_is_off_the_list() -> None:
    async with orchestrating() as orchestrator:
        orchestrator.reply_delay_seconds = 60
        async with service(orchestrator.url):
            await known(orchestrator)
        assert orchestrator.services == {}


async def test_one_that_stops_while_there_is_trouble_is_off_the_list() -> None:
    async with orchestrating() as orchestrator:
        async with service(orchestrator.url, keepalive_interval=0.2) as client:
            await known(orchestrator)
            orchestrator.failing_pings = True

            async def is_in_trouble() -> bool:
                return (await state(client))[1] == "degraded"

            assert await eventually(is_in_trouble)
        assert orchestrator.services == {}


async def test_every_byte_does_not_start_the_timeout_again() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(4096), 0.02)
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with service(f"http://127.0.0.1:{port}", timeout=0.2) as client:

            async def is_in_trouble() -> bool:
                return "TimeoutError" in (await state(client))[2]

            assert await eventually(is_in_trouble)


async def test_a_password_in_the_address_is_not_shown() -> None:
    async with orchestrating(key="sekret") as orchestrator, AsyncExitStack() as stack:
        client = await stack.enter_async_context(service(orchestrator.url.replace("//", "//bob:hunter2@")))

        async def message() -> str:
            return (await state(client))[2]

        assert "hunter2" not in await eventually(message)


async def test_two_apps_in_one_process_share_nothing() -> None:
    other = ServiceInfo(id="other", display_name="Other")
    async with orchestrating() as first, orchestrating() as second, service(first.url), service(second.url, other):
        await known(first)

        async def is_known() -> bool:
            return "other" in second.services

        assert await eventually(is_known)
        assert (list(first.services), list(second.services)) == (["mean-model"], ["other"])
        assert list(second.services["other"]["info"]) == ["id", "display_name", "version", "description"]


async def test_this_service_is_recognised_where_proxies_are_set_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    where = Destination(register_url="http://o/$register", service_url="http://s", key=None)
    orchestrator = HttpOrchestrator(where, 1.0)
    app = ServiceBuilder(info=INFO).with_health().with_registration().build(Settings())
    assert app.readiness_token is not None
    token = app.readiness_token.decode()
    async with app.lifespan(), listening(app, free_port()) as own, orchestrating() as another:
        assert await orchestrator.is_ready(f"{own}/health", token)
        assert not await orchestrator.is_ready(f"{another.url}/health", token)
        assert not await orchestrator.is_ready(f"{own}/health", "another token")
    await orchestrator.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="nothing here makes certificates")
async def test_a_certificate_that_nobody_vouches_for_is_trouble(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(
        subprocess.run,
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        async with service(f"https://localhost:{port}", service_key="sekret") as client:

            async def is_in_trouble() -> bool:
                return "CERTIFICATE_VERIFY_FAILED" in (await state(client))[2]

            assert await eventually(is_in_trouble)
    assert b"".join(heard) == b""


def test_a_key_loses_the_end_of_its_line_and_is_never_shown() -> None:
    options = RegistrationOptions(orchestrator_url="http://o/$register", service_key="sekret\n")
    found = destination(options, {}, "here")
    assert found is not None
    assert found.key == "sekret"
    with pytest.raises(Misconfigured, match="printable ASCII") as caught:
        destination(RegistrationOptions(orchestrator_url="http://o/$register", service_key="schlüssel"), {}, "here")
    assert "schlüssel" not in str(caught.value)


def test_the_port_it_is_served_at_is_the_last_resort() -> None:
    options = RegistrationOptions(orchestrator_url="http://o/$register")
    for environment, port in [({}, 9000), ({"SERVICEKIT_PORT": "7"}, 7), ({"SERVICEKIT_PORT": "x"}, 9000)]:
        found = destination(options, environment, "here", 9000)
        assert found is not None
        assert found.service_url == f"http://here:{port}"


@pytest.mark.parametrize("url", ["http://[x", "http://o:99999/", "http://o:0/", "http:///x"])
def test_half_an_address_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="give an address"):
        RegistrationOptions(orchestrator_url=url)


@pytest.mark.parametrize(
    "told, asked",
    [
        (None, "https://o/v2/services/m/$ping"),
        ("https://o:443/elsewhere", "https://o:443/elsewhere"),
        ("http://o/v2/services/m/$ping", "https://o/v2/services/m/$ping"),
        ("https://thief/", "https://o/v2/services/m/$ping"),
        ("/v2/services/m/$ping", "https://o/v2/services/m/$ping"),
        ("https://[x", "https://o/v2/services/m/$ping"),
    ],
)
def test_signs_of_life_go_to_the_orchestrator_itself(told: str | None, asked: str) -> None:
    where = Destination(register_url="https://o/v2/services/$register", service_url="http://s", key="k")
    assert where.ping_url("m", told) == asked


async def test_with_fail_on_error_a_service_that_cannot_register_asks_to_stop() -> None:
    async with orchestrating() as orchestrator:
        orchestrator.status = 503
        asked: list[bool] = []
        where = Destination(register_url=f"{orchestrator.url}/$register", service_url=orchestrator.url, key=None)
        client = HttpOrchestrator(where, 1.0)
        options = RegistrationOptions(max_retries=2, retry_delay=0.01, fail_on_error=True)
        async with listening(_Echo(), free_port()) as own:
            registration = Registration("m", {}, options, client, lambda: own, "t", lambda: asked.append(True))
            await registration.run()
        check = await registration.check()
        assert (asked, orchestrator.count("POST"), check.state) == ([True], 2, HealthState.UNHEALTHY)
        await client.close()


class _Echo:
    """Answers with the token that it gets."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = READINESS_HEADER.encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(name, dict(scope["headers"])[name])]})
        await send({"type": "http.response.body", "body": b""})


async def test_an_orchestrator_in_trouble_does_not_keep_a_service_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with orchestrating() as orchestrator:
        async with service(orchestrator.url):
            await known(orchestrator)
            orchestrator.status = 503
        orchestrator.status = None
        async with service(orchestrator.url, keepalive_interval=10.0):
            await known(orchestrator)
            orchestrator.forget()
    assert [record.levelname for record in caplog.records if "deregistered" in record.message] == ["WARNING"]
