"""Forgets jobs that ended long ago, so that the tables stay as large as they must be."""

from collections.abc import Iterator

from domain.jobs import Retention
from infra.database.idempotency import forget_replies
from infra.database.jobs.statements import Statements
from infra.database.query import Arguments

_BATCH = 1_000
_DAY_SECONDS = 86_400.0


class Upkeep(Statements):
    """Finds what may be forgotten. The jobs of a graph go together, once all of them have ended."""

    async def outdated(self, retention: Retention) -> list[str]:
        """The ids of up to a thousand jobs that are older than they are kept, or more than are kept."""
        by_finish = self.dialect.by_index("millrace_jobs_finished")
        for number in range(len(list(self._too_old(retention, self.arguments())))):
            arguments = self.arguments()
            too_old = list(self._too_old(retention, arguments))
            # The last of a graph to go decides for all of it. For an EXISTS PostgreSQL would read the whole table.
            kept = (
                f"SELECT 1 FROM {self.table} g WHERE g.graph_id = j.graph_id "
                f"AND NOT coalesce({' OR '.join(too_old)}, FALSE) LIMIT 1"
            )
            rows = await self.engine.fetch(
                f"{self._with_edge(retention, arguments)}SELECT id FROM {self.table} j{by_finish} "
                f"WHERE finished_at IS NOT NULL AND {too_old[number]} AND ({kept}) IS NULL "
                f"ORDER BY finished_at, id LIMIT {_BATCH}",
                *arguments.values,
            )
            if rows:
                return [id for (id,) in rows]
        return []

    def _too_old(self, retention: Retention, arguments: Arguments) -> Iterator[str]:
        """Conditions, one of which a job fulfils that need not be kept."""
        days = {
            "completed": retention.completed_days,
            "canceled": retention.canceled_days,
            "failed": retention.failed_days,
        }
        for status, kept in days.items():
            if kept is not None:
                until = self.dialect.ago(arguments.bind(kept * _DAY_SECONDS))
                yield f"(status = '{status}' AND finished_at < {until})"
        if retention.most_jobs is not None:
            # With the id, for many may have ended in the same moment; but PostgreSQL searches the index by one of them.
            yield (
                "(finished_at <= (SELECT finished_at FROM edge) "
                "AND (finished_at, id) <= (SELECT finished_at, id FROM edge))"
            )

    def _with_edge(self, retention: Retention, arguments: Arguments) -> str:
        """The last to end of those that are more than are kept, as the table `edge`."""
        if retention.most_jobs is None:
            return ""
        return (
            f"WITH edge AS MATERIALIZED (SELECT finished_at, id FROM {self.table} WHERE finished_at IS NOT NULL "
            f"ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET {arguments.bind(retention.most_jobs)}) "
        )

    async def forget_workers(self, *, after_seconds: float) -> None:
        """Remove the records of workers that have not been heard of for so long."""
        arguments = self.arguments()
        await self.engine.execute(
            f"DELETE FROM millrace_workers WHERE seen_at < {self.dialect.ago(arguments.bind(float(after_seconds)))}",
            *arguments.values,
        )

    async def forget_replies(self) -> None:
        """Remove some of the replies to requests with a key that were kept for long enough."""
        await forget_replies(self.engine, _BATCH)
