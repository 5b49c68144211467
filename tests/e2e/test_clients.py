"""What clients of services around models do, against the processes they meet: all in one, and workers elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from domain.models import ModelRunner
from service.container import open_container
from service.settings import Settings
from tests.processes import PATIENCE_SECONDS, launched, serving
from tests.service.api import test_ml
from tests.service.api.exchanges import Player, sample
from tests.service.api.jobs_service import Stage
from tests.service.api.model_service import Model, builder, classy, functional, shell
from tests.service.api.recorded_services import BUILDERS

RECORDED = """
from tests.service.api.recorded_services import {name}

app = {name}(None).build()
"""

MODEL = """
from tests.service.api.model_service import builder, {name}

app = builder(None, {name}()).build()
"""


@contextmanager
def processes(folder: Path, main: str, variables: Mapping[str, str]) -> Iterator[str]:
    """The module as `millrace serve`, with Redis also as `millrace worker`; the URL. They end well, if asked to."""
    (folder / "main.py").write_text(main)
    with ExitStack() as stack:
        running = [stack.enter_context(serving("main.py", folder=folder, variables=variables))]
        if "REDIS_URL" in variables:
            running.append(
                stack.enter_context(launched("main.py", folder=folder, variables=variables, command="worker"))
            )
        yield running[0].url
        for process in reversed(running):
            assert process.end() == 0, process.output


def client(url: str) -> httpx.AsyncClient:
    """Somebody who talks to a service."""
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=False)


# Recorded clients

# That of all that can be done wrongly is long, and played inside of the process of the tests.
SAMPLES = ("older_client.json", "newer_client.json", "scripts.json", "classes.json")


@pytest.fixture(params=["alone", "distributed"])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A service that does its work itself on SQLite, and one on PostgreSQL and Redis that leaves it to a worker."""
    if request.param == "alone":
        return {}
    urls = {"DATABASE_URL": "postgres_url", "REDIS_URL": "redis_url"}
    found = {name: request.getfixturevalue(fixture) for name, fixture in urls.items()}
    return {**found, "MILLRACE_STORAGE": str(tmp_path / "storage")}


@pytest.mark.parametrize("name", SAMPLES)
async def test_recorded_clients_are_answered_by_processes_too(
    name: str, variables: dict[str, str], tmp_path: Path
) -> None:
    with processes(tmp_path, RECORDED.format(name=BUILDERS[name].__name__), variables) as url:
        async with client(url) as somebody:
            player = Player(sample(name), somebody)
            await player.play()
    assert player.wrong == []


# Models whose worker is elsewhere


@asynccontextmanager
async def distributed(
    make: Callable[[], ModelRunner], database_url: str, redis_url: str, folder: Path
) -> AsyncIterator[Model]:
    """The service around a model and its worker, with a second way into what they share."""
    storage, scratch = folder / "storage", folder / "scratch"
    settings = Settings(redis_url=redis_url, worker="false", storage_folder=storage)
    app = builder(database_url, make()).build(settings)
    variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    variables |= {"MILLRACE_STORAGE": str(storage), "MILLRACE_TEMP": str(scratch)}
    with processes(folder, MODEL.format(name=make.__name__), variables) as url:
        async with app.lifespan(), open_container(settings, app.design) as container, client(url) as somebody:
            yield Model(Stage(app, url, somebody, container), scratch)


Story = Callable[[Model], Awaitable[None]]
STORIES: dict[Callable[[], ModelRunner], tuple[Story, ...]] = {
    functional: (
        test_ml.test_a_training_is_looked_at_beforehand,
        test_ml.test_a_prediction_is_looked_at_beforehand,
        test_ml.test_an_archive_without_a_model_is_noticed_beforehand,
        test_ml.test_what_fails_says_why_and_leaves_no_artifact,
        test_ml.test_a_training_can_be_canceled,
        test_ml.test_many_predictions_at_once_all_end_well,
        test_ml.test_a_large_request_is_taken,
    ),
    classy: (test_ml.test_a_pickle_that_was_not_signed_is_noticed_beforehand,),
    shell: (
        test_ml.test_a_script_that_fails_leaves_a_diagnostic_artifact_under_the_promised_id,
        test_ml.test_canceling_ends_a_script_and_all_that_it_has_started,
    ),
}


@pytest.mark.parametrize("make", STORIES, ids=lambda make: make.__name__)
async def test_what_holds_for_models_holds_between_processes(
    make: Callable[[], ModelRunner], postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with distributed(make, postgres_url, redis_url, tmp_path) as model:
        for story in STORIES[make]:
            await story(model)
