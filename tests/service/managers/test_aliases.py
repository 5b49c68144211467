"""Aliases moved in any order, beside a model of their history in plain Python."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from domain.context import Context, acting_as
from domain.entity import new_id
from domain.errors import Conflict, NotFound
from domain.model_versions import CHAMPION, MODELS, VERSIONS, Model, ModelVersion, VersionStatus
from domain.query import BY_ID
from infra.database.migrate import up
from infra.database.model_versions import AliasHistory, Models, ModelVersions
from infra.database.piccolo_app import PRODUCT
from infra.database.repository import PiccoloRepository
from infra.database.table import bounds_of
from service.managers.aliases import Aliases
from service.managers.models import ModelManager
from service.managers.versions import VersionManager
from tests.infra.database.engines import opened
from tests.servers import Postgres

T = TypeVar("T")
NUMBERS = (1, 2, 3)
ALIASES = (CHAMPION, "challenger")
TICK = timedelta(microseconds=1)

aliases, numbers = st.sampled_from(ALIASES), st.sampled_from(NUMBERS)


class World:
    """The database under test, in a loop of its own."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self.engine = self.run(self._opened.enter_async_context(opened(url)))
        self.run(up(self.engine, [PRODUCT]))
        self.rows: PiccoloRepository[ModelVersion] = PiccoloRepository(
            VERSIONS.bounded(bounds_of(ModelVersions)), ModelVersions, self.engine
        )
        resource = MODELS.bounded(bounds_of(Models))
        history = AliasHistory(self.engine)
        models: PiccoloRepository[Model] = PiccoloRepository(resource, Models, self.engine)
        self.models = ModelManager(models, self.rows, history, self.engine)
        versions = VersionManager(VERSIONS, self.rows, self.engine)
        self.aliases = Aliases(self.models, versions, history, self.engine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.run(self._opened.aclose())
        self._runner.close()

    def model(self) -> Model:
        """A new model with versions that are made of nothing."""
        return self.run(self._model())

    async def _model(self) -> Model:
        model = await self.models.save(Model(name=f"m{new_id().lower()}"))
        for number in NUMBERS:
            await self.rows.insert(ModelVersion(model_id=model.id, number=number, artifact_id=new_id()))
        return model


class AliasMachine(RuleBasedStateMachine):
    """Moves the aliases of a model, and notes what they pointed to from when on."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        self.model = self.world.model()
        self.name = self.model.name
        self.timeline: dict[str, list[tuple[datetime, int | None]]] = {alias: [] for alias in ALIASES}
        self.undo: dict[str, list[int]] = {alias: [] for alias in ALIASES}
        self.been_live: set[int] = set()

    def now(self, alias: str) -> int | None:
        return self.timeline[alias][-1][1] if self.timeline[alias] else None

    def note(self, alias: str, number: int | None) -> None:
        """What has just been done, with the moment that the history gives it."""
        at = self.world.run(self.world.aliases.history(self.name, alias))[0].at
        assert not self.timeline[alias] or at > self.timeline[alias][-1][0]
        self.timeline[alias].append((at, number))
        if alias == CHAMPION and number is not None:
            self.been_live.add(number)

    @rule(alias=aliases, number=numbers, is_promotion=st.booleans())
    def point(self, alias: str, number: int, is_promotion: bool) -> None:
        aliases = self.world.aliases
        if is_promotion:
            moved = self.world.run(aliases.promote(self.name, number, alias))
        else:
            moved = self.world.run(aliases.put(self.name, alias, number))
        before = self.now(alias)
        assert (moved.version, moved.former, moved.is_changed) == (number, before, before != number)
        if moved.is_changed:
            self.undo[alias].append(number)
            self.note(alias, number)

    @rule(alias=aliases)
    def remove(self, alias: str) -> None:
        if self.now(alias) is None:
            with pytest.raises(NotFound):
                self.world.run(self.world.aliases.remove(self.name, alias))
            return
        self.world.run(self.world.aliases.remove(self.name, alias))
        self.note(alias, None)

    @rule(alias=aliases)
    def roll_back(self, alias: str) -> None:
        undo = self.undo[alias]
        if self.now(alias) is not None:
            undo = undo[:-1]
        if not undo:
            with pytest.raises(Conflict if self.timeline[alias] else NotFound):
                self.world.run(self.world.aliases.rollback(self.name, alias))
            return
        before = self.now(alias)
        moved = self.world.run(self.world.aliases.rollback(self.name, alias))
        self.undo[alias] = undo
        assert (moved.version, moved.former) == (undo[-1], before)
        if moved.is_changed:
            self.note(alias, undo[-1])

    @invariant()
    def every_moment_is_remembered(self) -> None:
        for alias in ALIASES:
            moments = [at for at, _ in self.timeline[alias]]
            asked = {moment for at in moments[-4:] for moment in (at - TICK, at, at + TICK)}
            for moment in sorted(asked):
                assert self.world.run(self.pointed(alias, moment)) == self.known(alias, moment)
            assert self.world.run(self.pointed(alias, None)) == self.now(alias)

    async def pointed(self, alias: str, as_of: datetime | None) -> int | None:
        found = await self.world.aliases.find_all(self.name, as_of)
        return next((item.version for item in found if item.alias == alias), None)

    def known(self, alias: str, as_of: datetime) -> int | None:
        number = None
        for at, pointed in self.timeline[alias]:
            if at <= as_of:
                number = pointed
        return number

    @invariant()
    def one_is_live_at_most(self) -> None:
        found = self.world.run(self.world.rows.find_all(BY_ID))
        for version in found:
            if version.model_id == self.model.id:
                expected = VersionStatus.ARCHIVED if version.number in self.been_live else VersionStatus.CANDIDATE
                is_live = self.now(CHAMPION) == version.number
                assert version.status is (VersionStatus.LIVE if is_live else expected)

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.world.run(self.world.engine.execute("DELETE FROM millrace_model_versions"))


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    name = f"aliases_{new_id().lower()}"
    if request.param == "SQLite":
        folder: Path = tmp_path_factory.mktemp("aliases")
        url = f"sqlite:///{folder / 'aliases.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.create_database(name)
    made = World(url)
    yield made
    made.close()
    if request.param != "SQLite":
        server.drop_database(name)


def test_aliases_remember_what_they_pointed_to(world: World) -> None:
    machine = type("Machine", (AliasMachine,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )


def test_the_history_says_who_it_was_in_which_request(world: World) -> None:
    name = world.model().name

    async def promote() -> None:
        with acting_as(Context(request_id="r" * 200, principal="ada")):
            await world.aliases.promote(name, 1, gate="champion.wis > 0")

    world.run(promote())
    [move] = world.run(world.aliases.history(name, CHAMPION))
    assert (move.principal, move.trace_id, move.gate) == ("ada", "r" * 128, "champion.wis > 0")


def test_a_draft_that_was_live_is_no_way_back(world: World) -> None:
    name = world.model().name
    for number in (1, 2):
        world.run(world.aliases.promote(name, number))
    world.run(world.engine.execute("UPDATE millrace_model_versions SET status = 'draft' WHERE number = 1"))
    with pytest.raises(Conflict, match="is draft and cannot become live"):
        world.run(world.aliases.rollback(name, CHAMPION))
    assert world.run(world.aliases.get(name, CHAMPION)).version == 2
