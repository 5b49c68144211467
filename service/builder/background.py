"""Jobs, tasks and schedules."""

import os
from collections.abc import Sequence
from typing import Self

from domain.jobs import Retention
from domain.schedules import SCHEDULES
from domain.tasks import Task, Tasks
from domain.workers import DEFAULT_CONCURRENCY, WorkerOptions, check_options
from infra.database.schedules import Schedules
from infra.database.table import bounds_of
from infra.runners.modules import check_importable
from infra.runners.process import check_start_method
from service.builder.core import Core, checked_prefix
from service.choices import JobsPlan


class BackgroundWork(Core):
    """What is done in the background."""

    def with_jobs(
        self,
        prefix: str = "/api/v1/jobs",
        *,
        max_concurrency: int | None = None,
        max_processes: int | None = None,
        retention: Retention | None = None,
        poll_seconds: float = 1.0,
        lease_seconds: float = 15.0,
        max_losses: int = 3,
        grace_seconds: float = 10.0,
        max_waiting: int = 1_000_000,
        start_method: str = "auto",
        tags: Sequence[str] = ("jobs",),
    ) -> Self:
        """Run tasks as durable jobs; `with_tasks` alone does the same with the defaults.

        A worker runs `max_concurrency` jobs at a time (100), of those in a process of their own `max_processes` (one
        per core). It looks for jobs every `poll_seconds` even if nobody wakes it. A job whose worker does not renew its
        lease of `lease_seconds` runs again elsewhere; after `max_losses` lost workers it is dead. A worker that stops
        waits `grace_seconds` for its jobs before it hands them back. While `max_waiting` jobs wait, clients are told to
        come again. `start_method` is `auto`, `fork` or `spawn`.
        """
        concurrency = DEFAULT_CONCURRENCY if max_concurrency is None else max_concurrency
        processes = (os.cpu_count() or 1) if max_processes is None else max_processes
        options = WorkerOptions(
            concurrency=concurrency,
            processes=min(processes, concurrency),
            poll_seconds=poll_seconds,
            lease_seconds=lease_seconds,
            max_losses=max_losses,
            grace_seconds=grace_seconds,
            max_waiting=max_waiting,
        )
        check_options(options)
        check_start_method(start_method)
        self._choices.jobs = JobsPlan(
            path=checked_prefix("with_jobs", prefix),
            options=options,
            retention=retention or Retention(),
            start_method=start_method,
            tags=tuple(tags),
        )
        return self

    def with_tasks(self, *tasks: Task, prefix: str | None = None) -> Self:
        """Offer functions made by `@task` to be run as jobs, from code and over HTTP under `prefix` (/api/v1/tasks)."""
        Tasks([*self._choices.tasks, *tasks])
        for item in tasks:
            if item.is_process:
                check_importable(item)
        self._choices.tasks += tasks
        if prefix is not None:
            self._choices.tasks_path = checked_prefix("with_tasks", prefix)
        return self.with_jobs() if self._choices.jobs is None else self

    def with_schedules(self, prefix: str = "/api/v1/schedules") -> Self:
        """Offer schedules: tasks that are submitted by the clock, changed at run time over HTTP."""
        self._choices.schedules = SCHEDULES.at(checked_prefix("with_schedules", prefix)).bounded(bounds_of(Schedules))
        return self
