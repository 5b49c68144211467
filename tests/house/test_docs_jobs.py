"""The guides to tasks, schedules and workers leave nothing out, and their cron expressions fire as they say."""

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any

import msgspec
import pytest

from domain.cron import LATEST, parse_cron, parse_zone
from domain.graphs import Node, On
from domain.jobs import JOBS, STATUSES, Job, JobState, Retention
from domain.registration import ServiceInfo
from domain.schedules import CatchUp, Overlap, ScheduledTask
from domain.submissions import Submission
from domain.tasks import RunningJob, task
from domain.waiting import Why, why_blocked, why_later, why_over, why_queued, why_running
from domain.workers import WorkerInfo
from service.app import endpoints
from service.builder import ServiceBuilder
from service.cli.worker import worker
from service.managers.jobs import Jobs
from service.settings import Settings
from tests.house.comparing import matches
from tests.house.pages import ROOT

TASKS, SCHEDULES, WORKERS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("tasks", "schedules", "workers"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = parse_zone("Europe/Berlin")


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table behind a heading, or behind the beginning of its own head, cell by cell."""
    text = page[page.index(f"\n{heading}") :]
    rows = re.search(r"^\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows is not None, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def named(rows: list[list[str]]) -> dict[str, list[str]]:
    """The rows by every name in their first cell."""
    return {name: row for row in rows for name in re.findall(r"`([^`(]+)[^`]*`", row[0])}


def default_of(value: Any) -> str:
    """How a table shows a default that is a number; nothing for another one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


@task()
async def nothing() -> None:
    """Does nothing."""


@pytest.mark.parametrize("parameter", inspect.signature(task).parameters.values(), ids=lambda it: it.name)
def test_every_argument_of_a_task_is_listed_with_its_default(parameter: inspect.Parameter) -> None:
    assert default_of(parameter.default) in named(table(TASKS, "## Declaring"))[parameter.name][1]


@pytest.mark.parametrize(
    "parameter", [*inspect.signature(ServiceBuilder.with_jobs).parameters.values()][1:], ids=lambda it: it.name
)
def test_every_argument_of_with_jobs_is_listed_with_its_default(parameter: inspect.Parameter) -> None:
    assert default_of(parameter.default) in named(table(WORKERS, "| argument of `with_jobs`"))[parameter.name][1]


@pytest.mark.parametrize("field", msgspec.structs.fields(Retention), ids=lambda field: field.name)
def test_every_bound_of_the_retention_is_listed_with_its_default(field: Any) -> None:
    assert named(table(WORKERS, "## Retention"))[field.name][1] == f"{int(field.default):,}"


def test_every_option_of_a_worker_is_listed() -> None:
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(worker).parameters if name != "target"}
    assert {name.split()[0] for name in named(table(WORKERS, "## Options"))} == options


@pytest.mark.parametrize("kind, heading", [(Submission, "`POST /api/v1/tasks/{name}/$execute`"), (Node, "| member of")])
def test_every_member_of_a_body_is_listed(kind: type[msgspec.Struct], heading: str) -> None:
    assert set(kind.__struct_fields__) == named(table(TASKS, heading)).keys()


@pytest.mark.parametrize("on", list(On))
def test_every_condition_of_a_dependency_is_explained(on: On) -> None:
    assert re.search(rf"`{on}` is ", TASKS)


def test_every_method_of_jobs_for_users_is_listed() -> None:
    # The others are for the managers beside it and for workers.
    inner = {"execute", "ring", "cancel_all", "rerun", "tidy", "document"}
    offered = {name for name, member in vars(Jobs).items() if inspect.iscoroutinefunction(member) and name[0] != "_"}
    assert offered - inner == named(table(TASKS, "| method of `app.jobs`")).keys()


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_of_a_job_is_listed_with_its_status_and_has_a_reason(state: JobState) -> None:
    assert [f"`{STATUSES[state]}`", f"`{state}`"] in [row[:2] for row in table(TASKS, "| `status` | `state`")]
    assert state in named(table(TASKS, "| `reason`"))


def job_like(**values: Any) -> Job:
    """A job with these members."""
    return Job(**{"kind": "remind", "submitted_at": NOW, "run_at": NOW, **values})


def reasons() -> Iterator[Why]:
    """One of every kind that the page has an example of."""
    worker = WorkerInfo(
        id="w", host="worker-7d4f", pid=17, queues=("default",), kinds=("remind",), concurrency=100, running=100
    )
    yield why_queued(job_like(), [worker], [], 3)
    yield why_queued(job_like(queue="mail"), [worker], [], 3)
    yield why_queued(job_like(), [msgspec.structs.replace(worker, kinds=())], [], 3)
    holders = [job_like(id="01K5T0V9G8ZJ8Q6N4X3B7RM2WD"), job_like()]
    yield why_queued(job_like(concurrency_key="tenant-7", concurrency_limit=2), [worker], holders, 3)
    yield why_queued(
        job_like(), [msgspec.structs.replace(worker, processes=2, busy_processes=2)], [], 3, is_process=True
    )
    risk = job_like(id="01K5T0V9G8ZJ8Q6N4X3B7RM2WD", worker_id="w")
    yield why_queued(job_like(losses=2), [msgspec.structs.replace(worker, running=1)], [], 0, risks=[risk])
    parents = [
        (job_like(node="scan", state=JobState.RUNNING), On.SUCCESS),
        (job_like(node="index"), On.ALWAYS),
    ]
    yield why_blocked(job_like(state=JobState.BLOCKED), parents)
    yield why_later(job_like(state=JobState.SCHEDULED), 40)
    failed = job_like(state=JobState.RETRYING, attempt=1, max_attempts=4, error="ConnectionError: no answer")
    yield why_later(failed, 3)
    yield why_running(job_like(state=JobState.RUNNING, attempt=1, worker_id="w"), [worker])
    gone = "domain.retries.PermanentFailure: the book is gone"
    yield why_over(job_like(state=JobState.FAILED, error=gone), [])


@pytest.mark.parametrize("why", [*reasons()], ids=lambda why: why.reason)
def test_the_examples_of_reasons_are_what_is_said(why: Why) -> None:
    examples = re.findall(r"`` ?(.+?) ?``|`([^`]+)`", named(table(TASKS, "| `reason`"))[why.reason][1])
    assert any(matches(double or single, why.text) for double, single in examples), why.text


def test_every_member_of_a_job_is_shown() -> None:
    for name in set(Job.__struct_fields__) - JOBS.hidden:
        assert f'"{name}": ' in TASKS, name


def test_everything_that_a_running_job_offers_is_listed() -> None:
    job = RunningJob(id="1", kind="test", attempt=1, max_attempts=1, send=lambda message: None)
    # `cancel` is for whoever runs it.
    offered = {name for name in dir(job) if name[0] != "_"} - {"cancel"}
    assert offered == named(table(TASKS, "### What a task knows and says")).keys()


def test_every_member_of_a_schedule_is_explained() -> None:
    for name in set(ScheduledTask.__struct_fields__) - {"id", "created_at", "updated_at"}:
        assert f"`{name}`" in SCHEDULES, name


@pytest.mark.parametrize("kind, heading", [(Overlap, "## Overlap"), (CatchUp, "## Ticks nobody was there for")])
def test_every_policy_is_explained(kind: type[Overlap | CatchUp], heading: str) -> None:
    assert set(kind) == named(table(SCHEDULES, heading)).keys()


def routes(page: str) -> Iterator[tuple[str, str]]:
    """The routes in a table; `$logs` alone has method and path of the one before, up to the last part."""
    for row in table(page, "## Routes"):
        method, path = "", ""
        for name in re.findall(r"`([^`]+)`", row[0]):
            if name.startswith("$"):
                path = f"{path.rpartition('/')[0]}/{name}"
            else:
                method, path = name.split()
            yield method, path


def test_the_tables_of_routes_list_what_there_is() -> None:
    start = ServiceBuilder(info=ServiceInfo(id="docs", display_name="Docs")).with_database()
    app = start.with_tasks(nothing).with_schedules().build(Settings())
    offered = {(method, path) for method, path in endpoints(app) if re.match("/api/v1/(?!info)", path)}
    assert {*routes(TASKS), *routes(SCHEDULES)} == offered


def fires(expression: str, day: date, zone: tzinfo) -> list[str]:
    """What the clock on the wall shows when it fires on a day."""
    start, end = (datetime(on.year, on.month, on.day, tzinfo=zone) for on in (day, day + timedelta(days=1)))
    shown = [moment.astimezone(zone).isoformat() for moment in parse_cron(expression).within(start, end, zone)]
    return [text[11:16] + text[-6:] for text in shown]


@pytest.mark.parametrize("expression, shown", table(SCHEDULES, "| expression | fires in 2026"))
def test_an_expression_fires_when_the_page_says(expression: str, shown: str) -> None:
    found = islice(parse_cron(expression.strip("`")).within(datetime(2026, 1, 1, tzinfo=UTC), LATEST, UTC), 3)
    assert [f"{moment:%m-%d %H:%M}" for moment in found] == shown.split(", ")


@pytest.mark.parametrize("expression, march, october", table(SCHEDULES, "| expression | on 29 March"))
def test_an_expression_fires_through_a_gap_and_a_fold_as_the_page_says(
    expression: str, march: str, october: str
) -> None:
    for day, shown in ((date(2026, 3, 29), march), (date(2026, 10, 25), october)):
        assert fires(expression.strip("`"), day, BERLIN) == ([] if shown == "never" else shown.split(", "))
