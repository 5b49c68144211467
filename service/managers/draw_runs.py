"""Around the job that draws a chart of an artifact: what it leaves is written together with its end."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.charts.asked import ChartParams
from domain.job_ports import Effect
from domain.jobs import Job, JobState
from domain.pipelines import DrawJob
from domain.runs import Message, Reason, RunEnd
from service.managers.artifacts import ArtifactManager
from service.managers.charts import ArtifactCharts


class DrawRuns:
    """`domain.job_ports.RunHooks` for charts."""

    def __init__(self, charts: ArtifactCharts, artifacts: ArtifactManager) -> None:
        self._charts = charts
        self._artifacts = artifacts

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["DrawRunning"]:
        """Draw it. Raises `Invalid` for an artifact that has no such chart."""
        given = msgspec.convert(job.args, DrawJob)
        params = msgspec.convert(given.params, ChartParams)
        asked = await self._charts.asked(given.source_id, params)
        row = await self._charts.row(asked, await self._charts.drawn(asked))
        row = msgspec.structs.replace(row, id=given.artifact_id, job_id=job.id)
        yield DrawRunning(self._artifacts, job, row)


class DrawRunning:
    """One chart: `domain.job_ports.Surroundings`."""

    def __init__(self, artifacts: ArtifactManager, job: Job, row: Artifact) -> None:
        self.args: Mapping[str, Any] = job.args
        self._artifacts = artifacts
        self._row = row

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """Keep the chart."""
        if end.reason is not Reason.COMPLETED:
            return end, None

        async def write(job: Job) -> None:
            if job.state is JobState.COMPLETED:
                await self._artifacts.insert_results([self._row], None)

        return msgspec.structs.replace(end, artifact_id=self._row.id), write
