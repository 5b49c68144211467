"""Measures what a worker does: how long jobs wait for it, how long they take, how they end."""

import time
from collections.abc import Sequence

from domain.jobs import FINAL, Job, JobState
from domain.measures import LONG_SECONDS, SECONDS, Measures

_DELAYS = (*SECONDS, 60.0, 300.0, 3_600.0)


class JobMeasures:
    """The jobs that workers in this process have run, by kind, of which there are as many as the service has tasks."""

    def __init__(self, measures: Measures) -> None:
        self._delay = measures.histogram(
            "millrace_job_start_delay_seconds",
            "How long jobs that could have run have waited for a worker",
            ("kind",),
            bounds=_DELAYS,
        )
        self._duration = measures.histogram(
            "millrace_job_duration_seconds", "How long runs of jobs took", ("kind", "state"), bounds=LONG_SECONDS
        )
        self._finished = measures.counter(
            "millrace_jobs_finished_total", "Jobs that have ended here, by how", ("kind", "state")
        )
        self._retried = measures.counter(
            "millrace_job_retries_total", "Runs that have failed and will be tried again", ("kind",)
        )
        self._returned = measures.counter("millrace_jobs_given_back_total", "Runs that the worker gave back", ("kind",))
        self._lost = measures.counter("millrace_jobs_lost_total", "Runs whose worker was found to be gone", ("kind",))
        self._discarded = measures.counter(
            "millrace_job_runs_discarded_total", "Runs whose job was no longer this worker's at their end", ("kind",)
        )
        self._began: dict[str, float] = {}

    def started(self, job: Job) -> None:
        """A job begins to run."""
        self._began[job.id] = time.monotonic()
        if job.started_at is not None:
            # Both are the database's own moments.
            self._delay.observe(max((job.started_at - job.run_at).total_seconds(), 0.0), job.kind)

    def ended(self, jobs: Sequence[Job], recorded: Sequence[Job]) -> None:
        """The ends of jobs are recorded, as far as they still were this worker's."""
        now = time.monotonic()
        held = {job.id: job for job in recorded}
        for job in jobs:
            began = self._began.pop(job.id, now)
            after = held.get(job.id)
            if after is None:
                self._discarded.add(job.kind)
                continue
            self._count(after)
            self._duration.observe(now - began, after.kind, after.state.value)

    def _count(self, job: Job) -> None:
        if job.state in FINAL:
            self._finished.add(job.kind, job.state.value)
        elif job.state is JobState.RETRYING:
            self._retried.add(job.kind)
        else:
            self._returned.add(job.kind)

    def dropped(self, job: Job) -> None:
        """A run is discarded without anything being recorded."""
        self._began.pop(job.id, None)
        self._discarded.add(job.kind)

    def lost(self, jobs: Sequence[Job]) -> None:
        """Jobs were taken from workers that are gone."""
        for job in jobs:
            self._lost.add(job.kind)
            if job.state in FINAL:
                self._finished.add(job.kind, job.state.value)
