"""Trees of artifacts: whatever is made, moved, linked and removed side by side, nothing wrong is left."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from domain.errors import Conflict, Invalid, NotFound
from tests.service.managers.kept import Kept, opened

ROUNDS, TASKS, STEPS = 6, 12, 12


@pytest.fixture
async def kept(database_url: str, tmp_path: Path) -> AsyncIterator[Kept]:
    async with opened(database_url, tmp_path) as kept:
        yield kept


class Wanderer:
    """Does something at random to a few trees, again and again."""

    def __init__(self, kept: Kept, ids: list[str], configs: list[str], seed: int) -> None:
        self.kept = kept
        self.ids = ids
        self.configs = configs
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def wander(self) -> None:
        steps: list[Callable[[], Awaitable[object]]] = [
            *(self.grow, self.grow, self.move, self.move, self.replace),
            *(self.cut, self.cut_several, self.link, self.unlink, self.drop, self.results),
        ]
        for _ in range(STEPS):
            step = self.random.choice(steps)
            try:
                await step()
            except (NotFound, Invalid):
                pass
            except Conflict as error:
                # No other one is to be expected: above all nobody waits in a circle.
                if error.extensions.get("constraint") not in {"foreign_key", "unique"}:
                    raise
            else:
                self.done[step.__name__] += 1

    def any(self) -> str:
        return self.random.choice(self.ids)

    async def grow(self) -> None:
        artifact = await self.kept.artifacts.create({"data": {}, "parent_id": self.any()})
        self.ids.append(artifact.id)

    async def move(self) -> None:
        parent = self.random.choice([None, self.any(), self.any()])
        await self.kept.artifacts.patch(self.any(), {"parent_id": parent, "tags": [str(self.random.random())[2:]]})

    async def replace(self) -> None:
        await self.kept.artifacts.replace(self.any(), {"data": {}, "parent_id": self.any()})

    async def cut(self) -> None:
        await self.kept.artifacts.delete(self.any())

    async def cut_several(self) -> None:
        await self.kept.artifacts.delete_all([self.any(), self.any()])

    async def link(self) -> None:
        await self.kept.configs.link(self.random.choice(self.configs), self.any())

    async def unlink(self) -> None:
        links = await self.kept.engine.fetch("SELECT config_id, artifact_id FROM millrace_config_artifacts")
        await self.kept.configs.unlink(*self.random.choice(list(links) or [(self.configs[0], self.ids[0])]))

    async def drop(self) -> None:
        config = self.random.choice(self.configs)
        self.configs.append(await self.kept.config())
        self.configs[:] = [other for other in self.configs if other != config]
        await self.kept.configs.delete(config)

    async def results(self) -> None:
        made = self.kept.artifacts.bodies.construct({"data": {}})
        await self.kept.artifacts.insert_results([made], self.random.choice(self.configs))
        self.ids.append(made.id)


async def test_nothing_wrong_is_left_by_changes_side_by_side(kept: Kept) -> None:
    done: Counter[str] = Counter()
    for number in range(ROUNDS):
        tops = [await kept.make() for _ in range(3)]
        ids = [top.id for top in tops] + [(await kept.make(top)).id for top in tops for _ in range(2)]
        configs = [await kept.config() for _ in range(4)]
        wanderers = [Wanderer(kept, ids, configs, number * TASKS + task) for task in range(TASKS)]
        await asyncio.gather(*(wanderer.wander() for wanderer in wanderers))
        assert await kept.wrong() == []
        for wanderer in wanderers:
            done += wanderer.done
    assert len(done) == 9, done


async def test_what_was_below_several_that_are_removed_becomes_roots(kept: Kept) -> None:
    top = await kept.make()
    middle = await kept.make(top)
    orphan = await kept.make(middle)
    leaf = await kept.make(orphan)
    other = await kept.make()
    assert await kept.artifacts.delete_all([top.id, middle.id, other.id]) == 3
    assert await kept.wrong() == []
    found = await kept.artifacts.get(leaf.id)
    assert (found.level, found.root_id) == (1, orphan.id)


async def test_what_is_moved_along_is_a_new_version(kept: Kept) -> None:
    top, other = await kept.make(), await kept.make()
    middle = await kept.make(top)
    leaf = await kept.make(middle)
    before = [(await kept.artifacts.document(artifact.id)).version for artifact in (middle, leaf, other)]
    await kept.artifacts.patch(middle.id, {"parent_id": other.id})
    moved = [(await kept.artifacts.document(artifact.id)).version for artifact in (middle, leaf, other)]
    assert (moved[0] > before[0], moved[1] > before[1], moved[2]) == (True, True, before[2])
    await kept.artifacts.delete(other.id)
    assert (await kept.artifacts.document(middle.id)).version > moved[0]
    orphaned = (await kept.artifacts.document(leaf.id)).version
    assert orphaned > moved[1]
    # To the same level of the same tree.
    sibling, deeper = await kept.make(middle), await kept.make(leaf)
    known = (await kept.artifacts.document(deeper.id)).version
    await kept.artifacts.patch(leaf.id, {"parent_id": sibling.id})
    await kept.artifacts.patch(leaf.id, {"parent_id": middle.id})
    assert (await kept.artifacts.document(deeper.id)).version > known
    assert await kept.wrong() == []


async def test_a_result_of_a_configuration_that_is_gone_belongs_to_none(kept: Kept) -> None:
    config = await kept.config()
    await kept.configs.delete(config)
    made = kept.artifacts.bodies.construct({"data": {}})
    await kept.artifacts.insert_results([made], config)
    assert await kept.artifacts.exists(made.id)
    assert await kept.wrong() == []
    with pytest.raises(NotFound):
        await kept.configs.of_artifact(made.id)


async def test_configurations_that_are_removed_together_take_their_trees_along(kept: Kept) -> None:
    configs = [await kept.config(), await kept.config()]
    for config in configs:
        top = await kept.make()
        await kept.make(top)
        await kept.configs.link(config, top.id)
    assert await kept.configs.delete_all(configs) == 2
    assert await kept.artifacts.count() == 0
    assert await kept.wrong() == []


async def test_a_tree_is_read_by_as_many_statements_whatever_its_size(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = await kept.make()
    for _ in range(3):
        child = await kept.make(top)
        for _ in range(3):
            await kept.make(child)
    asked: list[str] = []
    fetch = kept.engine.fetch

    async def noting(sql: str, *values: object) -> object:
        asked.append(sql)
        return await fetch(sql, *values)

    monkeypatch.setattr(kept.engine, "fetch", noting)
    whole = await kept.artifacts.tree(top.id)
    assert sum(len(child["children"]) for child in whole["children"]) == 9
    assert len(asked) == 3
