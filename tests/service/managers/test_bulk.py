"""Many changes at once: what comes of them is what comes of them one by one, in far fewer statements."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.bodies import Bodies
from domain.bulk import BulkItem, BulkOptions, ItemResult, Mode, OnConflict, Op, Outcome
from domain.bulk_items import ItemReader
from domain.entity import new_id
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed, ServiceError, Unavailable
from domain.query import BY_ID, Resource
from domain.wire import timestamp_text
from infra.database.repository import PiccoloRepository
from infra.database.table import bounds_of
from service.managers.base import Manager
from service.managers.hooks import Change, Hooks
from tests.infra.contracts.databases import BOUNDED, items, refill
from tests.infra.contracts.test_bulk import Member
from tests.infra.database.engines import opened
from tests.sample import Item, Items

Repository = PiccoloRepository[Item]
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
IDS = tuple(sorted(new_id() for _ in range(6)))
PARTIAL = BulkOptions(mode=Mode.PARTIAL)


def tag(text: str) -> Callable[[str], bool]:
    return text.__eq__


def read(bodies: Bodies[Any], sent: Sequence[Any], on_conflict: OnConflict = OnConflict.ERROR) -> list[BulkItem]:
    """Items as the door reads them."""
    reader = ItemReader(bodies, tuple(Op), on_conflict, tag)
    return [reader.read(msgspec.json.encode(one), index, ("items", index)) for index, one in enumerate(sent)]


@pytest.fixture
async def repository(shared_database_url: str) -> AsyncIterator[Repository]:
    async with items(shared_database_url) as repository:
        yield repository


@pytest.fixture
def manager(repository: Repository) -> Manager[Item]:
    return Manager(BOUNDED, repository, repository.engine)


def outcomes(results: Sequence[ItemResult]) -> list[str]:
    return [result.error.code if result.error is not None else result.outcome for result in results]


# The same as one by one

data = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", ""]),
        "note": st.sampled_from([None, "n"]),
        "size": st.sampled_from([0, 1, "x", 2**31]),
        "meta": st.sampled_from([{}, {"a": 1}, {"a": None, "b": {"c": 2}}]),
        "tags": st.sampled_from([["x"], ["x", "x"]]),
        "price": st.sampled_from(["1.5", "1.555", None]),
        "nonsense": st.just(1),
    },
)
sent_items = st.fixed_dictionaries(
    {"op": st.sampled_from(Op)},
    optional={
        "id": st.sampled_from(IDS),
        "data": data | data.map(lambda values: {"name": "whole", **values}),
        "if_match": st.sampled_from([timestamp_text(NOON), "another"]),
    },
)


async def one_by_one(manager: Manager[Item], item: BulkItem, on_conflict: OnConflict) -> str:
    """What comes of an item alone, by the operations that there are for one."""
    try:
        if item.error is not None:
            raise item.error
        before = await manager.find(item.id) if item.id is not None else None
        if item.op is Op.DELETE:
            await manager.delete(item.id or "", is_expected=item.is_expected)
            return Outcome.DELETED
        if item.op is Op.CREATE and before is not None and on_conflict is OnConflict.SKIP:
            return Outcome.SKIPPED
        is_patch = item.op is Op.UPDATE or on_conflict is OnConflict.UPDATE or item.op is Op.UPSERT
        if is_patch and (before is not None or item.op is Op.UPDATE):
            after = await manager.patch(item.id or "", item.patch, is_expected=item.is_expected)
            return Outcome.UNCHANGED if after == before else Outcome.UPDATED
        if item.is_expected is not None:
            raise PreconditionFailed("there is none")
        await manager.create(item.values)
        return Outcome.CREATED
    except ServiceError as error:
        return error.code


@given(
    stored=st.sets(st.sampled_from(IDS)),
    sent=st.lists(sent_items, max_size=12),
    on_conflict=st.sampled_from(OnConflict),
    mode=st.sampled_from(Mode),
    is_hooked=st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_bulk_is_the_same_as_one_by_one(
    repository: Repository,
    stored: set[str],
    sent: list[dict[str, Any]],
    on_conflict: OnConflict,
    mode: Mode,
    is_hooked: bool,
) -> None:
    hooks: list[Hooks[Item]] = [Hooks()] if is_hooked else []
    manager = Manager(BOUNDED, repository, repository.engine, hooks=hooks, clock=lambda: NOON)
    # What has no id gets one, so that both ways can be compared.
    sent = [{"id": new_id(), **one} if one["op"] in {Op.CREATE, Op.UPSERT} else one for one in sent]
    before = [Item(id=id, name="stored", meta={"a": 0}, created_at=NOON, updated_at=NOON) for id in sorted(stored)]
    todo = read(manager.bodies, sent, on_conflict)
    await refill(repository.engine, repository, before)
    expected = [await one_by_one(manager, item, on_conflict) for item in todo]
    after = await repository.find_all(BY_ID)
    await refill(repository.engine, repository, before)
    options = BulkOptions(mode=mode, on_conflict=on_conflict)
    found = await manager.bulk(todo, options)
    assert outcomes(found.results) == expected
    is_kept = mode is Mode.PARTIAL or not found.counts.failed
    assert found.is_kept == is_kept
    assert await repository.find_all(BY_ID) == (after if is_kept else before)
    await refill(repository.engine, repository, before)
    dry = await manager.bulk(todo, msgspec.structs.replace(options, dry_run=True))
    assert (outcomes(dry.results), dry.counts, dry.is_kept) == (expected, found.counts, False)
    assert await repository.find_all(BY_ID) == before


# Unique values


async def test_of_new_entities_with_one_unique_value_the_first_is_stored(members: Manager[Member]) -> None:
    await members.save(Member(email="stored", number=1))
    sent = [
        {"op": "create", "data": {"email": "a"}},
        {"op": "create", "data": {"email": "stored"}},
        {"op": "create", "data": {"email": "a", "number": 1}},
        {"op": "create", "data": {"email": "b"}},
    ]
    found = await members.bulk(read(members.bodies, sent), PARTIAL)
    assert outcomes(found.results) == ["created", "conflict", "conflict", "created"]
    errors = [result.error for result in found.results if result.error is not None]
    assert [error.extensions for error in errors] == [
        {"constraint": "unique", "fields": ["email"]},
        {"constraint": "unique", "fields": ["email", "number"]},
    ]
    assert errors[0].detail == 'The value of "email" is already taken'
    assert [member.email for member in await members.find_all()] == ["stored", "a", "b"]
    skipped = await members.bulk(
        read(members.bodies, [*sent, {"op": "create", "data": {"email": "c"}}]),
        BulkOptions(on_conflict=OnConflict.SKIP),
    )
    assert outcomes(skipped.results) == ["skipped"] * 4 + ["created"]


async def test_an_update_to_a_value_that_is_taken_costs_only_itself(members: Manager[Member]) -> None:
    rows = [Member(email=f"e{number}", number=number) for number in range(20)]
    await members.save_all(rows)
    sent = [{"op": "update", "id": row.id, "data": {"size": 1, "email": f"new{n}"}} for n, row in enumerate(rows)]
    sent[7]["data"] = {"number": 3}
    sent[11]["data"] = {"number": 4, "email": "x"}
    found = await members.bulk(read(members.bodies, sent), PARTIAL)
    assert [index for index, code in enumerate(outcomes(found.results)) if code == "conflict"] == [7, 11]
    assert sum(member.size for member in await members.find_all()) == 18


async def test_what_a_set_deletes_makes_room_for_what_it_creates(members: Manager[Member]) -> None:
    old = await members.save(Member(email="a", number=1))
    sent = [
        {"op": "create", "data": {"email": "a", "number": 1}},
        {"op": "delete", "id": old.id},
    ]
    found = await members.bulk(read(members.bodies, sent), BulkOptions())
    assert outcomes(found.results) == ["created", "deleted"]
    assert [member.email for member in await members.find_all()] == ["a"]


async def test_an_atomic_request_lists_all_that_is_wrong_with_it(members: Manager[Member]) -> None:
    old = await members.save(Member(email="a"))
    sent = [
        {"op": "create", "data": {"email": "a"}},
        {"op": "create", "data": {"email": 5}},
        {"op": "create", "data": {"email": "b"}},
        {"op": "update", "id": new_id(), "data": {}},
        {"op": "update", "id": old.id, "data": {"size": "x"}},
        {"op": "create", "id": old.id, "data": {"email": "c"}},
        {"op": "delete", "id": new_id()},
    ]
    found = await members.bulk(read(members.bodies, sent), BulkOptions())
    assert outcomes(found.results) == [
        "conflict",
        "invalid-body",
        "created",
        "not-found",
        "invalid-body",
        "conflict",
        "not-found",
    ]
    assert not found.is_kept
    error = found.results[4].error
    assert error is not None
    assert error.errors[0].pointer == "/items/4/data/size"
    assert error.errors[0].loc == ("body", "items", 4, "data", "size")
    assert await members.find_all() == [old]


# Hooks


class Noting(Hooks[Item]):
    """Notes what it is called with; a change of something called "bad" it refuses."""

    def __init__(self, is_refusing: bool = True) -> None:
        self.notes: list[tuple[str, int]] = []
        self.is_refusing = is_refusing

    def note(self, method: str, names: Sequence[str]) -> None:
        self.notes.append((method, len(names)))
        if self.is_refusing and method.startswith("p") and "bad" in names:
            raise Invalid("nothing may be bad")

    async def pre_save(self, entities: Sequence[Item]) -> None:
        self.note("pre_save", [item.name for item in entities])
        for item in entities:
            item.labels.append("seen")

    async def post_save(self, entities: Sequence[Item]) -> None:
        self.note("post_save", [item.name for item in entities])

    async def saved(self, entities: Sequence[Item]) -> None:
        self.note("saved", [item.name for item in entities])

    async def pre_update(self, changes: Sequence[Change[Item]]) -> None:
        self.note("pre_update", [change.after.name for change in changes])
        for change in changes:
            change.after.labels.append("seen")

    async def post_update(self, changes: Sequence[Change[Item]]) -> None:
        self.note("post_update", [change.after.name for change in changes])

    async def updated(self, changes: Sequence[Change[Item]]) -> None:
        self.note("updated", [change.after.name for change in changes])

    async def pre_delete(self, entities: Sequence[Item]) -> None:
        self.note("pre_delete", [item.name for item in entities])

    async def post_delete(self, entities: Sequence[Item]) -> None:
        self.note("post_delete", [item.name for item in entities])

    async def deleted(self, entities: Sequence[Item]) -> None:
        self.note("deleted", [item.name for item in entities])


async def test_hooks_see_the_whole_batch_at_once(repository: Repository) -> None:
    noting = Noting()
    manager = Manager(BOUNDED, repository, repository.engine, hooks=[noting])
    rows = [Item(name="stored") for _ in range(600)]
    await repository.insert_all(rows)
    sent = [
        *({"op": "create", "data": {"name": "a"}} for _ in range(1_000)),
        *({"op": "update", "id": row.id, "data": {"size": 5}} for row in rows[:400]),
        *({"op": "delete", "id": row.id} for row in rows[400:]),
    ]
    found = await manager.bulk(read(manager.bodies, sent), BulkOptions())
    assert found.counts.total == found.counts.affected == 1_600
    assert noting.notes == [
        ("pre_delete", 200),
        ("post_delete", 200),
        ("pre_update", 400),
        ("post_update", 400),
        ("pre_save", 1_000),
        ("post_save", 1_000),
        ("deleted", 200),
        ("updated", 400),
        ("saved", 1_000),
    ]
    assert {tuple(item.labels) for item in await repository.find_all(BY_ID)} == {("seen",)}


async def test_what_a_hook_refuses_costs_only_itself_and_hooks_see_each_entity_as_it_was_sent(
    repository: Repository,
) -> None:
    noting = Noting()
    manager = Manager(BOUNDED, repository, repository.engine, hooks=[noting])
    rows = [Item(name="bad" if number == 2 else "stored") for number in range(8)]
    await repository.insert_all(rows)
    sent = [
        *({"op": "create", "data": {"name": "bad" if number in {0, 5} else "good"}} for number in range(8)),
        *({"op": "update", "id": row.id, "data": {"size": 5}} for row in rows[:4]),
        {"op": "update", "id": rows[4].id, "data": {"name": "bad"}},
        *({"op": "delete", "id": row.id} for row in rows[5:]),
    ]
    found = await manager.bulk(read(manager.bodies, sent), PARTIAL)
    codes = outcomes(found.results)
    assert [index for index, code in enumerate(codes) if code == "validation-failed"] == [0, 5, 10, 12]
    assert found.counts.affected == 12
    noting.notes.clear()
    stored = await repository.find_all(BY_ID)
    assert {tuple(item.labels) for item in stored if item.name == "good" or item.size} == {("seen",)}
    refused = await manager.bulk(read(manager.bodies, sent[:8]), BulkOptions())
    assert not refused.is_kept
    assert await repository.find_all(BY_ID) == stored
    assert not [method for method, _ in noting.notes if method in {"saved", "updated", "deleted"}]


class Failing(Hooks[Item]):
    """Has found that the database is away."""

    async def pre_save(self, entities: Sequence[Item]) -> None:
        raise Unavailable("it is away")


async def test_what_is_away_fails_the_whole_request(repository: Repository) -> None:
    manager = Manager(BOUNDED, repository, repository.engine, hooks=[Failing()])
    sent = [{"op": "create", "data": {"name": "a"}} for _ in range(3)]
    with pytest.raises(Unavailable):
        await manager.bulk(read(manager.bodies, sent), PARTIAL)


# Side by side


class Racing(Hooks[Item]):
    """Somebody else who stores the same entity first, on a connection of his own."""

    def __init__(self, race: Callable[[], Awaitable[Any]]) -> None:
        self.race = race
        self.races = 0

    async def pre_save(self, entities: Sequence[Item]) -> None:
        if self.races == 0:
            self.races += 1
            await asyncio.create_task(self.race())


@pytest.mark.parametrize(
    "op, on_conflict, expected",
    [
        ("upsert", OnConflict.ERROR, "updated"),
        ("create", OnConflict.UPDATE, "updated"),
        ("create", OnConflict.SKIP, "skipped"),
        ("create", OnConflict.ERROR, "conflict"),
    ],
)
async def test_what_somebody_else_creates_meanwhile_is_found(
    contract_url: str, op: str, on_conflict: OnConflict, expected: str
) -> None:
    id = new_id()
    async with items(contract_url) as repository, opened(contract_url) as other:
        rival = PiccoloRepository(BOUNDED, repository._table, other)
        racing = Racing(lambda: rival.insert(Item(id=id, name="rival")))
        manager = Manager(BOUNDED, repository, repository.engine, hooks=[racing])
        sent = [{"op": op, "id": id, "data": {"name": "mine"}}, {"op": "create", "data": {"name": "a"}}]
        found = await manager.bulk(
            read(manager.bodies, sent, on_conflict), BulkOptions(mode=Mode.PARTIAL, on_conflict=on_conflict)
        )
        assert outcomes(found.results) == [expected, "created"]
        assert racing.races == 1
        stored = await manager.get(id)
        assert stored.name == ("mine" if expected == "updated" else "rival")


@pytest.fixture
def contract_url(managers_postgres_url: str) -> str:
    """SQLite has one writer at a time, so there only PostgreSQL's side is of interest."""
    return managers_postgres_url


async def test_requests_that_change_the_same_rows_side_by_side_all_succeed(manager: Manager[Item]) -> None:
    rows = [Item(name=str(number)) for number in range(40)]
    await manager.save_all(rows)

    async def change(number: int, order: Sequence[Item]) -> None:
        sent = [{"op": "update", "id": row.id, "data": {"meta": {str(number): number}}} for row in order]
        found = await manager.bulk(read(manager.bodies, sent), BulkOptions())
        assert found.counts.updated == 40

    await asyncio.gather(*(change(number, rows if number % 2 else rows[::-1]) for number in range(8)))
    everything = {str(number): number for number in range(8)}
    assert all(item.meta == everything for item in await manager.find_all())


# Limits and chunks


async def test_more_changes_than_are_allowed_are_refused_with_both_numbers(manager: Manager[Item]) -> None:
    made = await manager.create({"name": "a", "size": 1})
    sent = [
        {"op": "create", "data": {"name": "b"}},
        {"op": "update", "id": made.id, "data": {"size": 1}},
        {"op": "update", "id": new_id(), "data": {}},
        {"op": "create", "data": {"name": "c"}},
    ]
    for mode in Mode:
        with pytest.raises(Conflict, match="2 entities would be changed, and max_affected is 1") as caught:
            await manager.bulk(read(manager.bodies, sent), BulkOptions(mode=mode, max_affected=1))
        assert caught.value.extensions == {"affected": 2, "max_affected": 1}
    assert await manager.find_all() == [made]
    assert (await manager.bulk(read(manager.bodies, sent), BulkOptions(mode=Mode.PARTIAL, max_affected=2))).is_kept


@pytest.mark.parametrize(
    "options, kept",
    [
        (BulkOptions(), 0),
        (PARTIAL, 5),
        (BulkOptions(mode=Mode.PARTIAL, dry_run=True), 0),
        (BulkOptions(mode=Mode.PARTIAL, max_affected=3), 2),
    ],
)
async def test_chunks_are_one_transaction_or_one_each(manager: Manager[Item], options: BulkOptions, kept: int) -> None:
    sent = [{"op": "create", "data": {"name": name}} for name in ("a", "b", "c", "", "d", "e")]
    todo = read(manager.bodies, sent)
    told: list[int] = []

    async def chunks() -> AsyncIterator[Sequence[BulkItem]]:
        for start in range(0, 6, 2):
            yield todo[start : start + 2]

    def report(results: Sequence[ItemResult]) -> None:
        told.append(len(results))

    if options.max_affected is not None:
        options = msgspec.structs.replace(options, max_affected=2)
        with pytest.raises(Conflict):
            await manager.bulk_stream(chunks(), options, report)
        assert told == [2]
    else:
        counts, is_kept = await manager.bulk_stream(chunks(), options, report)
        assert (counts.created, counts.failed, is_kept) == (5, 1, kept > 0)
        assert told == [2, 2, 2]
    assert await manager.count() == kept


# For authors


async def test_an_author_may_store_many_entities_and_is_told_what_became_of_them(members: Manager[Member]) -> None:
    stored = await members.save(Member(email="a"))
    given = [Member(email="a"), Member(email="b"), Member(id=stored.id, email="a", size=3)]
    refused = await members.save_all_bulk(given)
    assert (refused.total, refused.succeeded, refused.failed) == (3, 0, 2)
    assert refused.errors[0].id == given[0].id
    assert refused.errors[1].reason == f"Entity with id {stored.id} already exists"
    part = await members.save_all_bulk(given, BulkOptions(mode=Mode.PARTIAL, on_conflict=OnConflict.UPDATE))
    assert (part.total, part.succeeded, part.failed) == (3, 2, 1)
    assert part.errors[0].reason == 'The value of "email" is already taken'
    found = await members.get(stored.id)
    assert (found.email, found.size) == ("a", 3)
    with pytest.raises(NotFound):
        await members.get(given[0].id)


async def test_what_an_author_stores_is_what_is_there_then_whatever_was(repository: Repository) -> None:
    resource = Resource(Item, "items", read_only={"big"}, hidden={"note"}).bounded(bounds_of(Items))
    manager = Manager(resource, repository, repository.engine)
    stored = await manager.save(Item(name="a", note="n", big=1, meta={"a": 1, "b": {"c": 1}}, tags=["t"]))
    given = [
        Item(id=stored.id, name="b", note=None, big=2, meta={"b": {"d": None}}),
        Item(name="new", note="m", big=3, meta={"x": None}),
    ]
    as_given = msgspec.to_builtins(given)
    done = await manager.save_all_bulk(given, BulkOptions(on_conflict=OnConflict.UPDATE))
    assert (done.total, done.succeeded, done.failed) == (2, 2, 0)
    assert msgspec.to_builtins(given) == as_given
    for entity in given:
        found = await manager.get(entity.id)
        assert found.updated_at >= entity.updated_at
        found.created_at, found.updated_at = entity.created_at, entity.updated_at
        assert found == entity
    assert (await manager.get(stored.id)).created_at == stored.created_at
