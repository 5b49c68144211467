"""`/api/v1/system/apps`: the static apps that are mounted here."""

from typing import Any

import msgspec
from litestar import Controller, Request, Router, get

from domain.apps import AppInfo
from service.http.application import Service


def apps_router(path: str, tags: list[str]) -> Router:
    """The routes about static apps under `path`, which is that of the system routes."""

    class AppsController(Controller):
        @get("/apps", summary="Static apps mounted here")
        async def apps(self, request: Request[Any, Any, Any]) -> list[AppInfo]:
            assert isinstance(request.app, Service)
            return request.app.apps.infos

        @get("/apps/$schema", summary="JSON Schema of the list of apps")
        async def apps_schema(self) -> dict[str, Any]:
            return msgspec.json.schema(list[AppInfo])

    return Router(path=path, route_handlers=[AppsController], tags=tags)
