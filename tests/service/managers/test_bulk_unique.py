"""Unique values that go from one thing to another within a set of changes."""

from typing import Any

from domain.bulk import BulkOptions
from service.managers.base import Manager
from tests.infra.contracts.test_bulk import Member
from tests.service.managers.test_bulk import PARTIAL, outcomes, read


def given(member: Member, email: str) -> dict[str, Any]:
    return {"op": "update", "id": member.id, "data": {"email": email}}


async def emails(members: Manager[Member]) -> list[str]:
    return [member.email for member in await members.find_all()]


async def test_an_update_takes_a_value_that_one_before_it_has_given_away(members: Manager[Member]) -> None:
    stored = [Member(email=f"e{number}") for number in range(30)]
    await members.save_all(stored)
    sent = [given(member, f"e{number + 1}") for number, member in enumerate(stored)]
    found = await members.bulk(read(members.bodies, sent[::-1]), BulkOptions())
    assert outcomes(found.results) == ["updated"] * 30
    assert await emails(members) == [f"e{number + 1}" for number in range(30)]


async def test_an_update_does_not_take_a_value_that_one_behind_it_gives_away(members: Manager[Member]) -> None:
    first, second = await members.save(Member(email="a")), await members.save(Member(email="b"))
    sent = read(members.bodies, [given(first, "b"), given(second, "c")])
    found = await members.bulk(sent, BulkOptions())
    assert outcomes(found.results) == ["conflict", "updated"]
    assert not found.is_kept
    await members.bulk(sent, PARTIAL)
    assert await emails(members) == ["a", "c"]


async def test_two_do_not_swap_their_values(members: Manager[Member]) -> None:
    first, second = await members.save(Member(email="a")), await members.save(Member(email="b"))
    found = await members.bulk(read(members.bodies, [given(first, "b"), given(second, "a")]), BulkOptions())
    assert outcomes(found.results) == ["conflict", "conflict"]
    assert await emails(members) == ["a", "b"]


async def test_what_is_deleted_or_changed_makes_room_wherever_it_stands(members: Manager[Member]) -> None:
    gone, kept = await members.save(Member(email="a")), await members.save(Member(email="b"))
    sent = [{"op": "create", "data": {"email": "b"}}, given(kept, "a"), {"op": "delete", "id": gone.id}]
    found = await members.bulk(read(members.bodies, sent), BulkOptions())
    assert outcomes(found.results) == ["created", "updated", "deleted"]
    assert await emails(members) == ["a", "b"]
