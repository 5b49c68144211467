"""A service with transformations of every kind, over its own rows and over stored frames."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from piccolo.columns import Integer, Varchar

from domain.entity import Entity
from domain.errors import Conflict
from domain.frames import DataFrame
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.transformations import TransformationRouter
from infra.database.table import EntityTable
from service.builder import ServiceBuilder

TRANSFORMATIONS, CALLS = "/api/v1/transformations", "/api/v1/transformations/counted"


class Visit(Entity, kw_only=True):
    place: str
    number: int = 0
    secret: str = "hidden"


class Visits(EntityTable, tablename="visits"):
    place = Varchar(length=50)
    number = Integer()
    secret = Varchar(length=50)


VISITS = Resource(Visit, "visits", hidden={"secret"})


class Means(msgspec.Struct):
    """How means are taken."""

    by: str = "place"
    of: str = "number"
    digits: Annotated[int, Meta(ge=0, le=10)] = 2
    scale: float = 1.0
    kind: Literal["mean", "median"] = "mean"


class MeanOf(TransformationRouter):
    """The mean of a column for each value of another."""

    version = "2.1"
    examples = {
        "two places": {
            "data": {"columns": ["place", "number"], "data": [["Oslo", 1], ["Oslo", 2], ["Bergen", 5]]},
            "params": {"digits": 1},
        }
    }

    def transform(self, data: DataFrame, params: Means) -> DataFrame:
        groups: dict[str, list[float]] = {}
        for name, number in zip(data[params.by], data[params.of], strict=True):
            groups.setdefault(str(name), []).append(number * params.scale)
        means = [round(sum(found) / len(found), params.digits) for found in groups.values()]
        return DataFrame.from_dict({params.by: groups, params.of: means})


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Line(msgspec.Struct):
    """What is between points."""

    length: float
    at: datetime
    extra: Any = None


class Length(TransformationRouter):
    """The way over some points."""

    async def transform(self, data: Annotated[list[Point], Meta(min_length=2)]) -> Line:
        pairs = pairwise(data)
        length = sum(math.hypot(a.x - b.x, a.y - b.y) for a, b in pairs)
        if not math.isfinite(length):
            raise ValueError("the points are too far apart")
        return Line(length, datetime(2025, 1, 2, tzinfo=UTC))


class Trouble(msgspec.Struct, forbid_unknown_fields=True):
    """What is to go wrong."""

    kind: str = "none"
    n: int = 0

    def __post_init__(self) -> None:
        if self.n == 13:
            raise ValueError("not thirteen")


CALLED: list[str] = []


class Counted(TransformationRouter):
    """Remembers that it was called, and goes wrong as it is told to."""

    name = "counted"
    title = "What goes wrong"

    def transform(self, data: Any, params: Trouble) -> dict[str, Any]:
        CALLED.append(params.kind)
        match params.kind:
            case "value":
                raise ValueError("negative rainfall in row 3")
            case "domain":
                raise Conflict("there is one already")
            case "bug":
                raise TypeError("secret of the house")
            case "exit":
                raise SystemExit(3)
            case "stop":
                raise StopIteration
            case "output":
                return [1]  # type: ignore[return-value]
            case "alien":
                return {"a": object()}
            case "nan":
                return {"a": float("nan"), "b": datetime(2025, 1, 1, tzinfo=UTC)}
        return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "data": data, "n": params.n}


def builder(url: str, max_rows: int = 20) -> ServiceBuilder:
    """The service on a database."""
    return (
        ServiceBuilder(info=ServiceInfo(id="transforming", display_name="Transforming"))
        .with_database(url, pool_size=2, max_overflow=2)
        .with_transformations(MeanOf, Length, Counted, max_threads=2, max_rows=max_rows)
        .with_crud(VISITS, table=Visits)
        .with_artifacts()
        .with_health()
    )
