"""Managers: every change is one transaction with its hooks, and no concurrent change is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.context import Context, acting_as, current_context
from domain.entity import new_id
from domain.errors import Conflict, Invalid, InvalidBody, InvalidId, NotFound, PreconditionFailed
from domain.query import BY_ID, Comparison, Keyset, Operator, QueryOptions, Sort
from domain.wire import timestamp_text
from infra.database.repository import PiccoloRepository
from service.managers.base import Manager
from service.managers.hooks import Change, Hooks
from tests.infra.contracts.databases import BOUNDED, decoded, items
from tests.sample import Color, Detail, Item

Repository = PiccoloRepository[Item]
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


class Undo(Exception):
    """What a hook raises to have the change undone."""


class Noting(Hooks[Item]):
    """Notes what it is called with, and whether the change is still open."""

    def __init__(self, name: str, notes: list[tuple[Any, ...]], repository: Repository) -> None:
        self.name = name
        self.notes = notes
        self.repository = repository
        self.failing = ""

    async def note(self, method: str, *values: Any) -> None:
        is_open = self.repository.engine.current_transaction.get() is not None
        self.notes.append((self.name, method, is_open, *values))
        if self.failing == method:
            raise Undo

    async def pre_save(self, entities: Sequence[Item]) -> None:
        await self.note("pre_save", len(entities))

    async def post_save(self, entities: Sequence[Item]) -> None:
        await self.note("post_save", len(entities))

    async def saved(self, entities: Sequence[Item]) -> None:
        await self.note("saved", len(entities))

    async def pre_update(self, changes: Sequence[Change[Item]]) -> None:
        await self.note("pre_update", *(sorted(change.fields) for change in changes))

    async def post_update(self, changes: Sequence[Change[Item]]) -> None:
        await self.note("post_update", *(sorted(change.fields) for change in changes))

    async def updated(self, changes: Sequence[Change[Item]]) -> None:
        await self.note("updated", *(sorted(change.fields) for change in changes))

    async def pre_delete(self, entities: Sequence[Item]) -> None:
        await self.note("pre_delete", len(entities))

    async def post_delete(self, entities: Sequence[Item]) -> None:
        await self.note("post_delete", len(entities))

    async def deleted(self, entities: Sequence[Item]) -> None:
        await self.note("deleted", len(entities))


@pytest.fixture
async def repository(shared_database_url: str) -> AsyncIterator[Repository]:
    async with items(shared_database_url) as repository:
        yield repository


@pytest.fixture
def manager(repository: Repository) -> Manager[Item]:
    return Manager(BOUNDED, repository, repository.engine)


Watched = tuple[Manager[Item], list[tuple[Any, ...]], Noting]


@pytest.fixture
def watched(repository: Repository) -> Watched:
    """A manager with two hooks, what they note, and the second of them."""
    notes: list[tuple[Any, ...]] = []
    first, second = Noting("first", notes, repository), Noting("second", notes, repository)
    return Manager(BOUNDED, repository, repository.engine, hooks=(first, second)), notes, second


def with_hooks(repository: Repository, *hooks: Hooks[Item], **options: Any) -> Manager[Item]:
    return Manager(BOUNDED, repository, repository.engine, hooks=hooks, **options)


async def everything(manager: Manager[Item]) -> list[Item]:
    return await manager.find_all()


# Reads


async def test_reads_find_what_was_stored(manager: Manager[Item]) -> None:
    one, two = await manager.create({"name": "one"}), await manager.create({"name": "two", "size": 5})
    assert await manager.get(one.id.lower()) == one
    assert await manager.find(two.id) == two
    assert await manager.find(new_id()) is None
    assert await manager.exists(one.id)
    assert not await manager.exists(new_id())
    assert await manager.find_many([two.id.lower(), one.id, new_id()]) == [one, two]
    assert await manager.find_all() == [one, two]
    big = QueryOptions(sort=(Sort("id"),), filter=Comparison("size", Operator.GT, 1))
    assert await manager.find_all(big) == [two]
    assert (await manager.count(), await manager.count(big)) == (2, 1)
    assert decoded((await manager.document(one.id, ["name"])).json) == {"name": "one"}
    assert (await manager.page(QueryOptions(sort=(Sort("id"),), window=Keyset(1)))).size == 1


async def test_what_is_not_there_is_not_found_and_what_is_no_id_is_invalid(manager: Manager[Item]) -> None:
    works: list[Callable[[str], Any]] = [
        manager.get,
        manager.document,
        manager.delete,
        lambda id: manager.patch(id, {"name": "x"}),
        lambda id: manager.replace(id, {"name": "x"}),
        lambda id: manager.delete(id, is_expected=lambda _: True),
    ]
    missing = new_id()
    for work in works:
        with pytest.raises(NotFound, match=f"Entity with id {missing} not found"):
            await work(missing)
        with pytest.raises(InvalidId, match="Invalid ULID format: nonsense"):
            await work("nonsense")
    for work in (manager.find, manager.exists, lambda id: manager.find_many([id]), lambda id: manager.delete_all([id])):
        with pytest.raises(InvalidId):
            await work("x" * 5000)


# Changes


async def test_a_new_entity_has_defaults_and_one_time(repository: Repository) -> None:
    manager = with_hooks(repository, clock=lambda: NOON)
    made = await manager.create({"name": "a", "detail": Detail(width=1)})
    assert (made.created_at, made.updated_at, made.color) == (NOON, NOON, Color.RED)
    assert await manager.get(made.id) == made


async def test_an_id_that_is_taken_is_a_conflict(manager: Manager[Item], watched: Watched) -> None:
    made = await manager.create({"name": "a"})
    for each in (manager, watched[0]):
        with pytest.raises(Conflict, match=f"Entity with id {made.id} already exists"):
            await each.create({"name": "b", "id": made.id})
        with pytest.raises(Conflict, match="already taken"):
            await each.save_all([Item(name="c"), Item(name="b", id=made.id)])
    assert await everything(manager) == [made]


async def test_replacing_falls_back_to_defaults_and_keeps_tags_and_age(manager: Manager[Item]) -> None:
    made = await manager.create({"name": "a", "note": "n", "size": 5, "tags": ["x"]})
    replaced = await manager.replace(made.id, {"name": "b"})
    assert (replaced.name, replaced.note, replaced.size, replaced.tags) == ("b", None, 0, ["x"])
    assert replaced.created_at == made.created_at
    assert replaced.updated_at > made.updated_at
    assert await manager.get(made.id) == replaced
    assert (await manager.replace(made.id, {"name": "b", "tags": []})).tags == []


async def test_a_patch_changes_what_it_names(manager: Manager[Item]) -> None:
    made = await manager.create({"name": "a", "note": "n", "meta": {"a": 1, "b": 2}, "detail": Detail(width=1)})
    patched = await manager.patch(made.id, {"note": None, "meta": {"a": None}, "detail": {"unit": "mm"}})
    assert (patched.name, patched.note, patched.meta, patched.detail) == ("a", None, {"b": 2}, Detail(1, "mm"))
    assert await manager.get(made.id) == patched
    with pytest.raises(InvalidBody):
        await manager.patch(made.id, {"size": "x"})
    assert await manager.get(made.id) == patched


async def test_a_change_of_nothing_changes_nothing(watched: Watched) -> None:
    manager, notes, _ = watched
    made = await manager.create({"name": "a", "size": 3})
    notes.clear()
    assert await manager.patch(made.id, {"size": 3}) == made
    assert await manager.patch(made.id, {}) == made
    assert await manager.replace(made.id, {"name": "a", "size": 3}) == made
    assert notes == []


async def test_entities_are_deleted_one_or_many(manager: Manager[Item], watched: Watched) -> None:
    for each in (manager, watched[0]):
        rows = [Item(name=str(number)) for number in range(4)]
        await each.save_all(rows)
        await each.delete(rows[0].id)
        assert await each.delete_all([rows[1].id, rows[2].id, rows[1].id, new_id()]) == 2
        assert await each.delete_all([]) == 0
        assert await everything(each) == [rows[3]]
        await each.delete(rows[3].id)


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=-1), timedelta(days=-9000)])
async def test_updated_at_increases_whatever_the_clock_says(repository: Repository, offset: timedelta) -> None:
    times = [NOON]
    manager = with_hooks(repository, clock=lambda: times[0])
    made = await manager.create({"name": "a"})
    versions = [made.updated_at]
    for size in range(1, 5):
        times[0] += offset
        versions.append((await manager.patch(made.id, {"size": size})).updated_at)
    assert versions == [NOON + timedelta(microseconds=number) for number in range(5)]
    assert (await manager.get(made.id)).updated_at == versions[-1]
    times[0] = NOON + timedelta(hours=1)
    assert (await manager.patch(made.id, {"size": 9})).updated_at == times[0]


# Expectations


async def test_a_change_of_another_version_than_expected_is_refused(manager: Manager[Item], watched: Watched) -> None:
    for each in (manager, watched[0]):
        made = await each.create({"name": "a"})
        changed = await each.patch(made.id, {"size": 1}, is_expected=timestamp_text(made.updated_at).__eq__)
        stale = timestamp_text(made.updated_at).__eq__
        for work in (
            each.patch(made.id, {"size": 2}, is_expected=stale),
            each.replace(made.id, {"name": "b"}, is_expected=stale),
            each.delete(made.id, is_expected=stale),
        ):
            with pytest.raises(PreconditionFailed, match="has changed since"):
                await work
        assert await each.get(made.id) == changed
        assert (await each.document(made.id)).version == timestamp_text(changed.updated_at)
        await each.delete(made.id, is_expected=timestamp_text(changed.updated_at).__eq__)
        assert not await each.exists(made.id)


async def test_of_several_changes_that_expect_one_version_one_wins(manager: Manager[Item]) -> None:
    made = await manager.create({"name": "a"})
    version = timestamp_text(made.updated_at)
    results = await asyncio.gather(
        *(manager.patch(made.id, {"size": size}, is_expected=version.__eq__) for size in range(1, 9)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Item) for result in results) == 1
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 7


async def test_concurrent_patches_of_one_entity_lose_nothing(manager: Manager[Item], watched: Watched) -> None:
    for each in (manager, watched[0]):
        made = await each.create({"name": "a"})
        patches: list[dict[str, Any]] = [{"meta": {f"k{number}": number}} for number in range(25)]
        patches += [{"size": 1}, {"note": "n"}, {"color": "blue"}, {"ratio": 0.5}, {"big": 7}]
        results = await asyncio.gather(*(each.patch(made.id, patch) for patch in patches))
        found = await each.get(made.id)
        assert found.meta == {f"k{number}": number for number in range(25)}
        assert (found.size, found.note, found.color, found.ratio, found.big) == (1, "n", Color.BLUE, 0.5, 7)
        versions = [result.updated_at for result in results]
        assert len(set(versions)) == len(versions)
        assert found.updated_at == max(versions)


# Hooks


async def test_hooks_run_in_their_order_around_the_write_and_after_the_commit(watched: Watched) -> None:
    manager, notes, _ = watched
    made = await manager.create({"name": "a"})
    await manager.patch(made.id, {"size": 5})
    await manager.delete(made.id)
    fields = ["size"]
    assert notes == [
        ("first", "pre_save", True, 1),
        ("second", "pre_save", True, 1),
        ("first", "post_save", True, 1),
        ("second", "post_save", True, 1),
        ("first", "saved", False, 1),
        ("second", "saved", False, 1),
        ("first", "pre_update", True, fields),
        ("second", "pre_update", True, fields),
        ("first", "post_update", True, fields),
        ("second", "post_update", True, fields),
        ("first", "updated", False, fields),
        ("second", "updated", False, fields),
        ("first", "pre_delete", True, 1),
        ("second", "pre_delete", True, 1),
        ("first", "post_delete", True, 1),
        ("second", "post_delete", True, 1),
        ("first", "deleted", False, 1),
        ("second", "deleted", False, 1),
    ]


async def test_hooks_get_all_entities_of_a_change_at_once(watched: Watched) -> None:
    manager, notes, _ = watched
    rows = [Item(name=str(number)) for number in range(1000)]
    await manager.save_all(rows)
    await manager.delete_all([row.id for row in rows])
    assert [note[1:] for note in notes if note[0] == "first"] == [
        ("pre_save", True, 1000),
        ("post_save", True, 1000),
        ("saved", False, 1000),
        ("pre_delete", True, 1000),
        ("post_delete", True, 1000),
        ("deleted", False, 1000),
    ]


@pytest.mark.parametrize("method", ["pre_save", "post_save", "pre_update", "post_update", "pre_delete", "post_delete"])
async def test_an_error_in_a_hook_undoes_the_change_and_nothing_happens_after_it(watched: Watched, method: str) -> None:
    manager, notes, second = watched
    made = await manager.create({"name": "a"})
    works: dict[str, Callable[[], Any]] = {
        "save": lambda: manager.create({"name": "b"}),
        "update": lambda: manager.patch(made.id, {"size": 5}),
        "delete": lambda: manager.delete(made.id),
    }
    second.failing = method
    notes.clear()
    with pytest.raises(Undo):
        await works[method.split("_")[1]]()
    assert await everything(manager) == [made]
    assert all(is_open for _, _, is_open, *_ in notes)


@pytest.mark.parametrize("method", ["saved", "updated", "deleted"])
async def test_an_error_after_the_commit_is_logged_and_the_change_stays(
    watched: Watched, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager, notes, second = watched
    second.failing = method
    with caplog.at_level(logging.ERROR):
        made = await manager.create({"name": "a"})
        assert (await manager.patch(made.id, {"size": 5})).size == 5
        await manager.delete(made.id)
    assert await everything(manager) == []
    assert len(caplog.records) == 1
    assert [note[1] for note in notes][-1] == "deleted"


async def test_hooks_may_alter_what_is_stored(repository: Repository) -> None:
    class Tagging(Hooks[Item]):
        async def pre_save(self, entities: Sequence[Item]) -> None:
            for entity in entities:
                entity.name = entity.name.upper()

        async def pre_update(self, changes: Sequence[Change[Item]]) -> None:
            for change in changes:
                change.after.tags.append("touched")
                change.after.meta["by"] = current_context().principal

    manager = with_hooks(repository, Tagging())
    made = await manager.create({"name": "a", "tags": ["new"]})
    assert (await manager.get(made.id)).name == "A"
    with acting_as(Context(principal="ada")):
        patched = await manager.patch(made.id, {"size": 5})
    assert (patched.tags, patched.meta) == (["new", "touched"], {"by": "ada"})
    assert await manager.get(made.id) == patched


async def test_a_hook_cannot_change_an_id(repository: Repository) -> None:
    class Renaming(Hooks[Item]):
        async def pre_update(self, changes: Sequence[Change[Item]]) -> None:
            changes[0].after.id = new_id()

    manager = with_hooks(repository, Renaming())
    made = await manager.create({"name": "a"})
    with pytest.raises(Invalid, match="id of an entity cannot change"):
        await manager.patch(made.id, {"size": 5})
    assert await everything(manager) == [made]


async def test_what_a_hook_writes_belongs_to_the_change(repository: Repository) -> None:
    class Copying(Hooks[Item]):
        is_failing = False

        async def post_save(self, entities: Sequence[Item]) -> None:
            await repository.insert(Item(name=f"copy of {entities[0].name}"))
            if self.is_failing:
                raise Undo

    hooks = Copying()
    manager = with_hooks(repository, hooks)
    await manager.create({"name": "a"})
    hooks.is_failing = True
    with pytest.raises(Undo):
        await manager.create({"name": "b"})
    assert [item.name for item in await repository.find_all(BY_ID)] == ["a", "copy of a"]


async def test_several_changes_may_be_one_transaction(watched: Watched) -> None:
    manager, notes, _ = watched
    made = await manager.create({"name": "a"})
    notes.clear()

    async def change() -> None:
        async with manager.transactions.transaction():
            await manager.patch(made.id, {"size": 5})
            await asyncio.gather(*(manager.create({"name": name}) for name in "bc"))
            await manager.delete(made.id)
            raise Undo

    with pytest.raises(Undo):
        await change()
    assert await everything(manager) == [made]
    assert not [note for note in notes if not note[2]]


async def test_a_hook_that_overrides_nothing_does_nothing(repository: Repository) -> None:
    manager = with_hooks(repository, Hooks())
    made = await manager.create({"name": "a"})
    await manager.patch(made.id, {"size": 5})
    await manager.delete(made.id)
    assert await everything(manager) == []


def test_the_fields_of_a_change_are_those_that_differ_without_its_timestamps() -> None:
    before = Item(name="a", size=1, meta={"a": 1})
    change = Change(before, Item(id=before.id, created_at=before.created_at, updated_at=NOON, name="b", meta={"a": 1}))
    assert change.fields == {"name": ("a", "b"), "size": (1, 0)}
