"""Counts unfinished work, the dead, schedules and workers, all in one statement."""

from domain.jobs import JobState, JobStatus
from domain.work_readings import JobCount, WorkReading
from infra.database.engine import DatabaseEngine

# What is dead stays for weeks, and that there are more than this many is enough to know.
MOST_DEAD = 100_000
_ALIVE_SECONDS = "60.0"


class WorkReadings:
    """How the work of a service stands, by the database's own account."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine
        self._sql = _statement(engine)

    async def read(self) -> WorkReading:
        """How it stands now."""
        jobs: list[JobCount] = []
        schedules: dict[str, int] = {}
        overdue = 0.0
        workers: dict[str, int] = {}
        for what, queue, kind, state, count, seconds in await self._engine.fetch(self._sql):
            late = max(float(seconds), 0.0) if seconds is not None else None
            if what == "job":
                jobs.append(JobCount(queue=queue, kind=kind, state=JobState(state), count=count, oldest_seconds=late))
            elif what == "schedule":
                schedules[state] = count
                overdue = max(overdue, late or 0.0) if state == "active" else overdue
            else:
                workers[state] = count
        return WorkReading(jobs=tuple(jobs), schedules=schedules, overdue_seconds=overdue, workers=workers)


def _statement(engine: DatabaseEngine) -> str:
    dialect = engine.dialect
    jobs = f"millrace_jobs{dialect.by_index('millrace_jobs_status')}"
    dead = f"millrace_jobs{dialect.by_index('millrace_jobs_state')}"
    # Who waits for his time or for others is not late; the database's clock decides.
    since = f"min(CASE WHEN state = '{JobState.QUEUED}' THEN run_at END)"
    return (
        f"SELECT 'job', queue, kind, state, count(*), -{dialect.seconds_from_now(since)} FROM {jobs} "
        f"WHERE status IN ('{JobStatus.PENDING}', '{JobStatus.RUNNING}') GROUP BY queue, kind, state "
        f"UNION ALL SELECT 'job', queue, kind, '{JobState.DEAD}', count(*), NULL FROM "
        f"(SELECT queue, kind FROM {dead} WHERE state = '{JobState.DEAD}' LIMIT {MOST_DEAD}) AS d GROUP BY queue, kind "
        "UNION ALL SELECT 'schedule', '', '', CASE WHEN is_paused THEN 'paused' ELSE 'active' END AS s, count(*), "
        f"-{dialect.seconds_from_now('min(next_fire_at)')} FROM millrace_schedules GROUP BY s "
        "UNION ALL SELECT 'worker', '', '', CASE WHEN is_draining THEN 'stopping' ELSE 'working' END AS s, count(*), "
        f"NULL FROM millrace_workers WHERE seen_at > {dialect.ago(_ALIVE_SECONDS)} GROUP BY s"
    )
