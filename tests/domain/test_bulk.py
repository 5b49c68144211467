"""Items of a bulk request: what is read of them, and what is wrong with them."""

from typing import Any

import msgspec
import pytest

from domain.bodies import Bodies
from domain.bulk import (
    BulkCounts,
    BulkItem,
    BulkOperationError,
    ItemResult,
    OnConflict,
    Op,
    Outcome,
    created,
    placed,
    summary,
)
from domain.bulk_items import ItemReader
from domain.entity import new_id
from domain.errors import Conflict, Forbidden, InvalidBody
from domain.validation import problem, rejected
from tests.infra.contracts.databases import BOUNDED
from tests.sample import Item

BODIES = Bodies(BOUNDED)
ID = new_id()


def read(sent: Any, on_conflict: OnConflict = OnConflict.ERROR, allowed: tuple[Op, ...] = tuple(Op)) -> BulkItem:
    body = sent if isinstance(sent, bytes) else msgspec.json.encode(sent)
    return ItemReader(BODIES, allowed, on_conflict, lambda text: text.__eq__).read(body, 3, ("items", 3))


def test_an_item_has_what_its_operation_needs() -> None:
    made = read({"op": "create", "data": {"name": "a", "size": 2}})
    assert (made.index, made.op, made.id, made.values, made.patch) == (3, Op.CREATE, None, {"name": "a", "size": 2}, {})
    for sent in (
        {"op": "create", "id": ID.lower(), "data": {"name": "a"}},
        {"op": "create", "data": {"id": ID.lower(), "name": "a"}},
    ):
        assert (read(sent).id, read(sent).values["id"]) == (ID, ID)
    changed = read({"op": "update", "id": ID.lower(), "if_match": "x", "data": {"meta": {"a": None}, "id": new_id()}})
    assert (changed.id, changed.values, changed.patch) == (ID, {}, {"meta": {"a": None}})
    assert changed.is_expected is not None
    assert (changed.is_expected("x"), changed.is_expected("y")) == (True, False)
    put = read({"op": "upsert", "id": ID, "data": {"name": "a"}})
    assert (put.id, put.values, put.patch) == (ID, {"id": ID, "name": "a"}, {"name": "a"})
    gone = read({"op": "delete", "id": ID})
    assert (gone.id, gone.values, gone.patch, gone.error) == (ID, {}, {}, None)
    updating = read({"op": "create", "data": {"name": "a"}}, OnConflict.UPDATE)
    assert updating.patch == {"name": "a"}


@pytest.mark.parametrize(
    "sent, pointers",
    [
        ({"op": "create"}, ["/data"]),
        ({"op": "create", "data": {"name": ""}}, ["/data/name"]),
        ({"op": "create", "data": {"size": "x", "tags": ["a", "a"]}}, ["/data/name", "/data/size", "/data/tags"]),
        ({"op": "create", "data": {"name": "a"}, "if_match": "x"}, ["/if_match"]),
        ({"op": "create", "id": ID, "data": {"name": "a", "id": new_id()}}, ["/data/id"]),
        ({"op": "create", "data": 5}, ["/data"]),
        ({"op": "create", "data": {"name": "a\0"}}, ["/data/name"]),
        ({"op": "update"}, ["/id", "/data"]),
        ({"op": "update", "id": ID, "data": {"nonsense": 1}}, ["/data/nonsense"]),
        ({"op": "update", "id": "x", "data": {}}, ["/id"]),
        ({"op": "upsert", "data": {"name": "a"}}, ["/id"]),
        ({"op": "upsert", "id": ID, "data": {}}, ["/data/name"]),
        ({"op": "delete"}, ["/id"]),
        ({"op": "delete", "id": ID, "data": {}}, ["/data"]),
        ({"op": "delete", "id": ID, "if_match": "", "more": 1}, ["/if_match", "/more"]),
        ({"op": "shout", "id": 5}, ["/op", "/id"]),
        ({}, ["/op"]),
        ([], [""]),
        (b"{", [""]),
        (b"[" * 3_000, [""]),
        (b'{"op": "create", "data": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", [""]),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_with_an_item_is_found_where_it_stands(sent: Any, pointers: list[str]) -> None:
    item = read(sent)
    assert isinstance(item.error, InvalidBody)
    found = [error.pointer for error in item.error.errors]
    assert found == [f"/items/3{pointer}" for pointer in pointers]
    for error in item.error.errors:
        assert error.loc[:3] == ("body", "items", 3)
        assert error.pointer == "".join(f"/{part}" for part in error.loc[1:])


def test_what_is_wrong_with_an_item_is_told_with_its_id() -> None:
    assert read({"op": "shout", "id": ID.lower()}).id == ID
    assert read({"op": "update", "id": ID, "data": {"nonsense": 1}}).id == ID
    assert read({"op": "shout", "id": "nonsense"}).id is None


def test_an_operation_may_not_be_allowed() -> None:
    for op in Op:
        item = read({"op": op, "id": ID, "data": {"name": "a"}}, allowed=())
        assert isinstance(item.error, Forbidden)
        assert item.error.detail == f'items take no items with the op "{op}" here'


def test_errors_without_a_place_stay_as_they_are() -> None:
    error = InvalidBody("all of it is wrong")
    assert placed(error, ("items", 1)) is error
    inner = rejected([problem("type", "is wrong", ("a/b", 0), 5)])
    assert placed(inner, ("items", 1)).errors[0].pointer == "/items/1/a~1b/0"


def test_an_entity_in_memory_is_an_item_that_creates_it() -> None:
    entity = Item(name="a", size=3)
    item = created(entity, 7)
    assert (item.index, item.op, item.id) == (7, Op.CREATE, entity.id)
    assert Item(**item.values) == entity
    assert item.patch.keys().isdisjoint({"id", "created_at", "updated_at"})


def test_results_are_summed_up_and_counted() -> None:
    results = [
        ItemResult(index=0, outcome=Outcome.CREATED, id=ID),
        ItemResult(index=1, outcome=Outcome.FAILED, error=Conflict("no")),
        ItemResult(index=2, outcome=Outcome.FAILED, id=ID, error=Conflict("never")),
        ItemResult(index=3, outcome=Outcome.SKIPPED),
        ItemResult(index=4, outcome=Outcome.DELETED),
    ]
    found = summary(results)
    assert (found.total, found.succeeded, found.failed) == (5, 3, 2)
    assert found.errors == [BulkOperationError("/items/1", "no"), BulkOperationError(ID, "never")]
    assert summary(results, is_kept=False).succeeded == 0
    counts = BulkCounts()
    counts.add(results)
    assert (counts.total, counts.affected, counts.failed, counts.skipped) == (5, 2, 2, 1)
