"""A service and its orchestrator: known while it runs, again after it was forgotten, and never in anybody's way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from domain.errors import Misconfigured
from domain.orchestrator import RegistrationOptions, delay_seconds, destination, ping_seconds
from domain.registration import MLServiceInfo, ModelMetadata, PeriodType, ServiceInfo
from service.builder import ServiceBuilder
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
