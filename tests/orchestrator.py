"""A stand-in for an orchestrator: it knows services, asks back before it answers, and can be made to fail."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn


class Orchestrator:
    """Services that have registered, with what was asked; `status` is answered instead, when it is set."""

    def __init__(self, *, key: str | None = None, ttl_seconds: float = 30.0) -> None:
        self.key = key
        self.ttl_seconds = ttl_seconds
        self.services: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.keys: list[str | None] = []
        self.asked_back: list[int] = []
        self.status: int | None = None
        self.garbage = False
        self.delay_seconds = 0.0
        self.reply_delay_seconds = 0.0
        self.failing_pings = False
        self.url = ""

    def forget(self) -> None:
        """Know nobody any more."""
        self.services.clear()

    def count(self, method: str) -> int:
        """How often it was asked."""
        return sum(made == method for made, _ in self.calls)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.calls.append((scope["method"], scope["path"]))
        self.keys.append(headers.get("x-service-key"))
        await asyncio.sleep(self.delay_seconds)
        status, reply = await self._answer(scope["method"], scope["path"], body, headers.get("x-service-key"))
        content = b"not json" if self.garbage else json.dumps(reply).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": b"" if status == 204 else content})

    async def _answer(self, method: str, path: str, body: bytes, key: str | None) -> tuple[int, Any]:
        if self.status is not None:
            return self.status, {"detail": "as told"}
        if self.key is not None and key != self.key:
            return 401, {"detail": "Missing or invalid service key"}
        if method == "POST":
            payload = json.loads(body)
            id = payload["info"]["id"]
            # Inside of the request, so the service must answer before its own registration does.
            async with httpx.AsyncClient(base_url=payload["url"], timeout=5) as client:
                self.asked_back.append((await client.get("/api/v1/info")).status_code)
            self.services[id] = payload
            await asyncio.sleep(self.reply_delay_seconds)
            return 200, {
                "id": id,
                "status": "registered",
                "service_url": payload["url"],
                "message": "ok",
                "ttl_seconds": self.ttl_seconds,
                "ping_url": f"{self.url}/v2/services/{id}/$ping",
            }
        id = path.split("/")[3]
        if id not in self.services:
            return 404, {"detail": "unknown"}
        if method == "PUT" and self.failing_pings:
            return 503, {"detail": "as told"}
        if method == "DELETE":
            del self.services[id]
            return 204, None
        return 200, {"id": id, "status": "alive", "last_ping_at": time.time(), "expires_at": time.time() + 30}


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def listening(app: Any, port: int) -> AsyncIterator[str]:
    """Serve an ASGI app."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        serving = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving
