"""Forgets jobs that ended long ago, so that the tables stay as large as they must be."""

from domain.jobs import FINAL, Retention
from infra.database.jobs.statements import Statements, quoted

_BATCH = 1_000
_DAY_SECONDS = 86_400.0


class Upkeep(Statements):
    """Finds what may be forgotten. The jobs of a graph go together, once all of them have ended."""

    async def outdated(self, retention: Retention) -> list[str]:
        """The ids of up to a thousand jobs that are older than they are kept, or more than are kept."""
        arguments = self.arguments()
        days = {
            "completed": retention.completed_days,
            "canceled": retention.canceled_days,
            "failed": retention.failed_days,
        }
        too_old = [
            f"(status = '{status}' AND finished_at < {self.dialect.later(arguments.bind(-kept * _DAY_SECONDS))})"
            for status, kept in days.items()
            if kept is not None
        ]
        if retention.most_jobs is not None:
            newest = (
                f"SELECT finished_at FROM {self.table} WHERE finished_at IS NOT NULL "
                f"ORDER BY finished_at DESC LIMIT 1 OFFSET {arguments.bind(retention.most_jobs)}"
            )
            too_old.append(f"finished_at <= ({newest})")
        if not too_old:
            return []
        final = quoted(*sorted(FINAL))
        unfinished = (
            f"SELECT 1 FROM {self.table} g WHERE g.graph_id = {self.table}.graph_id AND g.state NOT IN ({final})"
        )
        rows = await self.engine.fetch(
            f"SELECT id FROM {self.table} WHERE finished_at IS NOT NULL AND ({' OR '.join(too_old)}) "
            f"AND (graph_id IS NULL OR NOT EXISTS ({unfinished})) ORDER BY finished_at LIMIT {_BATCH}",
            *arguments.values,
        )
        return [id for (id,) in rows]

    async def forget_workers(self, *, after_seconds: float) -> None:
        """Remove the records of workers that have not been heard of for so long."""
        arguments = self.arguments()
        await self.engine.execute(
            f"DELETE FROM millrace_workers WHERE seen_at < {self.dialect.later(arguments.bind(-after_seconds))}",
            *arguments.values,
        )
