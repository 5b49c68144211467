"""Putting a service together: what works, and the sentence for what does not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from litestar import Controller, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from msgspec import Meta
from piccolo.columns import Boolean, Integer, Text, Varchar

from domain.context import current_context
from domain.entity import Entity
from domain.errors import Misconfigured
from domain.health import CheckResult, HealthState
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.tasks import Task, task
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.http.application import Service
from service.http.crud import Permissions
from service.managers.base import Manager
from service.managers.hooks import Change, Hooks
from tests.sample import ITEMS, Item, Items, serving, settings

INFO = ServiceInfo(id="sample", display_name="Sample")
MEMORY = "sqlite:///:memory:"


def sample() -> ServiceBuilder:
    return ServiceBuilder(info=INFO).with_database(MEMORY).with_crud(ITEMS, table=Items)


class Note(Entity, kw_only=True):
    """A small entity."""

    text: Annotated[str, Meta(max_length=100)] = ""
    stars: int | None = None


class Notes(EntityTable, tablename="notes"):
    text = Varchar(length=100)
    stars = Integer(null=True, default=None)


NOTES = Resource(Note, "notes")


@task()
async def nothing() -> None:
    """Do nothing."""


def local() -> Task:
    """A task that no other process would find."""

    @task()
    def inner() -> None: ...

    return inner


# Where migrations are looked for

OURS = """
class Special(ServiceBuilder):
    def __init__(self, info):
        super().__init__(info)
"""


def test_migrations_are_beside_the_module_that_builds_also_with_a_builder_of_ours_that_derives_from_another() -> None:
    ours: dict[str, Any] = {
        "__name__": "service.special",
        "__file__": "/ours/special.py",
        "ServiceBuilder": ServiceBuilder,
    }
    exec(OURS, ours)
    for kind in (ServiceBuilder, ours["Special"]):
        app = kind(info=INFO).with_database(MEMORY).build(settings())
        assert app.design.migrations_home == Path(__file__).parent / "migrations"


def test_a_builder_that_is_in_no_file_looks_for_migrations_in_the_current_folder() -> None:
    typed = {"ServiceBuilder": ServiceBuilder, "INFO": INFO, "settings": settings()}
    app = eval("ServiceBuilder(info=INFO).build(settings)", typed)
    assert app.design.migrations_home == Path.cwd() / "migrations"


# What does not work


def broken_table(**columns: Any) -> type[EntityTable]:
    good = {"text": Varchar(length=100), "stars": Integer(null=True, default=None)}
    members = {name: column for name, column in {**good, **columns}.items() if column is not None}
    return type("Broken", (EntityTable,), members)


@pytest.mark.parametrize(
    "columns, sentence",
    [
        ({"text": None}, "Note.text has no column: add `text` to Broken"),
        ({"extra": Text()}, "Broken.extra has no field: add `extra` to Note"),
        ({"text": Boolean()}, "Note.text is text, so Broken.text must be Varchar or Text or Ulid, not Boolean"),
        ({"stars": Integer()}, "Note.stars may be None: add null=True, default=None to Broken.stars"),
        ({"text": Varchar(length=100, null=True)}, "Note.text may not be None: remove null=True from Broken.text"),
        ({"text": Varchar(length=50)}, "Note.text allows 100 characters and Broken.text holds 50: make them equal"),
    ],
)
def test_a_struct_and_a_table_that_disagree_are_refused(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ServiceBuilder(info=INFO).with_database(MEMORY).with_crud(NOTES, table=broken_table(**columns))
    assert sentence in str(caught.value)


def test_every_disagreement_is_named_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        ServiceBuilder(info=INFO).with_crud(NOTES, table=broken_table(text=None, stars=Integer()))
    assert "Note.text" in str(caught.value)
    assert "Note.stars" in str(caught.value)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: ServiceBuilder(info=INFO).with_crud(NOTES, table=Notes).build(settings()), ["with_database()"]),
        (lambda: sample().with_crud(ITEMS, table=Items).build(settings()), ["two resources", "'items'"]),
        (
            lambda: sample().with_crud(Resource(Item, "others"), table=Items).build(settings()),
            ["two resources", "table"],
        ),
        (lambda: ServiceBuilder(info=INFO).with_database("mysql://x/y"), ["mysql", "sqlite:///", "postgresql://"]),
        (lambda: ServiceBuilder(info=INFO).with_database("data.db"), ["no scheme"]),
        (lambda: ServiceBuilder(info=INFO).with_database(MEMORY, pool_size=0), ["pool_size=0"]),
        (lambda: ServiceBuilder(info=INFO).with_database(MEMORY, max_overflow=-1), ["max_overflow"]),
        (lambda: ServiceBuilder(info=INFO).with_database(MEMORY, statement_timeout_seconds=-1), ["statement_timeout"]),
        (
            lambda: ServiceBuilder(info=INFO).with_database(MEMORY, migrations="nowhere").build(settings()),
            ["nowhere", "no folder"],
        ),
        (lambda: sample().with_health(checks={"a b": None}), ["'a b'", "letters"]),  # type: ignore[dict-item]
        (lambda: sample().with_health("health"), ["starts with '/'"]),
        (lambda: sample().with_system("system"), ["starts with '/'"]),
        (lambda: sample().on_startup(lambda: None), ["async def"]),  # type: ignore[arg-type, return-value]
        (lambda: sample().override_dependency("x", 5), ["callable"]),  # type: ignore[arg-type]
        (
            lambda: sample().override_dependency("nope", lambda: 1).build(settings()),
            ["nope", "items_manager"],
        ),
        (
            lambda: sample().register_entity_operation(NOTES, "x", print).build(settings()),
            ["notes", "with_crud"],
        ),
        (lambda: sample().register_entity_operation(ITEMS, "no good", print), ["no good", "verb"]),
        (lambda: sample().with_tasks(print), ["print", "@task()"]),  # type: ignore[arg-type]
        (lambda: sample().with_tasks(nothing, nothing), ["'nothing'", "two tasks"]),
        (lambda: sample().with_tasks(nothing).with_tasks(nothing), ["'nothing'", "two tasks"]),
        (lambda: sample().with_tasks(local()), ["local.<locals>.inner", "module-level"]),
        (lambda: sample().with_tasks(nothing, prefix="tasks"), ["starts with '/'"]),
        (lambda: sample().with_jobs("jobs"), ["starts with '/'"]),
        (lambda: sample().with_jobs(max_concurrency=0), ["with_jobs(max_concurrency=0)", "at least 1"]),
        (lambda: sample().with_jobs(max_processes=0), ["with_jobs(max_processes=0)", "at least 1"]),
        (lambda: sample().with_jobs(lease_seconds=1), ["with_jobs(lease_seconds=1)", "at least 2"]),
        (lambda: sample().with_jobs(grace_seconds=float("nan")), ["with_jobs(grace_seconds=nan)", "at least 0"]),
        (lambda: sample().with_jobs(start_method="forc"), ["start_method='forc'", 'did you mean "fork"?']),
        (lambda: sample().with_schedules("schedules"), ["starts with '/'"]),
        (lambda: sample().with_schedules().build(settings()), ["nothing to schedule", "with_tasks(…)"]),
        (
            lambda: ServiceBuilder(info=INFO).with_tasks(nothing).build(settings()),
            ["need a database", "with_database()"],
        ),
        (
            lambda: sample().with_tasks(nothing).with_crud(Resource(Note, "jobs"), table=Notes).build(settings()),
            ["two resources", "'jobs'"],
        ),
        (
            lambda: sample().with_tasks(nothing, prefix="/x").with_jobs("/api/v1/items").build(settings()),
            ["two resources", "path", "'/api/v1/items'"],
        ),
        (lambda: sample().register_entity_operation(ITEMS, "x", print, method="BREW"), ["BREW"]),
        (
            lambda: sample().with_crud(NOTES, table=Notes, hooks=[Hooks]),  # type: ignore[list-item]
            ["must derive from Hooks"],
        ),
        (lambda: ServiceInfo(id="No Good", display_name="x"), ["No Good", "lower-case"]),
        (lambda: ServiceInfo(id="ok", display_name=" "), ["display_name"]),
        (lambda: sample().with_logging(format="xml").build(), ["LOG_FORMAT", "xml", "console, json"]),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_change(build: Any, words: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        build()
    for word in words:
        assert word in str(caught.value)


def test_a_password_is_never_part_of_a_message() -> None:
    with pytest.raises(Misconfigured) as caught:
        ServiceBuilder(info=INFO).with_database("mysql://user:hunter2@host/name")
    assert "hunter2" not in str(caught.value)


# What works


async def test_permissions_switch_routes_off() -> None:
    permissions = Permissions(create=False, update=False, delete=False)
    app = ServiceBuilder(info=INFO).with_database(MEMORY).with_crud(NOTES, table=Notes, permissions=permissions)
    async with serving(app.build(settings())) as client:
        assert (await client.get("/api/v1/notes")).status_code == 200
        refused = await client.post("/api/v1/notes", json={})
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert set(paths["/api/v1/notes"]) == {"get"}
    write_only = Permissions(read=False)
    app = ServiceBuilder(info=INFO).with_database(MEMORY).with_crud(NOTES, table=Notes, permissions=write_only)
    async with serving(app.build(settings())) as client:
        assert (await client.post("/api/v1/notes", json={})).status_code == 201
        for path in ("", "/$schema", "/$stats"):
            assert (await client.get(f"/api/v1/notes{path}")).status_code in {404, 405}


async def test_own_operations_join_the_routes_of_a_resource() -> None:
    async def praise(id: FromPath[str], manager: NamedDependency[Manager[Note]]) -> Note:
        """Give a note another star."""
        note = await manager.get(id)
        return await manager.patch(id, {"stars": (note.stars or 0) + 1})

    async def best(manager: NamedDependency[Manager[Note]]) -> dict[str, int]:
        return {"stars": max((note.stars or 0 for note in await manager.find_all()), default=0)}

    app = (
        ServiceBuilder(info=INFO)
        .with_database(MEMORY)
        .with_crud(NOTES, table=Notes)
        .register_entity_operation(NOTES, "praise", praise, method="POST")
        .register_collection_operation(NOTES, "$best", best)
        .build(settings())
    )
    async with serving(app) as client:
        note = (await client.post("/api/v1/notes", json={"text": "x"})).json()
        for _ in range(2):
            reply = await client.post(f"/api/v1/notes/{note['id']}/$praise")
            assert reply.status_code == 200
        assert (await client.get("/api/v1/notes/$best")).json() == {"stars": 2}
        missing = await client.post("/api/v1/notes/01K00000000000000000000ZZZ/$praise")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert "post" in paths["/api/v1/notes/{id}/$praise"]


async def test_own_routers_get_managers_and_the_service_info() -> None:
    @get("/names")
    async def names(items_manager: NamedDependency[Manager[Item]], service_info: NamedDependency[ServiceInfo]) -> Any:
        return {"service": service_info.id, "names": [item.name for item in await items_manager.find_all()]}

    async with serving(sample().include_router(names).build(settings())) as client:
        await client.post("/api/v1/items", json={"name": "thing"})
        assert (await client.get("/names")).json() == {"service": "sample", "names": ["thing"]}


async def test_a_dependency_can_be_overridden_wherever_it_is_declared() -> None:
    def real() -> str:
        return "real"

    class Deep(Controller):
        path = "/deep"
        dependencies = {"greeting": Provide(real, sync_to_thread=False)}

        @get("/")
        async def hello(self, greeting: NamedDependency[str]) -> str:
            return greeting

    @get("/flat", dependencies={"greeting": Provide(real, sync_to_thread=False)})
    async def flat(greeting: NamedDependency[str]) -> str:
        return greeting

    @get("/inner")
    async def inner(greeting: NamedDependency[str]) -> str:
        return greeting

    router = Router("/routed", route_handlers=[inner], dependencies={"greeting": Provide(real, sync_to_thread=False)})

    def with_routes() -> ServiceBuilder:
        return sample().include_router(Deep).include_router(flat).include_router(router)

    changed = with_routes().override_dependency("greeting", lambda: "changed").build(settings())
    untouched = with_routes().build(settings())
    for path in ("/deep", "/flat", "/routed/inner"):
        async with serving(changed) as client:
            assert (await client.get(path)).text == "changed"
        async with serving(untouched) as client:
            assert (await client.get(path)).text == "real"


async def test_start_and_stop_hooks_run_in_order_with_the_database_open() -> None:
    calls: list[str] = []

    async def first(app: Service) -> None:
        await app.manager(ITEMS).save(Item(name="made at start"))
        calls.append("first")

    async def second() -> None:
        calls.append("second")

    async def failing(app: Service) -> None:
        calls.append("failing")
        raise RuntimeError("cannot clean up")

    async def last(app: Service) -> None:
        calls.append(f"last {await app.manager(ITEMS).count()}")

    app = sample().on_startup(first).on_startup(second).on_shutdown(failing).on_shutdown(last).build(settings())
    async with serving(app) as client:
        assert calls == ["first", "second"]
        assert len((await client.get("/api/v1/items")).json()) == 1
    assert calls == ["first", "second", "failing", "last 1"]


async def test_an_app_starts_again_after_it_has_stopped(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/again.db"
    app = ServiceBuilder(info=INFO).with_database(url).with_crud(ITEMS, table=Items).build(settings())
    async with serving(app) as client:
        await client.post("/api/v1/items", json={"name": "kept"})
    async with serving(app) as client:
        assert [item["name"] for item in (await client.get("/api/v1/items")).json()] == ["kept"]
    stopped = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://sample.test")
    async with stopped as client:
        assert (await client.get("/api/v1/items")).status_code == 503


async def test_two_apps_in_one_process_share_nothing(database_url: str) -> None:
    """One Table class, two databases, requests interleaved; also through Piccolo itself."""

    @post("/raw")
    async def raw() -> int:
        return int(await Items.count())

    def app_on(url: str) -> Service:
        builder = ServiceBuilder(info=INFO).with_database(url).with_crud(ITEMS, table=Items)
        return builder.include_router(raw).build(settings())

    async with serving(app_on(database_url)) as one, serving(app_on(MEMORY)) as two:
        for number in range(3):
            await one.post("/api/v1/items", json={"name": f"one {number}"})
            assert (await two.get("/api/v1/items")).json() == []
        assert (await one.post("/raw")).text == "3"
        assert (await two.post("/raw")).text == "0"


async def test_hooks_surround_a_change_and_know_who_acts() -> None:
    seen: list[tuple[str, str]] = []

    class Watch(Hooks[Note]):
        async def pre_save(self, entities: Any) -> None:
            for note in entities:
                note.text = note.text.strip()

        async def post_update(self, changes: Any) -> None:
            change: Change[Note] = changes[0]
            seen.append((current_context().request_id, ",".join(change.fields)))
            if change.after.stars == 13:
                raise Misconfigured("unlucky")

        async def deleted(self, entities: Any) -> None:
            raise RuntimeError("nobody is told")

    app = (
        ServiceBuilder(info=INFO).with_database(MEMORY).with_crud(NOTES, table=Notes, hooks=[Watch()]).build(settings())
    )
    async with serving(app) as client:
        note = (await client.post("/api/v1/notes", json={"text": "  x "})).json()
        assert note["text"] == "x"
        path = f"/api/v1/notes/{note['id']}"
        await client.patch(path, json={"stars": 1}, headers={"x-request-id": "req-1"})
        assert seen == [("req-1", "stars")]
        undone = await client.patch(path, json={"stars": 13})
        assert undone.status_code == 500
        assert (await client.get(path)).json()["stars"] == 1
        assert (await client.delete(path)).status_code == 204


async def test_hidden_fields_are_stored_and_never_shown() -> None:
    class Account(Entity, kw_only=True):
        login: Annotated[str, Meta(max_length=50)]
        secret: Annotated[str, Meta(max_length=50)] = "none"
        logins: int = 0

    class Accounts(EntityTable, tablename="hidden_accounts"):
        login = Varchar(length=50)
        secret = Varchar(length=50)
        logins = Integer()

    accounts = Resource(Account, "accounts", hidden={"secret"}, read_only={"logins"})

    async def all_of_them(manager: NamedDependency[Manager[Account]]) -> list[Account]:
        return await manager.find_all()

    app = (
        ServiceBuilder(info=INFO)
        .with_database(MEMORY)
        .with_crud(accounts, table=Accounts)
        .register_collection_operation(accounts, "all", all_of_them)
        .build(settings())
    )
    async with serving(app) as client:
        reply = await client.post("/api/v1/accounts", json={"login": "ada", "secret": "s3cret", "logins": 99})
        assert reply.status_code == 201
        path = f"/api/v1/accounts/{reply.json()['id']}"
        texts = [reply.text, (await client.get(path)).text, (await client.get("/api/v1/accounts")).text]
        texts.append((await client.patch(path, json={"secret": "other"})).text)
        texts.append((await client.get("/api/v1/accounts/$schema")).text)
        operated = await client.get("/api/v1/accounts/$all")
        assert [account["login"] for account in operated.json()] == ["ada"]
        texts.append(operated.text)
        assert not any("secret" in text for text in texts)
        assert reply.json()["logins"] == 0
        for query in ("secret=s3cret", "sort=secret", "fields=secret", 'filter={"secret":{"starts":"s"}}'):
            refused = await client.get(f"/api/v1/accounts?{query}")
            assert refused.status_code == 400
        [stored] = await app.manager(accounts).find_all()
        assert stored.secret == "other"


async def test_unique_values_are_a_conflict_that_names_the_field(database_url: str) -> None:
    class Person(Entity, kw_only=True):
        email: Annotated[str, Meta(max_length=50)]

    class People(EntityTable, tablename="people"):
        email = Varchar(length=50, unique=True)

    people = Resource(Person, "people")
    app = ServiceBuilder(info=INFO).with_database(database_url).with_crud(people, table=People).build(settings())
    async with serving(app) as client:
        first = await client.post("/api/v1/people", json={"email": "a@x"})
        second = await client.post("/api/v1/people", json={"email": "b@x"})
        for reply in (
            await client.post("/api/v1/people", json={"email": "a@x"}),
            await client.patch(f"/api/v1/people/{second.json()['id']}", json={"email": "a@x"}),
        ):
            assert reply.status_code == 409
            assert reply.json()["constraint"] == "unique"
            assert reply.json()["fields"] == ["email"]
            assert '"email"' in reply.json()["detail"]
        assert first.status_code == 201


@pytest.fixture
async def health() -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, CheckResult]]]:
    state = {"own": CheckResult(HealthState.HEALTHY)}

    async def own() -> CheckResult:
        return state["own"]

    async def raising() -> CheckResult:
        raise ValueError("gone")

    checks = {"own": own}
    app = sample().with_health(checks=checks).build(settings())
    checks["raising"] = raising
    async with serving(app) as client:
        yield client, state


async def test_health_adds_up_its_checks(health: tuple[httpx.AsyncClient, dict[str, CheckResult]]) -> None:
    client, state = health
    good = await client.get("/health")
    assert good.json() == {
        "status": "healthy",
        "checks": {"own": {"state": "healthy"}, "database": {"state": "healthy"}},
    }
    state["own"] = CheckResult(HealthState.DEGRADED, "slow")
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/health")).json()["status"] == "degraded"
    state["own"] = CheckResult(HealthState.UNHEALTHY, "set to unhealthy")
    bad = await client.get("/health")
    assert bad.status_code == 503
    assert bad.json()["checks"]["own"] == {"state": "unhealthy", "message": "set to unhealthy"}
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).json() == {"status": "healthy"}


# Background work


async def test_everything_about_jobs_can_be_elsewhere() -> None:
    app = (
        ServiceBuilder(info=INFO)
        .with_database(MEMORY)
        .with_tasks(nothing, prefix="/background/tasks")
        .with_jobs("/background/jobs", max_concurrency=3, tags=["work"])
        .with_schedules("/background/schedules")
        .build(settings())
    )
    async with serving(app) as client:
        reply = await client.post("/background/tasks/nothing/$execute")
        assert reply.headers["location"] == f"http://sample.test/background/jobs/{reply.json()['job_id']}"
        assert (await client.get(reply.headers["location"])).status_code == 200
        body = {"name": "x", "task": "nothing", "cron": "0 0 1 1 *"}
        reply = await client.post("/background/schedules", json=body)
        path = reply.headers["location"]
        assert path.startswith("http://sample.test/background/schedules/")
        assert (await client.get(f"{path}/$preview")).status_code == 200
        reply = await client.post(f"{path}/$trigger")
        assert reply.headers["location"].startswith("http://sample.test/background/jobs/")
        assert (await client.get("/api/v1/jobs")).status_code == 404
        document = (await client.get("/openapi.json")).json()
        assert document["paths"]["/background/jobs"]["get"]["tags"] == ["work"]
    assert app.design.jobs.options.concurrency == 3
    assert app.design.jobs.options.processes <= 3


async def test_tasks_of_several_calls_come_together() -> None:
    @task(queue="other")
    async def something() -> None: ...

    app = (
        ServiceBuilder(info=INFO)
        .with_database(MEMORY)
        .with_tasks(nothing, prefix="/tasks")
        .with_tasks(something)
        .build(settings())
    )
    assert app.design.jobs.options.queues == ("default", "other")
    async with serving(app) as client:
        # A later call moves nothing.
        assert [found["name"] for found in (await client.get("/tasks")).json()] == ["nothing", "something"]
        assert (await client.get("/api/v1/schedules")).status_code == 404


async def test_jobs_without_tasks_can_be_looked_at() -> None:
    async with serving(ServiceBuilder(info=INFO).with_database(MEMORY).with_jobs().build(settings())) as client:
        assert (await client.get("/api/v1/jobs")).json() == []
        assert (await client.get("/api/v1/tasks")).json() == []
        reply = await client.post("/api/v1/tasks/any/$execute")
        assert (reply.status_code, reply.json()["detail"]) == (404, 'There is no task "any"; there are: none')
