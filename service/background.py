"""Puts together what works in the background: the managers of jobs, and the workers."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from domain.errors import Misconfigured
from domain.graphs import GRAPHS, Graph
from domain.job_ports import RunHooks
from domain.jobs import JOBS, Job, Retention
from domain.ports import Doorbell
from domain.schedules import SCHEDULES
from domain.tasks import Tasks
from domain.workers import WorkerOptions
from infra.database.engine import DatabaseEngine
from infra.database.jobs.leases import LeaseKeeper
from infra.database.jobs.statements import JOB_RESOURCE
from infra.database.jobs.store import JobDatabase
from infra.database.jobs.tables import Graphs
from infra.database.jobs.tables import Jobs as JobTable
from infra.database.repository import PiccoloRepository
from infra.database.schedules import ScheduleDatabase, Schedules
from infra.database.sqlite import SqliteEngine
from infra.database.table import bounds_of
from infra.queue.memory import MemoryDoorbell
from infra.runners.modules import Module
from infra.runners.process import ProcessRunner
from service.managers.background import Background
from service.managers.base import Manager
from service.managers.graphs import GraphManager
from service.managers.job_reader import JobReader
from service.managers.jobs import Jobs
from service.managers.monitoring import Monitoring
from service.managers.runs import Runs
from service.managers.schedules import ScheduleManager
from service.managers.worker import Worker

if TYPE_CHECKING:
    from infra.queue.arq import ArqDoorbell


class JobsDesign(msgspec.Struct, frozen=True, kw_only=True):
    """The background work of a service: its tasks, how its workers work, and for how long ended jobs are kept.

    `modules` are needed by processes of tasks besides those that the tasks are in.
    """

    tasks: Tasks
    options: WorkerOptions = WorkerOptions()
    retention: Retention = Retention()
    start_method: str = "auto"
    modules: tuple[Module, ...] = ()


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The opened parts: the managers, those that are read as resources by name, and what makes a worker.

    A new worker does not run yet; `options` are what the service was built with.
    """

    managers: Background
    resources: Mapping[str, Manager[Any]]
    options: WorkerOptions
    make_worker: Callable[[WorkerOptions], Worker]


@asynccontextmanager
async def open_background(
    engine: DatabaseEngine,
    another_engine: Callable[[], DatabaseEngine],
    redis_url: str | None,
    design: JobsDesign,
    *,
    namespace: str,
    hooks: Mapping[str, RunHooks],
    monitoring: Monitoring | None = None,
) -> AsyncIterator[Opened]:
    """Open the managers; `another_engine` makes one for the thread that keeps leases, `hooks` surround runs by kind.

    Raises `Misconfigured` for a Redis URL that is none; a Redis that is away is no error.
    """
    bell = _doorbell(redis_url, namespace)
    store = JobDatabase(engine)
    documents: PiccoloRepository[Job] = PiccoloRepository(JOB_RESOURCE, JobTable, engine)
    graph_documents: PiccoloRepository[Graph] = PiccoloRepository(GRAPHS.bounded(bounds_of(Graphs)), Graphs, engine)
    schedule_resource = SCHEDULES.bounded(bounds_of(Schedules))
    jobs = Jobs(design.tasks, store, engine, bell, design.retention, design.options)
    schedules = ScheduleManager(
        schedule_resource, PiccoloRepository(schedule_resource, Schedules, engine), ScheduleDatabase(engine), jobs
    )

    def make_worker(options: WorkerOptions) -> Worker:
        return _worker(engine, another_engine, store, bell, design, options, jobs, schedules, hooks, monitoring)

    try:
        yield Opened(
            managers=Background(
                tasks=design.tasks, jobs=jobs, graphs=GraphManager(jobs, graph_documents), schedules=schedules
            ),
            resources={
                JOBS.name: JobReader(JOB_RESOURCE, documents, engine),
                GRAPHS.name: Manager(graph_documents.resource, graph_documents, engine),
                SCHEDULES.name: schedules,
            },
            options=design.options,
            make_worker=make_worker,
        )
    finally:
        if not isinstance(bell, MemoryDoorbell):
            await bell.close()


def _doorbell(redis_url: str | None, namespace: str) -> "MemoryDoorbell | ArqDoorbell":
    if redis_url is None:
        return MemoryDoorbell()
    # arq and Redis cost a service start-up time and memory that it does not need without them.
    from infra.queue.arq import ArqDoorbell

    try:
        return ArqDoorbell(redis_url, namespace=namespace)
    except Misconfigured as error:
        raise Misconfigured(f"REDIS_URL: {error}") from error


def _worker(
    engine: DatabaseEngine,
    another_engine: Callable[[], DatabaseEngine],
    store: JobDatabase,
    bell: Doorbell,
    design: JobsDesign,
    options: WorkerOptions,
    jobs: Jobs,
    schedules: ScheduleManager,
    hooks: Mapping[str, RunHooks],
    monitoring: Monitoring | None,
) -> Worker:
    def make_leases(worker: Worker) -> LeaseKeeper:
        # A database in memory cannot be opened a second time.
        is_shared = isinstance(engine, SqliteEngine) and engine.path is None
        return LeaseKeeper(
            engine,
            None if is_shared else another_engine,
            lease_seconds=options.lease_seconds,
            info=lambda: worker.info,
            told=worker.told,
        )

    heavy = [task for task in design.tasks if task.is_process]
    runner = ProcessRunner(heavy, modules=design.modules, start_method=design.start_method)
    return Worker(
        store,
        design.tasks,
        Runs(store, runner, hooks, monitoring.find_tracer) if monitoring is not None else Runs(store, runner, hooks),
        bell,
        make_leases,
        options,
        host=socket.gethostname(),
        pid=os.getpid(),
        chores=[
            (schedules.firing.fire_due, "the schedule"),
            (jobs.tidy, "the removal of old jobs"),
            (schedules.firing.tidy, "the removal of old ticks"),
        ],
        measures=monitoring.jobs if monitoring is not None else None,
    )
