"""Concurrency keys: how many jobs with the same one run, and which may begin."""

from collections.abc import Sequence, Set
from typing import Any

from domain.jobs import JobState
from infra.database.jobs.statements import Statements

# Any number does, as long as nobody else in the database takes it for something else.
_LOCK = 0x6D696C6C6B657973
ORDER = "ORDER BY priority DESC, run_at, id"
_LEAST_ROWS = 200


class Slots(Statements):
    """What runs with a key is counted, and never kept as a number of its own: so no slot is ever lost."""

    async def lock_slots(self) -> None:
        """Until the transaction ends nobody else begins jobs with keys: who counts must see what others have taken."""
        if self.is_postgres:
            await self.engine.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)

    async def with_slot(self, queue: str, kinds: Sequence[str], limit: int, which: str = "") -> list[str]:
        """The ids of up to `limit` queued jobs that have a key with a slot left, the first in order.

        `which` is a further condition. It holds for as long as the slots are locked.
        """
        taken, full = await self._taken()
        chosen: dict[str, None] = {}
        size, is_more = max(_LEAST_ROWS, 2 * limit), True
        while is_more and len(chosen) < limit:
            # Each time without the keys that have turned out to be full, so there is an end.
            found = await self._first(queue, kinds, full, size, which)
            is_more = len(found) == size
            for id, key, allowed in found:
                if id in chosen:
                    continue
                if taken.get(key, 0) >= allowed:
                    full.add(key)
                elif len(chosen) < limit:
                    taken[key] = taken.get(key, 0) + 1
                    chosen[id] = None
        return list(chosen)

    async def _taken(self) -> tuple[dict[str, int], set[str]]:
        """How many slots of each key are taken, and the keys that have no more."""
        rows = await self.engine.fetch(
            f"SELECT concurrency_key, count(*), max(concurrency_limit) FROM {self.table}"
            f"{self.dialect.by_index('millrace_jobs_slots')} "
            "WHERE status = 'running' AND concurrency_key IS NOT NULL GROUP BY concurrency_key"
        )
        return {key: count for key, count, _ in rows}, {key for key, count, most in rows if count >= most}

    async def _first(self, queue: str, kinds: Sequence[str], full: Set[str], limit: int, which: str) -> list[Any]:
        arguments = self.arguments()
        rest = f" AND NOT {self.ids(arguments, sorted(full), 'concurrency_key')}" if full else ""
        return await self.engine.fetch(
            f"SELECT id, concurrency_key, concurrency_limit FROM {self.table}"
            f"{self.dialect.by_index('millrace_jobs_keyed')} WHERE state = '{JobState.QUEUED}' "
            f"AND queue = {arguments.bind(queue)} AND {self.ids(arguments, kinds, 'kind')} "
            f"AND concurrency_key IS NOT NULL{which}{rest} {ORDER} LIMIT {arguments.bind(limit)}",
            *arguments.values,
        )
