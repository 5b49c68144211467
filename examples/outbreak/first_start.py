"""What the service does when it is started for the first time: it trains a model, forecasts, and says how to go on."""

import asyncio
import logging

import districts
from domain.jobs import Job, JobStatus
from domain.ml import Accepted, PredictRequest, RunInfo, TrainRequest
from service.http.application import Service

logger = logging.getLogger("outbreak")
HORIZON = 12
_tasks: set["asyncio.Task[None]"] = set()

BY_HAND = """the same by hand:
  curl -s '{url}/api/v1/ml/$generate-sample-data?kind=train&config_id={config}' > train.json
  curl -s '{url}/api/v1/ml/$train' -H 'Content-Type: application/json' -d @train.json
  curl -s  {url}/api/v1/artifacts/{forecast}"""


async def first_start(app: Service) -> None:
    """Begin in the background, unless there is a configuration already."""
    if await app.configs.count():
        return
    task = asyncio.create_task(_demonstrate(app))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _demonstrate(app: Service) -> None:
    config = await app.configs.create(
        {"name": "monthly, by season and climate", "data": {"prediction_periods": HORIZON}}
    )
    known, future, _ = districts.split(districts.observed(), HORIZON)
    geo = districts.geometry()
    logger.info("first start: %d months of %d districts are there to learn from", len(known) // 6, 6)
    trained = await app.models.train(TrainRequest(config_id=config.id, data=known, geo=geo))
    if not await _followed(app, trained, "training"):
        return
    asked = PredictRequest(
        artifact_id=trained.artifact_id,
        historic=known,
        future=future,
        geo=geo,
        run_info=RunInfo(prediction_periods=HORIZON),
    )
    predicted = await app.models.predict(asked)
    if await _followed(app, predicted, "forecast"):
        for line in BY_HAND.format(url=_url(app), config=config.id, forecast=predicted.artifact_id).splitlines():
            logger.info(line)


async def _followed(app: Service, accepted: Accepted, what: str) -> bool:
    """Tell how a job goes; says whether it went well."""
    told = ""
    while True:
        job = await app.jobs.get(accepted.job_id)
        if (said := _said(job)) != told:
            logger.info("%s: %s", what, said)
            told = said
        if job.is_final:
            return job.status is JobStatus.COMPLETED
        await asyncio.sleep(0.2)


def _said(job: Job) -> str:
    if job.status is JobStatus.FAILED:
        return f"failed: {job.error}"
    progress = job.progress
    return f"{job.status} ({progress.step}: {progress.message})" if progress and not job.is_final else str(job.status)


def _url(app: Service) -> str:
    return f"http://127.0.0.1:{app.local_port or app.settings.port}"
