"""Three weather stations that do not exist, so that there is somebody to ask, to wait for, and to try again."""

import asyncio
import enum
from calendar import monthrange
from random import Random

from domain.retries import RetryLater


class Station(enum.StrEnum):
    """Where rain is measured."""

    HARBOUR = "harbour"
    HILL = "hill"
    LAKE = "lake"


async def readings(station: Station, month: str, *, attempt: int) -> list[float]:
    """The millimetres of each day of a month such as `2026-10`; always the same ones. The lake is slow to wake."""
    await asyncio.sleep(0.1)
    if station is Station.LAKE and attempt == 1:
        raise RetryLater("the station at the lake does not answer", after_seconds=1)
    year, number = map(int, month.split("-"))
    random = Random(f"{station} {month}")
    days = monthrange(year, number)[1]
    return [round(random.expovariate(0.2), 1) if random.random() < 0.4 else 0.0 for _ in range(days)]
