"""Everything the database knows when all is over, read once."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from domain.jobs import FINAL, JobState
from infra.database.engine import DatabaseEngine
from infra.database.jobs.statements import stored_result
from tests.torture.witness import END, START, TABLE

_JOB = (
    "id, kind, label, state, status, attempt, losses, finished_at, result, graph_id, node, schedule_id, unique_key, "
    "concurrency_key, lease_token, submitted_at, error"
)

_LEFT_OVER = [
    f"SELECT '{table} of ' || {column} FROM {table} WHERE {column} NOT IN (SELECT id FROM millrace_jobs)"
    for table, column in (
        ("millrace_job_events", "job_id"),
        ("millrace_job_logs", "job_id"),
        ("millrace_job_edges", "parent_id"),
        ("millrace_job_edges", "child_id"),
    )
]


class JobRow(NamedTuple):
    """A job as it stands."""

    id: str
    kind: str
    label: str | None
    state: str
    status: str
    attempt: int
    losses: int
    finished_at: datetime | None
    result: Any
    graph_id: str | None
    node: str | None
    schedule_id: str | None
    unique_key: str | None
    concurrency_key: str | None
    lease_token: str | None
    submitted_at: datetime
    error: str | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return JobState(self.state) in FINAL


class Event(NamedTuple):
    """A line of a job's history."""

    job_id: str
    at: datetime
    type: str
    attempt: int


class Line(NamedTuple):
    """A line of the witness."""

    run_id: str
    moment: str
    job_id: str
    attempt: int
    pid: int
    at: datetime


class Span(NamedTuple):
    """A run that came to its end."""

    job_id: str
    attempt: int
    begin: datetime
    end: datetime


class TickRow(NamedTuple):
    """A tick that was seen to."""

    schedule_id: str
    fire_at: datetime
    outcome: str
    job_id: str | None


class Record:
    """What there is in the tables."""

    def __init__(
        self,
        jobs: list[JobRow],
        events: list[Event],
        lines: list[Line],
        ticks: list[TickRow],
        graphs: dict[str, str],
        leftovers: list[str],
    ) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.labels = {job.label: job for job in jobs if job.label is not None and job.schedule_id is None}
        self.graphs = graphs
        self.ticks = ticks
        self.lines = lines
        self.leftovers = leftovers
        self.events: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            self.events[event.job_id].append(event)
        self.starts: defaultdict[str, list[Line]] = defaultdict(list)
        self.ends: defaultdict[str, list[Line]] = defaultdict(list)
        for line in lines:
            (self.starts if line.moment == START else self.ends)[line.job_id].append(line)

    def nodes(self, graph_id: str) -> dict[str, JobRow]:
        """The jobs of a graph by the names of their nodes."""
        return {job.node or "": job for job in self.jobs.values() if job.graph_id == graph_id}

    def spans(self) -> list[Span]:
        """The runs that came to their ends."""
        begun = {line.run_id: line.at for line in self.lines if line.moment == START}
        return [
            Span(line.job_id, line.attempt, begun[line.run_id], line.at) for line in self.lines if line.moment == END
        ]

    def is_lost(self, job_id: str, begin: datetime) -> bool:
        """Whether the run of a job that began then was taken from its worker before it had ended."""
        history = self.events[job_id]
        claims = [at for at, event in enumerate(history) if event.type == "running" and event.at <= begin]
        after = history[claims[-1] + 1 :] if claims else []
        return bool(after) and after[0].type == "lost"


async def read(engine: DatabaseEngine) -> Record:
    """Read everything."""
    graphs = await engine.fetch("SELECT label, id FROM millrace_graphs")
    jobs = [JobRow(*map(_plain, row)) for row in await engine.fetch(f"SELECT {_JOB} FROM millrace_jobs")]
    events = await engine.fetch("SELECT job_id, at, type, attempt FROM millrace_job_events ORDER BY id")
    lines = await engine.fetch(f"SELECT run_id, moment, job_id, attempt, pid, at FROM {TABLE} ORDER BY sequence")
    ticks = await engine.fetch(
        "SELECT schedule_id, fire_at, outcome, job_id FROM millrace_ticks ORDER BY schedule_id, fire_at"
    )
    return Record(
        [job._replace(result=_result(job.result)) for job in jobs],
        [Event(*map(_plain, row)) for row in events],
        [Line(*map(_plain, row)) for row in lines],
        [TickRow(*map(_plain, row)) for row in ticks],
        dict(tuple(row) for row in graphs),
        [text for (text,) in await engine.fetch(" UNION ALL ".join(_LEFT_OVER))],
    )


async def database_now(engine: DatabaseEngine) -> datetime:
    """The moment by the database's clock."""
    [(now,)] = await engine.fetch(f"SELECT {engine.dialect.now}")
    moment: datetime = _plain(now)
    return moment


async def latest_ticks(engine: DatabaseEngine) -> dict[str, datetime]:
    """The latest tick of every schedule that has had one."""
    found = await engine.fetch("SELECT schedule_id, max(fire_at) FROM millrace_ticks GROUP BY schedule_id")
    return {id: _plain(moment) for id, moment in found}


async def unfinished(engine: DatabaseEngine, *, of_schedules: bool) -> int:
    """How many jobs have not ended."""
    final = ", ".join(f"'{state}'" for state in FINAL)
    which = "" if of_schedules else " AND schedule_id IS NULL"
    [(count,)] = await engine.fetch(f"SELECT count(*) FROM millrace_jobs WHERE state NOT IN ({final}){which}")
    return int(count)


def seconds_between(first: datetime, last: datetime) -> list[datetime]:
    """Every whole second from `first` to `last`, both included."""
    return [first + timedelta(seconds=number) for number in range(int((last - first).total_seconds()) + 1)]


def _plain(value: Any) -> Any:
    """Moments as moments, also where the database keeps them as text."""
    if isinstance(value, str) and len(value) == 27 and value.endswith("Z") and value[10] == "T":
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def _result(text: str | None) -> Any:
    found = stored_result(text)
    return None if found is None else msgspec.json.decode(found)
