"""`/api/v1/system` and `/api/v1/info`: what runs here."""

import platform
import socket
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Controller, Router, get

from domain.registration import ServiceInfo
from domain.wire import timestamp_text


class SystemInfo(msgspec.Struct, frozen=True):
    """The machine and the interpreter."""

    current_time: str
    timezone: str
    python_version: str
    platform: str
    hostname: str


class AppInfo(msgspec.Struct, frozen=True):
    """A static app that is mounted here."""

    name: str
    version: str
    prefix: str
    description: str | None
    author: str | None
    entry: str
    is_package: bool


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

        @get("/apps", summary="Static apps mounted here")
        async def apps(self) -> list[AppInfo]:
            return []

        @get("/apps/$schema", summary="JSON Schema of the list of apps")
        async def apps_schema(self) -> dict[str, Any]:
            return msgspec.json.schema(list[AppInfo])

    return Router(path=path, route_handlers=[SystemController], tags=tags)


def info_router(info: ServiceInfo) -> Router:
    """`/api/v1/info`, which every service has."""

    @get("/api/v1/info", summary="Identity of the service")
    async def service_info() -> ServiceInfo:
        return info

    return Router(path="/", route_handlers=[service_info], tags=["System"])
