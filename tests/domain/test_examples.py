"""Examples are believable, and above all valid."""

import enum
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from domain.bodies import Bodies
from domain.entity import Email, Entity
from domain.examples import example_args, example_body, example_entity, example_filter
from domain.query import Resource
from domain.tasks import task
from tests.sample import ITEMS


class Grade(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


class Wide(Entity, kw_only=True):
    email: Email
    short: Annotated[str, Meta(max_length=3)]
    long: Annotated[str, Meta(min_length=12)]
    grade: Grade
    over: Annotated[int, Meta(gt=99)]
    under: Annotated[float, Meta(lt=1)]
    even: Annotated[int, Meta(multiple_of=8)]
    picked: Annotated[str, Meta(pattern="^x$")] | None = None
    grades: list[Grade] = []
    loose: list[dict[str, int]] = []


class Impossible(Entity, kw_only=True):
    code: Annotated[str, Meta(pattern="^[0-9]{4}$")]


class Plain(Entity, kw_only=True):
    is_open: bool = True


class Named(Entity, kw_only=True):
    name: str = ""


class Order(msgspec.Struct, rename="camel"):
    """What a task may want."""

    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}$", examples=["2026-10"])]
    grade: Grade
    how_many: Annotated[int, Meta(ge=100)]
    remark: str = ""


class Either(msgspec.Struct):
    """Something of two kinds."""

    key: int | str


@task()
async def deliver(order: Order) -> None:
    """Deliver something."""


@task()
async def choose(either: Either) -> None:
    """Choose one."""


@task()
async def rest() -> None:
    """Do nothing."""


def test_an_example_is_what_the_decoder_takes() -> None:
    for resource in (ITEMS, Resource(Wide, "wides")):
        bodies: Bodies[Any] = Bodies(resource)
        body = example_body(bodies)
        assert body is not None
        assert bodies.decode_create(msgspec.json.encode(body)).keys() == body.keys()
        shown = example_entity(bodies)
        assert shown is not None
        assert list(shown) == list(resource.readable)


def test_constraints_shape_the_example() -> None:
    body = example_body(Bodies(Resource(Wide, "wides")))
    assert body is not None
    assert body["email"] == "ada@example.com"
    assert body["short"] == "Sho"
    assert len(body["long"]) == 12
    assert body["grade"] == "low"
    assert body["over"] == 100
    assert body["under"] < 1
    assert body["even"] == 8
    assert body["grades"] == ["low"]
    # It cannot be guessed and need not be there.
    assert "picked" not in body


def test_where_nothing_can_be_guessed_there_is_no_example() -> None:
    bodies = Bodies(Resource(Impossible, "impossibles"))
    assert example_body(bodies) is None
    assert example_entity(bodies) is None


@pytest.mark.parametrize(
    "resource, expected",
    [
        (Resource(Wide, "wides"), {"grade": {"in": ["low", "high"]}}),
        (Resource(Plain, "plains"), {"is_open": True}),
        (Resource(Named, "nameds"), {"name": {"icontains": "a"}}),
        (Resource(Named, "nameds", filterable={"created_at"}), {"created_at": {"gte": "2025-01-01"}}),
        (Resource(Named, "nameds", filterable=set()), {}),
    ],
)
def test_a_filter_suits_the_resource(resource: Resource[Any], expected: dict[str, Any]) -> None:
    assert example_filter(resource) == expected


def test_the_arguments_of_a_task_are_those_it_needs() -> None:
    args = example_args(deliver)
    assert args == {"month": "2026-10", "grade": "low", "howMany": 101}
    assert deliver.checked(args)["remark"] == ""
    assert example_args(rest) == {}
    assert example_args(choose) is None
