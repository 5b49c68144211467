"""`/api/v1/system` and `/api/v1/info`: what runs here."""

import platform
import socket
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Controller, MediaType, Response, Router, get

from domain.registration import ServiceInfo, info_document
from domain.wire import timestamp_text


class SystemInfo(msgspec.Struct, frozen=True):
    """The machine and the interpreter."""

    current_time: str
    timezone: str
    python_version: str
    platform: str
    hostname: str


def system_router(path: str, tags: list[str]) -> Router:
    """The system routes under `path`."""

    class SystemController(Controller):
        @get("/", summary="Time, interpreter and host")
        async def system(self) -> SystemInfo:
            return SystemInfo(
                current_time=timestamp_text(datetime.now(UTC)),
                timezone="UTC",
                python_version=platform.python_version(),
                platform=platform.platform(),
                hostname=socket.gethostname(),
            )

    return Router(path=path, route_handlers=[SystemController], tags=tags)


def info_router(info: ServiceInfo, code_revision: str | None = None) -> Router:
    """`/api/v1/info`, which every service has."""
    document = info_document(info, code_revision)

    async def service_info() -> Any:
        return Response(document, media_type=MediaType.JSON)

    # Litestar reads the type that the document is of from here.
    service_info.__annotations__["return"] = Response[type(info)]  # type: ignore[misc]
    handler = get("/api/v1/info", summary="Identity of the service")(service_info)
    return Router(path="/", route_handlers=[handler], tags=["System"])
