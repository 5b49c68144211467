"""Rainfall: monthly reports of what weather stations have measured, made in the background."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Annotated

import msgspec
from msgspec import Meta
from piccolo.columns import DoublePrecision, Varchar

from domain.entity import Entity
from domain.errors import Conflict
from domain.graphs import GraphRequest, Node
from domain.query import Resource
from domain.registration import ServiceInfo
from domain.tasks import RunningJob, task
from infra.database.table import EntityTable
from service.builder import ServiceBuilder
from service.http.application import Service
from service.http.crud import Permissions
from stations import Station, readings

Month = Annotated[str, Meta(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", max_length=7, examples=["2026-10"])]
SAMPLES = 500


class Report(Entity, kw_only=True):
    """How much it rained in a month, and between which two values that is with a certainty of 90 %."""

    month: Month
    total_mm: float
    low_mm: float
    high_mm: float


class Reports(EntityTable, tablename="reports"):
    """Where reports are kept: one for each month."""

    month = Varchar(length=7, unique=True)
    total_mm = DoublePrecision()
    low_mm = DoublePrecision()
    high_mm = DoublePrecision()


REPORTS = Resource(Report, "reports")


class Wanted(msgspec.Struct):
    """Which month a report is wanted of; the latest one that is over if none is said."""

    month: Month | None = None


class Question(msgspec.Struct):
    """What a station is asked."""

    station: Station
    month: Month


class Answers(msgspec.Struct):
    """What the stations have answered."""

    month: Month
    stations: dict[Station, list[float]]


class Summary(msgspec.Struct):
    """What a report says."""

    month: Month
    total_mm: float
    low_mm: float
    high_mm: float


class Finished(msgspec.Struct):
    """What is to be published."""

    summary: Summary


@task(unique_key="report-{month}")
async def report(wanted: Wanted, job: RunningJob) -> str:
    """Have a report made: every station is asked, then their answers are summarised, then the report is published."""
    now = job.fire_at or datetime.now(UTC)
    month = wanted.month or f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
    nodes = {station.value: Node(task="measure", args={"station": station, "month": month}) for station in Station}
    answers = {station.value: {"$ref": station.value} for station in Station}
    nodes["summary"] = Node(task="summarise", args={"month": month, "stations": answers})
    nodes["report"] = Node(task="publish", args={"summary": {"$ref": "summary"}})
    return (await app.graphs.submit(GraphRequest(nodes=nodes, label=f"rain of {month}"))).id


@task(retries=5, timeout=60, concurrency_key="station-{station}")
async def measure(question: Question, job: RunningJob) -> list[float]:
    """Ask a station, one question at a time; one that does not answer is asked again."""
    job.log(f"asking the station at the {question.station} about {question.month}")
    return await readings(question.station, question.month, attempt=job.attempt)


@task(timeout=300)
def summarise(answers: Answers, job: RunningJob) -> Summary:
    """Add up what was measured, and find out by many samples how certain that is: in a process of its own."""
    days = [sum(values) / len(values) for values in zip(*answers.stations.values(), strict=True)]
    random = Random(answers.month)
    totals = []
    for number in range(SAMPLES):
        job.check()
        job.progress(100 * number / SAMPLES, step="sampling")
        totals.append(sum(random.choices(days, k=len(days))))
    totals.sort()
    low, high = totals[SAMPLES * 5 // 100], totals[SAMPLES * 95 // 100]
    return Summary(answers.month, round(sum(days), 1), round(low, 1), round(high, 1))


@task()
async def publish(finished: Finished) -> str:
    """Keep a report in place of an earlier one of the same month: run twice, it does no harm."""
    values = msgspec.to_builtins(finished.summary)
    reports = app.manager(REPORTS)
    async with reports.transactions.transaction():
        earlier = await Reports.select(Reports.id).where(Reports.month == finished.summary.month).first()
        kept = await (reports.patch(earlier["id"], values) if earlier else reports.create(values))
    return kept.id


async def plan(app: Service) -> None:
    """Have a report made on the first morning of every month, unless that is planned already."""
    monthly = {"name": "monthly report", "task": "report", "cron": "0 6 1 * *", "time_zone": "Europe/Oslo"}
    with suppress(Conflict):
        await app.schedules.create(monthly)


app = (
    ServiceBuilder(info=ServiceInfo(id="rainfall", display_name="Rainfall", description="Reports about rain"))
    .with_database()
    .with_crud(REPORTS, table=Reports, permissions=Permissions(create=False, update=False))
    .with_tasks(report, measure, summarise, publish)
    .with_schedules()
    .with_health()
    .with_system()
    .with_logging()
    .with_monitoring()
    .on_startup(plan)
    .build()
)
