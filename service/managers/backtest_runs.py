"""Around the jobs of a backtest: each split gets what was known at its moment, and the last one scores them all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from domain.artifacts import Artifact
from domain.evaluations import BacktestRequest, Trial, held_back_after, trial
from domain.jobs import Job
from domain.ml import TrainRequest
from domain.model_jobs import BACKTEST_PREDICTION, BACKTEST_REPORT, BacktestJob, EvaluateJob
from domain.model_runs import REQUEST_FILE, Action, ModelCall, ModelFile, ModelOutcome, PartFile
from domain.runs import Message
from service.managers.model_artifacts import ModelArtifacts
from service.managers.model_runs import ModelRunning, ModelRuns


class EvaluateRuns:
    """`domain.job_ports.RunHooks` for one split and model. Its process never sees what came after the cut-off."""

    def __init__(self, runs: ModelRuns) -> None:
        self._runs = runs

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["EvaluateRunning"]:
        """Put the two requests of the trial into a directory that is gone afterwards."""
        given = msgspec.convert(job.args, EvaluateJob)
        runs = self._runs
        async with runs.scratch.directory(job.id) as folder:
            call = await runs.call(Action.EVALUATE, folder, given.artifact_id, given.config_id, member=given.member)
            body = await runs.artifacts.storage.read(given.request)
            cutoff = await asyncio.to_thread(_write_trial, given, body, folder)
            yield EvaluateRunning(runs.artifacts, job, call, given, cutoff)


def _write_trial(given: EvaluateJob, body: bytes, folder: Path) -> str:
    """Cut the data, and write the requests; returns the cut-off."""
    cutoff, tried = _trial(given, body)
    for name, content in tried.files().items():
        (folder / name).mkdir()
        (folder / name / REQUEST_FILE).write_bytes(content)
    return cutoff


def _trial(given: EvaluateJob, body: bytes) -> tuple[str, Trial]:
    asked: TrainRequest | BacktestRequest
    if given.cutoff is None:
        asked = training = msgspec.json.decode(body, type=TrainRequest)
        cutoff, window = held_back_after(training.data, given.horizon), None
    else:
        asked = backtest = msgspec.json.decode(body, type=BacktestRequest)
        cutoff, window = given.cutoff, backtest.window
    return cutoff, trial(
        asked.data,
        cutoff,
        given.horizon,
        given.target,
        config_id=given.config_id,
        artifact_id=given.artifact_id,
        geo=asked.geo,
        run_info=asked.run_info,
        window=window,
    )


class EvaluateRunning(ModelRunning):
    """One split and model."""

    def __init__(self, artifacts: ModelArtifacts, job: Job, call: ModelCall, given: EvaluateJob, cutoff: str) -> None:
        super().__init__(artifacts, job, call, {"request": given.request})
        self._given = given
        self._cutoff = cutoff

    async def made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        """The predictions, which say of which model they are and up to when it knew the past."""
        said = {
            "model": self._given.model or self._given.member,
            "cutoff": self._cutoff,
            "horizon": self._given.horizon,
        }
        made = self.artifacts.made(
            self.origin(),
            outcome,
            self.call.directory,
            content,
            BACKTEST_PREDICTION,
            id=self._given.artifact_id,
            metadata=said,
        )
        return [await made]


class BacktestRuns:
    """`domain.job_ports.RunHooks` for the job that all splits of a backtest come before."""

    def __init__(self, runs: ModelRuns) -> None:
        self._runs = runs

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["BacktestRunning"]:
        """Put the data and all predictions into a directory. Raises `ValueError` naming the splits that have failed."""
        given = msgspec.convert(job.args, BacktestJob)
        runs = self._runs
        async with runs.scratch.directory(job.id) as folder:
            await runs.artifacts.storage.fetch(given.request, folder / REQUEST_FILE)
            parts = []
            failed = []
            for number, part in enumerate(given.parts):
                artifact = await runs.artifacts.forecast(part.artifact_id, BACKTEST_PREDICTION)
                if artifact is None:
                    failed.append(f"{part.name} after {part.cutoff} (job {part.job_id})")
                    continue
                file = f"part-{number}"
                await runs.fetch(artifact, folder / file)
                parts.append(PartFile(name=part.name, artifact_id=artifact.id, cutoff=part.cutoff, file=file))
            if failed:
                raise ValueError(_failure(failed, len(given.parts), job))
            call = await runs.call(Action.SCORE, folder, given.artifact_id, None, parts=parts)
            call = msgspec.structs.replace(call, cutoffs=given.cutoffs, horizon=given.horizon)
            yield BacktestRunning(runs.artifacts, job, call, given)


def _failure(failed: list[str], total: int, job: Job) -> str:
    named = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
    again = f"; POST /api/v1/graphs/{job.graph_id}/$rerun runs them again" if job.graph_id is not None else ""
    return f"{len(failed)} of {total} splits have left no predictions: {named}{again}"


class BacktestRunning(ModelRunning):
    """The scores of all splits."""

    def __init__(self, artifacts: ModelArtifacts, job: Job, call: ModelCall, given: BacktestJob) -> None:
        super().__init__(artifacts, job, call, {"request": given.request})
        self._given = given

    async def made(self, outcome: ModelOutcome, content: ModelFile) -> list[Artifact]:
        """The report."""
        origin = self.origin(*(part.artifact_id for part in self.call.parts))
        said = {"models": self._given.models, "cutoffs": self._given.cutoffs, "horizon": self._given.horizon}
        id = self._given.artifact_id
        made = self.artifacts.made(origin, outcome, self.call.directory, content, BACKTEST_REPORT, id=id, metadata=said)
        return [await made]

    async def write(self, made: list[Artifact]) -> None:
        """Write the row, with the predictions below it."""
        await self.artifacts.insert(made, None, below=[part.artifact_id for part in self.call.parts])
