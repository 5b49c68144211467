"""What the service does when it is started for the first time: its weekly work, and it tells how that goes."""

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from domain.backtest_reports import BacktestReport
from domain.errors import NotFound
from domain.jobs import JOBS, Job, JobState, JobStatus
from domain.model_jobs import EVALUATE
from domain.pipelines import PIPELINE, Promoted
from domain.query import NEWEST_FIRST, Comparison, Operator, Paged
from service.http.application import Service
from service.managers.graphs import GraphView
from service.managers.pipelines import Told
from weekly import MODEL, WEEKLY

logger = logging.getLogger("outbreak")
LOOK_SECONDS = 0.2
ENDED = {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED}
_tasks: set["asyncio.Task[None]"] = set()

BY_HAND = """charts to show to a colleague: {url}/charts/
the same by hand:
  {bodies} train {config} > train.json
  {curl}/api/v1/ml/$train' -H 'Content-Type: application/json' -d @train.json
  {bodies} predict outbreak@champion > predict.json
  {curl}/api/v1/ml/$predict' -H 'Content-Type: application/json' -d @predict.json
  {bodies} backtest {config} > backtest.json
  {curl}/api/v1/ml/$backtest' -H 'Content-Type: application/json' -d @backtest.json
  {curl}/api/v1/artifacts/{forecast}/$chart?chart=fan&location=Keren&format=svg' > fan.svg"""


async def first_start(app: Service) -> None:
    """Begin in the background, or go on to tell of what an earlier start has begun."""
    task = asyncio.create_task(_demonstrate(app))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _demonstrate(app: Service) -> None:
    known = await _latest(app)
    if known is None and not await _has_champion(app):
        logger.info("first start: two models and their ensemble are trained, and tried on the past")
        # Whoever else starts at this moment finds this one, and no second one comes of it.
        given = {"args": {"name": WEEKLY.name}, "unique_key": "first-start"}
        known = (await app.jobs.submit(PIPELINE, **given)).job
    elif known is None or await _is_over(app, known):
        return
    if (told := await _begun(app, known)) is not None and await _followed(app, told):
        config_id = (await app.artifacts.get(told.trainings["ensemble"])).config_id
        for line in _by_hand(app, config_id, told.forecast_id).splitlines():
            logger.info(line)


def _by_hand(app: Service, config_id: str | None, forecast_id: str) -> str:
    url = f"http://127.0.0.1:{app.local_port or app.settings.port}"
    bodies = shlex.join(os.path.relpath(path) for path in (sys.executable, Path(__file__).with_name("bodies.py")))
    return BY_HAND.format(url=url, curl=f"curl -s '{url}", bodies=bodies, config=config_id, forecast=forecast_id)


async def _latest(app: Service) -> Job | None:
    kind = Comparison("kind", Operator.EQ, PIPELINE)
    latest = msgspec.structs.replace(NEWEST_FIRST, filter=kind, window=Paged(page=1, size=1))
    return next(iter(await app.manager(JOBS).find_all(latest)), None)


async def _has_champion(app: Service) -> bool:
    try:
        return bool(await app.running.modelling.versions.resolve(f"{MODEL}@{WEEKLY.alias}"))
    except NotFound:
        return False


async def _is_over(app: Service, job: Job) -> bool:
    if job.state is not JobState.COMPLETED:
        return job.is_final
    return (await app.graphs.view((await _told(app, job)).graph_id)).status in ENDED


async def _told(app: Service, job: Job) -> Told:
    return msgspec.json.decode(await app.jobs.result(job.id), type=Told)


async def _begun(app: Service, job: Job) -> Told | None:
    """Wait until there is data; what comes of it."""
    while not job.is_final:
        await asyncio.sleep(LOOK_SECONDS)
        job = await app.jobs.get(job.id)
    if job.state is JobState.COMPLETED:
        return await _told(app, job)
    logger.warning("first start: %s", job.error or job.state)
    return None


async def _followed(app: Service, told: Told) -> bool:
    """Tell how the work goes; says whether it went well."""
    seen: set[str] = set()
    while True:
        graph = await app.graphs.view(told.graph_id)
        for key, line in [pair async for pair in _news(app, told, graph, seen)]:
            seen.add(key)
            logger.info(line)
        if graph.status in ENDED:
            return graph.status is JobStatus.COMPLETED
        await asyncio.sleep(LOOK_SECONDS)


async def _news(app: Service, told: Told, graph: GraphView, seen: set[str]) -> AsyncIterator[tuple[str, str]]:
    """What has happened that was not told yet, each with what it is remembered by."""
    done = {name: node for name, node in graph.nodes.items() if node.state is JobState.COMPLETED}
    trials = [name for name, node in graph.nodes.items() if node.kind == EVALUATE]
    tried = len(done.keys() & set(trials))
    lines: dict[str, str] = {name: f"{name.removesuffix('-model')} is trained" for name in done if _is_model(name)}
    lines[f"tried {tried}"] = f"tried on the past: {tried} of {len(trials)} times"
    if "backtest-report" in done and "backtest-report" not in seen:
        lines["backtest-report"] = await _scores(app, told)
    if "promote" in done and "promote" not in seen:
        lines["promote"] = await _promotion(app, done["promote"].job_id)
    lines |= {name: "the coming months are forecast by the champion" for name in done if name == "predict"}
    lines |= {name: f"chart drawn: {name.removeprefix('draw-')}" for name in done if name.startswith("draw-")}
    lines |= {f"{name} failed": f"{name} failed: {node.error}" for name, node in graph.nodes.items() if node.error}
    for key, line in lines.items():
        if key not in seen:
            yield key, line


def _is_model(name: str) -> bool:
    return name.endswith("-model") and name.removesuffix("-model") in WEEKLY.candidates


async def _scores(app: Service, told: Told) -> str:
    sha256 = (await app.artifacts.get(told.report_id)).content_sha256
    assert sha256 is not None
    report = msgspec.json.decode(await app.artifacts.read(sha256), type=BacktestReport)
    scores = [f"{name} {metrics.crps:.2f}" for name, metrics in report.overall.items() if metrics.crps is not None]
    return f"CRPS, the less the better: {', '.join(scores)}"


async def _promotion(app: Service, job_id: str) -> str:
    promoted = msgspec.json.decode(await app.jobs.result(job_id), type=Promoted)
    if promoted.is_promoted:
        return f"{promoted.best} is the champion: version {promoted.version} has met the gate, {WEEKLY.gate}"
    return f"version {promoted.champion} stays the champion: {promoted.reason}"
