"""The port that a worker answers at: one path, and nobody can keep it busy."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from domain.errors import Misconfigured
from infra.telemetry import port as module
from infra.telemetry.port import metrics_port
from tests.processes import free_port


async def text() -> bytes:
    return "snow \u2603\n".encode()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    number = free_port()
    async with metrics_port("127.0.0.1", number, text):
        yield f"http://127.0.0.1:{number}"


@pytest.mark.parametrize(
    "method, path, status, body",
    [
        ("GET", "/metrics", 200, "snow \u2603\n"),
        ("GET", "/metrics?x=1", 200, "snow \u2603\n"),
        ("HEAD", "/metrics", 200, ""),
        ("POST", "/metrics", 405, "use GET\n"),
        ("GET", "/", 404, "there is nothing but /metrics\n"),
        ("GET", "/metrics/x", 404, "there is nothing but /metrics\n"),
    ],
)
async def test_there_is_one_path(url: str, method: str, path: str, status: int, body: str) -> None:
    async with httpx.AsyncClient() as client:
        reply = await client.request(method, url + path)
    assert (reply.status_code, reply.text) == (status, body)
    if status == 200:
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_who_says_nothing_nonsense_or_too_much_is_hung_up_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    number = int(url.rpartition(":")[2])
    for said, answered in (
        (b"", b""),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 70_000, b""),
        (b"\r\n\r\n", b"HTTP/1.1 404"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(said)
        try:
            async with asyncio.timeout(5):
                assert (await reader.read(12)) == answered
        except ConnectionError:
            assert not answered
        writer.close()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/metrics")).status_code == 200


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"MILLRACE_METRICS_PORT={number}: cannot listen at 127.0.0.1"):
            async with metrics_port("127.0.0.1", number, text):
                pass
