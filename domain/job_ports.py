"""What jobs, graphs, schedules and workers need from the world, as protocols; `infra` provides it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from domain.graphs import Edge, Graph, On
from domain.jobs import Ending, Job, JobEvent, JobState, LogLine, NewJob, Progress, QueueStats, Retention
from domain.runs import Message, RunEnd
from domain.workers import WorkerInfo


class Ended(msgspec.Struct, frozen=True):
    """Jobs that were ended, handed back or canceled, and those that became ready because of it."""

    jobs: list[Job]
    ready: list[Job]


class Dead(msgspec.Struct, frozen=True):
    """Dead jobs that can run again, and those before them that cannot: unfinished jobs have their unique keys."""

    jobs: list[Job]
    passed_over: list[Job]


Effect = Callable[[Job], Awaitable[None]]
"""What is written together with the end of a job, in one transaction; it gets the job as it is then."""


class Surroundings(Protocol):
    """What a worker prepares for one run, and makes of its end. `args` is what the task is called with."""

    args: Mapping[str, Any]

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """How the run has ended after all, and what else is to be written with that."""
        ...


class RunHooks(Protocol):
    """What a worker does around the runs of one kind, in its own process."""

    def around(self, job: Job, report: Callable[[Message], None]) -> AbstractAsyncContextManager[Surroundings]:
        """Prepare a run and clean up after it. What this raises is how the run has ended."""
        ...


class JobQueue(Protocol):
    """What a worker asks of the database. Every moment in it is the database's, never a worker's.

    Every method raises `Unavailable` when the database does not answer.
    """

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """One change; joins the one around it."""
        ...

    async def promote(self) -> float | None:
        """Queue the jobs whose time has come; returns in how many seconds the next one's will, None without any."""
        ...

    async def claim(
        self,
        queue: str,
        kinds: Sequence[str],
        limit: int,
        *,
        worker_id: str,
        lease_seconds: float,
        risky_losses: int | None = None,
        is_risk_taken: bool = True,
    ) -> list[Job]:
        """Lease up to `limit` jobs of a queue, the first in order.

        Of jobs that have lost `risky_losses` workers one is leased, or none unless `is_risk_taken`.
        """
        ...

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> dict[str, JobState]:
        """Lengthen leases, given as (job, token); returns the states of the jobs that are still held."""
        ...

    async def finish(self, endings: Sequence[Ending]) -> Ended:
        """Record how runs ended, of the jobs whose lease still holds."""
        ...

    async def reap(self, max_losses: int) -> Ended:
        """Take jobs from workers whose lease has run out."""
        ...

    async def report(self, reports: Sequence[tuple[str, str, Progress]]) -> None:
        """Store the progress of runs, given as (job, token, progress), of the jobs whose lease still holds."""
        ...

    async def write_logs(self, lines: Sequence[tuple[str, str, str, str]]) -> None:
        """Store what runs wrote, given as (job, token, stream, text), of the jobs whose lease still holds."""
        ...

    async def results(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """The results of completed jobs as JSON, by id."""
        ...

    async def leave(self, worker_id: str) -> None:
        """Say that a worker has ended in order."""
        ...


class Leases(Protocol):
    """Keeps the leases of a worker, whatever its loop is doing."""

    def start(self) -> None:
        """Begin, in the worker's loop."""
        ...

    async def stop(self) -> None:
        """End; leases that are still held run out."""
        ...

    def hold(self, job_id: str, token: str) -> None:
        """Keep this lease from now on."""
        ...

    def drop(self, job_id: str) -> None:
        """Forget a lease: its job has ended."""
        ...

    def look(self) -> None:
        """Look now what has become of the jobs, instead of in a moment."""
        ...


class JobStore(Protocol):
    """Jobs as those see them who submit them and look after them."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """One change of the jobs; joins the one around it."""
        ...

    async def insert(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Store new jobs; those whose unique key an unfinished job has are left out of the result."""
        ...

    async def find_unique(self, keys: Sequence[str]) -> list[Job]:
        """The unfinished jobs with these unique keys."""
        ...

    async def insert_graph(self, graph: Graph, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> list[Job]:
        """Store a graph, all of it or nothing; edges name jobs by id."""
        ...

    async def cancel(self, ids: Sequence[str], *, is_at_once: bool = False) -> Ended:
        """Cancel jobs: those that wait are canceled now, those that run are told to stop; or all now, `is_at_once`."""
        ...

    async def requeue(self, waits: Mapping[str, int]) -> list[Job]:
        """Let ended jobs run again; `waits` says for how many others each waits first."""
        ...

    async def delete(self, ids: Sequence[str], *, is_over: bool = False) -> int:
        """Remove jobs with everything that is known of them; returns how many there were."""
        ...

    async def find_many(self, ids: Sequence[str]) -> list[Job]:
        """The jobs with these ids, in the order of their ids."""
        ...

    async def dead(self, ids: Sequence[str] | None, limit: int) -> Dead:
        """Up to `limit` dead jobs that can run again, those of `ids` or any, the oldest first.

        At most `limit` of those that were passed over for them are named.
        """
        ...

    async def lock(self, ids: Sequence[str]) -> None:
        """Keep others from changing these jobs, until the transaction ends."""
        ...

    async def lock_graphs(self, ids: Sequence[str]) -> None:
        """Keep others from ending any job of the graphs that these jobs are in, until the transaction ends."""
        ...

    async def of_graph(self, graph_id: str, *, lock: bool = False) -> list[Job]:
        """The jobs of a graph, in the order of their ids; `lock` keeps others from ending any of them meanwhile."""
        ...

    async def edges_of(self, graph_id: str) -> list[Edge]:
        """What depends on what in a graph; edges name jobs by id."""
        ...

    async def parents_of(self, job_id: str) -> list[tuple[Job, On]]:
        """What a job waits for."""
        ...

    async def active_of_schedule(self, schedule_id: str) -> list[Job]:
        """The unfinished jobs of a schedule."""
        ...

    async def holders(self, concurrency_key: str) -> list[Job]:
        """The jobs that run with this key."""
        ...

    async def risks(self, losses: int, *, within_seconds: float) -> list[Job]:
        """The jobs that run, have lost so many workers, and were begun with lately."""
        ...

    async def ahead_of(self, job: Job) -> int:
        """How many jobs of the same queue come first."""
        ...

    async def seconds_until(self, job_id: str) -> float:
        """In how many seconds a job's time comes."""
        ...

    async def workers(self, *, within_seconds: float) -> list[WorkerInfo]:
        """The workers that were heard of lately."""
        ...

    async def events(self, job_id: str, *, after: int, limit: int) -> list[JobEvent]:
        """The history of a job, oldest first."""
        ...

    async def logs(self, job_id: str, *, after: int, limit: int) -> list[LogLine]:
        """What a job wrote, oldest first."""
        ...

    async def result(self, job_id: str) -> bytes | None:
        """The result of a job as JSON, None when it has none."""
        ...

    async def count_waiting(self, limit: int) -> int:
        """How many jobs wait, counted up to `limit`."""
        ...

    async def stats(self) -> list[QueueStats]:
        """How each queue stands."""
        ...

    async def outdated(self, retention: Retention) -> list[str]:
        """The ids of some jobs that need not be kept any longer."""
        ...

    async def forget_workers(self, *, after_seconds: float) -> None:
        """Remove the records of workers that have not been heard of for so long."""
        ...

    async def forget_replies(self) -> None:
        """Remove some of the replies to requests with a key that were kept for long enough."""
        ...
