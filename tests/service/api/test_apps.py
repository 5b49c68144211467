"""`/api/v1/system/apps`: what is mounted, in the order in which it is asked."""

from pathlib import Path

from domain.registration import ServiceInfo
from infra.apps.find import find_app
from service.api.apps import apps_router
from service.builder import ServiceBuilder
from service.http.apps import StaticApps
from tests.infra.apps.folders import make_app
from tests.sample import serving, settings


async def test_apps_are_listed_with_the_longest_prefix_first(tmp_path: Path) -> None:
    builder = ServiceBuilder(info=ServiceInfo(id="sample", display_name="Sample"))
    app = builder.include_router(apps_router("/api/v1/other", ["System"])).build(settings())
    app.apps = StaticApps(
        [find_app(make_app(tmp_path / "root", prefix="/", author="Ada")), find_app(make_app(tmp_path / "one"))]
    )
    async with serving(app) as client:
        listed = await client.get("/api/v1/other/apps")
        assert [item["prefix"] for item in listed.json()] == ["/one", "/"]
        assert listed.json()[1] == {
            "name": "root",
            "version": "1.0.0",
            "prefix": "/",
            "description": None,
            "author": "Ada",
            "entry": "index.html",
            "is_package": False,
        }
        schema = (await client.get("/api/v1/other/apps/$schema")).json()
        assert schema["type"] == "array"
        assert set(schema["$defs"]["AppInfo"]["properties"]) == set(listed.json()[0])
        assert "/api/v1/other/apps" in (await client.get("/openapi.json")).json()["paths"]
