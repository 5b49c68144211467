"""Repositories of the sample resource, and random items for them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from domain.entity import new_id
from domain.query import Resource
from infra.database.engine import DatabaseEngine
from infra.database.repository import PiccoloRepository
from infra.database.schema import synchronize
from infra.database.table import bounds_of
from tests.infra.database.engines import opened
from tests.sample import ITEMS, Color, Detail, Item, Items

BOUNDED: Resource[Item] = ITEMS.bounded(bounds_of(Items))


@asynccontextmanager
async def items(url: str, resource: Resource[Item] = BOUNDED, **options: Any) -> AsyncIterator[PiccoloRepository[Item]]:
    """A repository of items in an empty table, whatever was left there."""
    async with opened(url, **options) as engine:
        await engine.execute("DROP TABLE IF EXISTS items")
        await synchronize(engine, [Items])
        yield PiccoloRepository(resource, Items, engine)


async def refill(engine: DatabaseEngine, repository: PiccoloRepository[Item], rows: Sequence[Item]) -> None:
    """Make `rows` all there is."""
    await engine.execute("DELETE FROM items")
    await repository.insert_all(rows)


def decoded(json: bytes) -> Any:
    return msgspec.json.decode(json)


def ids(json: bytes) -> list[str]:
    """The ids of a JSON array of items."""
    return [item["id"] for item in decoded(json)]


# Random items: few different values, so that they are often equal, and every trap among them.

TEXTS = (
    "",
    " ",
    "a",
    "A",
    "b",
    "ab",
    "aB",
    "abc",
    "a%c",
    "a_c",
    "%",
    "_",
    "\\",
    "\\%",
    "'",
    "''; --",
    '"',
    "$1",
    "?1",
    "é",
    "É",
    "e\u0301",
    "ß",
    "ẞ",
    "SS",
    "ss",
    "i",
    "I",
    "İ",
    "ı",
    "i\u0307",
    "Σ",
    "σ",
    "ς",
    "ΑΣ",
    "ας",
    "ǅ",
    "K",
    "k",
    "ﬁ",
    "z",
    "Z",
    "~",
    "\uffff",
    "\U0001f600",
    "\U00010400",
    "\U00010428",
    "日本",
    "a\nb",
    "a\tb",
    "\x7f",
    "\x01",
    "null",
    "1",
    "01",
    "1.0",
    "1e3",
)
NUMBERS = (
    0.0,
    1.0,
    -1.0,
    0.1,
    0.2,
    0.1 + 0.2,
    0.3,
    1e-300,
    5e-324,
    -5e-324,
    1e300,
    1.7976931348623157e308,
    2**53 + 0.0,
)
NUMBERS += (1 / 3, 123456789.123456789, 1e15, 1e16, 1e22, -0.3)
# PostgreSQL writes the others with all their digits, which JSON may and Python reads as another number.
NUMBERS_IN_JSON = tuple(number for number in NUMBERS if 1e-9 < abs(number) < 1e21)
DECIMALS = tuple(
    map(Decimal, ("0.00", "0.01", "-0.01", "0.10", "0.30", "1.00", "1.10", "9.99", "10.00", "-10.00", "9999999999.99"))
)
MOMENTS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2025, 1, 31, 12, tzinfo=UTC),
    datetime(2025, 1, 31, 12, 0, 0, 1, UTC),
    datetime(2025, 1, 31, 12, 0, 0, 10, UTC),
    datetime(2025, 1, 31, 12, 0, 0, 100000, UTC),
    datetime(2025, 1, 31, 12, 0, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
)
DAYS = (date(1, 1, 1), date(1970, 1, 1), date(2024, 2, 29), date(2025, 1, 31), date(9999, 12, 31))
CLOCKS = (
    time(0),
    time(0, 0, 0, 1),
    time(12),
    time(12, 0, 0, 1),
    time(12, 0, 0, 100000),
    time(12, 0, 1),
    time(23, 59, 59, 999999),
)
REFERENCES = tuple(UUID(int=number) for number in (0, 1, 10, 2**64, 2**127, 2**128 - 1))
SIZES = (-(2**31), -1, 0, 1, 2, 10, 2**31 - 1)
BIGS = (-(2**63), -(2**53) - 1, -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1)
IDS = tuple(sorted(new_id() for _ in range(30)))

some_text = st.sampled_from(TEXTS) | st.text(st.sampled_from("aAbB%_\\éÉßİıΣσς\U0001f600"), max_size=3)
choices: dict[str, st.SearchStrategy[Any]] = {
    "created_at": st.sampled_from(MOMENTS),
    "updated_at": st.sampled_from(MOMENTS),
    "tags": st.lists(st.sampled_from(["a", "b", "A"]), max_size=2, unique=True),
    "name": some_text.filter(len),
    "note": st.none() | some_text,
    "color": st.sampled_from(Color),
    "size": st.sampled_from(SIZES),
    "big": st.none() | st.sampled_from(BIGS),
    "ratio": st.none() | st.sampled_from(NUMBERS),
    "price": st.none() | st.sampled_from(DECIMALS),
    "is_new": st.none() | st.booleans(),
    "seen_at": st.none() | st.sampled_from(MOMENTS),
    "day": st.none() | st.sampled_from(DAYS),
    "clock": st.none() | st.sampled_from(CLOCKS),
    "reference": st.none() | st.sampled_from(REFERENCES),
    "labels": st.lists(some_text, max_size=3),
    "numbers": st.lists(st.sampled_from(BIGS), max_size=3),
    "meta": st.dictionaries(
        some_text, st.none() | st.booleans() | st.sampled_from(NUMBERS_IN_JSON) | some_text, max_size=2
    ),
    "detail": st.none() | st.builds(Detail, width=st.sampled_from(SIZES), unit=some_text),
}


@st.composite
def some_items(draw: st.DrawFn, max_size: int = 12) -> list[Item]:
    """Items with few different values, in no particular order."""
    # Two or three values of each field are enough for one example, and far quicker to draw than one per row.
    pools = {name: draw(st.lists(choice, min_size=1, max_size=4)) for name, choice in choices.items()}
    random = draw(st.randoms(use_true_random=False))
    drawn = random.sample(IDS, draw(st.integers(0, max_size)))
    return [Item(id=id, **{name: random.choice(pool) for name, pool in pools.items()}) for id in drawn]
