"""The two stages that background work is proved on."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.servers import Postgres
from tests.service.api.jobs_service import Stage, staged
from tests.service.api.model_service import Model, functional, modelled


@pytest.fixture(scope="module", params=["alone", "distributed"])
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A service on SQLite that does its work itself, and one on PostgreSQL and Redis whose worker is elsewhere."""
    if request.param == "alone":
        folder: Path = tmp_path_factory.mktemp("stage")
        async with staged(f"sqlite:///{folder / 'works.db'}", None) as alone:
            yield alone
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    url = server.create_database(name)
    async with staged(url, request.getfixturevalue("redis_url")) as distributed:
        yield distributed
    server.drop_database(name)


@pytest.fixture(scope="module", params=["alone", "distributed"])
async def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    """Functions on both stages."""
    folder: Path = tmp_path_factory.mktemp("model")
    if request.param == "alone":
        async with modelled(f"sqlite:///{folder / 'model.db'}", None, folder, functional()) as alone:
            yield alone
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    url = server.create_database(name)
    async with modelled(url, request.getfixturevalue("redis_url"), folder, functional()) as distributed:
        yield distributed
    server.drop_database(name)
