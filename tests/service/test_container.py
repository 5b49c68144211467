"""Opening what a service needs, and refusing to when it cannot work."""

import threading
from pathlib import Path

import pytest

from domain.errors import Misconfigured, NotFound, Unavailable
from domain.health import HealthState
from infra.database.sqlite_connection import SqliteConnection
from service.container import database_check, open_container
from service.design import Design
from service.http.application import Service
from tests.sample import Item, Items, builder, settings


def design(url: str) -> Design:
    app: Service = builder(url).build(settings())
    made: Design = app.design
    return made


async def test_a_command_or_worker_opens_the_same_parts_as_the_app(database_url: str) -> None:
    async with open_container(settings(), design(database_url)) as container:
        await container.manager("items").save(Item(name="made elsewhere"))
        # Tables talk to this database for the rest of the task.
        container.use()
        assert await Items.count() == 1
        with pytest.raises(NotFound, match="there are: items"):
            container.manager("nothing")


async def test_all_replicas_share_one_secret_and_a_given_one_wins(database_url: str) -> None:
    whole = design(database_url)
    async with open_container(settings(), whole) as one, open_container(settings(), whole) as two:
        assert one.secret == two.secret
        assert len(one.secret) == 32
    async with open_container(settings(secret_key="given"), design(database_url)) as three:
        assert three.secret == b"given"


async def test_without_migrating_a_start_on_an_empty_database_is_refused(database_url: str) -> None:
    with pytest.raises(Misconfigured, match="millrace migrate"):
        async with open_container(settings(is_migrating_on_start=False), design(database_url)):
            pass
    async with open_container(settings(), design(database_url)):
        pass
    async with open_container(settings(is_migrating_on_start=False), design(database_url)) as container:
        assert await container.manager("items").count() == 0


async def test_a_service_without_database_opens_nothing() -> None:
    async with open_container(settings(), Design(name="bare")) as container:
        assert container.database is None
        assert len(container.secret) == 32
        assert (await database_check(container.database)).state is HealthState.UNHEALTHY


async def test_the_embedded_default_is_a_file_in_the_home_named_after_the_service(tmp_path: Path) -> None:
    whole = design("sqlite:///:memory:")
    assert whole.database is not None
    default = Design(name="shop", database=type(whole.database)(), resources=whole.resources)
    async with open_container(settings(home=tmp_path / "deep" / "home"), default):
        assert (tmp_path / "deep" / "home" / "shop.db").is_file()


async def test_an_unreachable_database_is_one_sentence_without_the_password() -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/none"
    whole = design(url)
    assert whole.database is not None
    quick = Design(name="x", database=type(whole.database)(url=url, connect_timeout_seconds=0))
    with pytest.raises(Unavailable) as caught:
        async with open_container(settings(), quick):
            pass
    assert "postgresql://ada@127.0.0.1:1/none" in caught.value.detail
    assert "hunter2" not in caught.value.detail


async def test_a_start_that_fails_halfway_closes_what_was_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = SqliteConnection.open

    async def fail_later(connection: SqliteConnection) -> None:
        if connection._is_reader:
            raise Unavailable("no more files")
        await opening(connection)

    monkeypatch.setattr(SqliteConnection, "open", fail_later)
    with pytest.raises(Unavailable, match="no more files"):
        async with open_container(settings(), design(f"sqlite:///{tmp_path}/x.db")):
            pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("millrace-sqlite")]
