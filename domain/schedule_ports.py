"""What schedules need of the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.ports import Transactions
from domain.schedules import ScheduledTask, Tick


class ScheduleStore(Transactions, Protocol):
    """Schedules as the workers see them. Every moment is the database's."""

    async def now(self) -> datetime:
        """The present moment."""
        ...

    async def due(self, kinds: Sequence[str], limit: int, *, without: Sequence[str] = ()) -> list[ScheduledTask]:
        """Schedules of tasks of these kinds that must fire now, locked until the transaction ends.

        Those with the ids of `without` are left out.
        """
        ...

    async def seconds_until_due(self, kinds: Sequence[str], *, without: Sequence[str] = ()) -> float | None:
        """In how many seconds the next one must fire, None when there is none."""
        ...

    async def take(self, schedule_id: str, ticks: Sequence[Tick]) -> set[datetime]:
        """Record ticks; returns those that had not been recorded before."""
        ...

    async def advance(
        self,
        schedule_id: str,
        *,
        next_fire_at: datetime | None,
        last_fire_at: datetime | None,
        fired: int,
        skipped: int,
        missed: int,
    ) -> None:
        """Set when a schedule fires next, and count what became of its ticks."""
        ...

    async def ticks(self, schedule_id: str, limit: int) -> list[Tick]:
        """The latest ticks of a schedule, newest first."""
        ...

    async def forget(self, schedule_ids: Sequence[str]) -> None:
        """Remove the ticks of schedules that are gone."""
        ...

    async def forget_old_ticks(self, days: float) -> int:
        """Remove some of the ticks that were seen to more than `days` ago; returns how many."""
        ...
