"""Around the jobs of pipelines: the data that one has got becomes a graph, and the best of its models a champion."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.job_ports import Effect
from domain.jobs import Job, JobState
from domain.pipelines import DATA_FILE, Gathering, PipelineData, PipelineJob, Promoted, PromoteJob
from domain.ports import Scratch
from domain.runs import Message, Reason, RunEnd
from service.managers.pipelines import Pipelines, Planned
from service.managers.promotions import Promotions


class PipelineRuns:
    """`domain.job_ports.RunHooks` for the job that gets the data."""

    def __init__(self, pipelines: Pipelines, programs: Mapping[str, bytes], scratch: Scratch) -> None:
        self._pipelines = pipelines
        self._programs = programs
        self._scratch = scratch

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["PipelineRunning"]:
        """Give the process a directory, which is gone afterwards. Raises `ValueError` for a pipeline there is not."""
        name = msgspec.convert(job.args, PipelineJob).name
        if name not in self._programs:
            raise ValueError(f'there is no pipeline "{name}"; there are: {", ".join(self._programs)}')
        async with self._scratch.directory(job.id) as folder:
            yield PipelineRunning(self._pipelines, name, folder, self._programs[name])


class PipelineRunning:
    """One time that a pipeline begins: `domain.job_ports.Surroundings`."""

    def __init__(self, pipelines: Pipelines, name: str, folder: Path, program: bytes) -> None:
        self.args: Mapping[str, Any] = msgspec.to_builtins(Gathering(program=program, directory=str(folder)))
        self._pipelines = pipelines
        self._name = name
        self._folder = folder

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """Plan what follows; it is submitted together with the end of the job, or not at all."""
        if end.reason is not Reason.COMPLETED:
            return end, None
        data = await asyncio.to_thread(_read, self._folder / DATA_FILE)
        planned: Planned = await self._pipelines.planned(self._name, data)

        async def submit(job: Job) -> None:
            if job.state is JobState.COMPLETED:
                await self._pipelines.submit(planned)

        return msgspec.structs.replace(end, result=msgspec.json.encode(planned.told)), submit


def _read(path: Path) -> PipelineData:
    return msgspec.json.decode(path.read_bytes(), type=PipelineData)


class PromoteRuns:
    """`domain.job_ports.RunHooks` for promotions."""

    def __init__(self, promotions: Promotions) -> None:
        self._promotions = promotions

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["PromoteRunning"]:
        """Nothing needs to be prepared."""
        yield PromoteRunning(self._promotions, job, report)


class PromoteRunning:
    """One promotion. It may be done again after a crash, and changes nothing then that it has done before."""

    def __init__(self, promotions: Promotions, job: Job, report: Callable[[Message], None]) -> None:
        self.args: Mapping[str, Any] = job.args
        self._promotions = promotions
        self._report = report

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        """Promote, and say what came of it."""
        if end.reason is not Reason.COMPLETED:
            return end, None
        promoted: Promoted = await self._promotions.promote(msgspec.convert(self.args, PromoteJob))
        said = f"version {promoted.version} of {promoted.model} ({promoted.best}) is the best"
        why = f"; it is not promoted: {promoted.reason}" if promoted.reason else ""
        self._report({"log": f"{said}{why}"})
        return msgspec.structs.replace(end, result=msgspec.json.encode(promoted)), None
