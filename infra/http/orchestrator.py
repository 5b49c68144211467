"""Speaks to an orchestrator over HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from domain.errors import NotFound, Unauthorized, Unavailable
from domain.orchestrator import Destination, Registered

READINESS_HEADER = "x-millrace-readiness-token"
_MOST_CHARACTERS = 300


class HttpOrchestrator:
    """`domain.ports.Orchestrator`. Certificates are verified; redirects, which would get the key, are not followed."""

    def __init__(self, destination: Destination, timeout_seconds: float) -> None:
        self.destination = destination
        headers = {"X-Service-Key": destination.key} if destination.key else {}
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, headers=headers)
        # What is asked here must not get the key. No proxy reaches this machine's own ports, and behind a kept
        # connection it is always the same one of several processes that answers.
        self._own = httpx.AsyncClient(timeout=2.0, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    async def register(self, service_id: str, info: Mapping[str, Any]) -> Registered:
        """Make the service known."""
        payload = {"id": service_id, "url": self.destination.service_url, "info": info}
        reply = await self._asked("POST", self.destination.register_url, payload)
        try:
            registered = msgspec.json.decode(reply.content, type=Registered)
        except (msgspec.DecodeError, ValueError) as error:
            raise Unavailable(f"The orchestrator's reply is not understood: {error}") from error
        return msgspec.structs.replace(registered, ping_url=self.destination.ping_url(service_id, registered.ping_url))

    async def ping(self, url: str) -> None:
        """Give a sign of life. Raises `NotFound` when the orchestrator has forgotten the service."""
        await self._asked("PUT", url)

    async def deregister(self, service_id: str) -> None:
        """Take the service off the list."""
        await self._asked("DELETE", self.destination.deregister_url(service_id))

    async def is_ready(self, url: str, token: str) -> bool:
        """Whether a service answers at `url` that knows the token, which is only this one."""
        try:
            reply = await self._own.get(url, headers={READINESS_HEADER: token})
        except httpx.HTTPError:
            return False
        return bool(reply.headers.get(READINESS_HEADER) == token)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._own.aclose()

    async def _asked(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            # Those of the client start again with every byte.
            async with asyncio.timeout(self._timeout_seconds):
                reply = await self._client.request(method, url, json=body)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"The orchestrator does not answer: {type(error).__name__} {error}".strip()) from error
        if reply.is_success:
            return reply
        # Of the URL only the path: what stands before it may hold a password, and `/health` shows this.
        said = f"{method} {reply.request.url.path} answered {reply.status_code}: {reply.text[:_MOST_CHARACTERS]}"
        if reply.status_code == 404:
            raise NotFound(said)
        if reply.status_code in {401, 403}:
            raise Unauthorized(said)
        raise Unavailable(said)
