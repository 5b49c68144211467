"""What a fresh service proposes to try: made from its own first resource, whatever that looks like."""

import shlex
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta
from piccolo.columns import Integer, Varchar

from domain.bodies import Bodies
from domain.entity import Entity
from domain.query import QueryLimits, Resource
from domain.registration import ServiceInfo
from domain.tasks import task
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.cli.suggestions import suggestions
from service.http.crud import Permissions
from service.settings import Settings
from tests.sample import ITEMS, builder
from tests.service.api.model_service import builder as model_builder
from tests.service.api.model_service import functional

URL = "http://127.0.0.1:8000"


class Odd(Entity, kw_only=True):
    """Something whose code nobody can guess."""

    code: Annotated[str, Meta(pattern=r"^[0-9]{3}-[A-Z]{2}$")]
    level: int = 0


class Odds(EntityTable, tablename="odds"):
    code = Varchar(length=6, unique=True)
    level = Integer()


class Plain(Entity, kw_only=True):
    """Something with one number, which must differ."""

    level: int


class Plains(EntityTable, tablename="plains"):
    level = Integer(unique=True)


class Impossible(msgspec.Struct):
    """Arguments that nobody can guess."""

    code: Annotated[str, Meta(pattern=r"^[0-9]{3}-[A-Z]{2}$")]


class Wash(msgspec.Struct):
    """What is to be washed, and how hot."""

    what: str
    degrees: Annotated[int, Meta(ge=40)] = 60


@task()
async def guessless(args: Impossible) -> None:
    """Nothing to suggest."""


@task()
async def wash(args: Wash) -> None:
    """Wash something."""


@task()
async def tidy() -> None:
    """Tidy up."""


def test_a_model_shows_what_it_is_told_and_what_it_learns_from() -> None:
    app = model_builder("sqlite:///:memory:", functional()).build(Settings())
    assert suggestions(app, URL) == [
        f"curl '{URL}/api/v1/configs/$schema'",
        f"curl '{URL}/api/v1/ml/$generate-sample-data?kind=train&num_periods=3'",
        f"curl '{URL}/api/v1/jobs?fields=kind,status'",
    ]


def suggested(
    resource: Resource[Entity], table: type[EntityTable], permissions: Permissions | None = None
) -> list[str]:
    start = ServiceBuilder(info=ServiceInfo(id="odd", display_name="Odd")).with_database("sqlite:///:memory:")
    app = start.with_crud(resource, table=table, permissions=permissions).with_health().build(Settings())
    return suggestions(app, URL)


def paths(commands: list[str]) -> list[str]:
    return [shlex.split(command)[1].removeprefix(URL) for command in commands]


def test_a_resource_of_every_kind_is_listed_searched_and_made() -> None:
    listed, searched, made = suggestions(builder("sqlite:///:memory:").build(Settings()), URL)
    query = dict(parse_qsl(urlsplit(shlex.split(listed)[1]).query))
    assert query == {"color": "red", "sort": "-created_at", "fields": "id,name,note,color", "page": "1", "size": "5"}
    _, url, _, header, _, body = shlex.split(made)
    assert (url, header) == (f"{URL}/api/v1/items", "Content-Type: application/json")
    values = Bodies(ITEMS).decode_create(body.encode())
    assert dict(parse_qsl(urlsplit(shlex.split(searched)[1]).query))["search"] in values["name"]


def test_without_a_body_to_guess_the_schema_says_what_is_wanted() -> None:
    resource = Resource(Odd, "odds", filterable=["level"], sortable=["level"], limits=QueryLimits(page_size=2))
    assert paths(suggested(resource, Odds)) == [
        "/api/v1/odds?sort=level&fields=id,code,level&page=1&size=2",
        "/api/v1/odds/$schema",
        "/health",
    ]


def test_a_resource_that_is_only_read_or_only_written_has_things_to_try_too() -> None:
    resource = Resource(Plain, "plains", sortable=[])
    read, *others = paths(suggested(resource, Plains, Permissions(create=False)))
    assert read == "/api/v1/plains?fields=id,level&page=1&size=5"
    assert others == ["/api/v1/plains/$schema", "/health"]
    made, *others = suggested(resource, Plains, Permissions(read=False))
    assert msgspec.json.decode(shlex.split(made)[-1]).keys() == {"level"}
    assert paths(others) == ["/health", "/api/v1/info"]


def test_a_service_without_resources_has_things_to_try() -> None:
    app = ServiceBuilder(info=ServiceInfo(id="bare", display_name="Bare")).build(Settings())
    assert paths(suggestions(app, URL)) == ["/api/v1/info", "/openapi.json", "/docs"]


def executed(command: str) -> tuple[str, dict[str, object]]:
    """The path of a command that submits a task, and its body."""
    _, url, _, header, _, body = shlex.split(command)
    assert header == "Content-Type: application/json"
    return url.removeprefix(URL), msgspec.json.decode(body)


def test_a_task_takes_the_place_of_the_search() -> None:
    app = builder("sqlite:///:memory:").with_tasks(guessless, wash, tidy, prefix="/tasks").build(Settings())
    listed, made, run = suggestions(app, URL)
    assert urlsplit(shlex.split(listed)[1]).path == urlsplit(shlex.split(made)[1]).path == "/api/v1/items"
    assert "-d" in shlex.split(made)
    path, body = executed(run)
    assert path == "/tasks/wash/$execute"
    assert wash.checked(body["args"]) == {"what": "What", "degrees": 60}


def test_tasks_alone_are_something_to_try_if_their_arguments_can_be_guessed() -> None:
    start = ServiceBuilder(info=ServiceInfo(id="bare", display_name="Bare")).with_database("sqlite:///:memory:")
    hopeless = start.with_tasks(guessless).build(Settings())
    assert paths(suggestions(hopeless, URL)) == ["/api/v1/info", "/openapi.json", "/docs"]
    run, *others = suggestions(start.with_tasks(tidy).build(Settings()), URL)
    assert executed(run) == ("/api/v1/tasks/tidy/$execute", {})
    assert paths(others) == ["/api/v1/info", "/openapi.json"]
