"""`millrace jobs`: look at the jobs of a service and change what becomes of them, past its HTTP side."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
import typer

from domain.errors import Misconfigured
from domain.jobs import JOBS, Job, JobEvent, JobState, JobStatus, LogLine
from domain.query import NEWEST_FIRST, Keyset, parse_parameters
from domain.wire import encode_struct, encode_whole, timestamp_text
from service.app import load_app
from service.cli.output import run, say, tabulate
from service.cli.target import HomeOption, TargetArgument, TargetOption, put_into_environment
from service.container import Container, open_container
from service.managers.jobs import Jobs

commands = typer.Typer(help="List, show, cancel and retry jobs, and read their logs.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job.")]
JobArguments = Annotated[list[str], typer.Argument(metavar="JOB...", help="The ids of the jobs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
T = TypeVar("T")


@commands.command()
def ls(
    target: TargetArgument = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    state: Annotated[JobState | None, typer.Option(help="Only in this state.", show_default=False)] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this task.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=500)] = 50,
    is_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List jobs, the newest first."""
    wanted = {
        "status": status.value if status else None,
        "state": state.value if state else None,
        "queue": queue,
        "kind": kind,
    }
    given = [(name, value) for name, value in wanted.items() if value is not None]
    query = parse_parameters(JOBS, given, key=b"") if given else NEWEST_FIRST
    query = msgspec.structs.replace(query, window=Keyset(limit))

    async def work(container: Container) -> list[_Line]:
        listing = await container.manager(JOBS.name).page(query)
        return msgspec.json.decode(listing.items, type=list[_Line])

    found = _with(target, home, work)
    if is_json:
        say(msgspec.json.encode(found).decode())
        return
    columns = ("id", "state", "task", "queue", "attempt", "submitted", "error")
    tabulate(columns, [_cells(job) for job in found])


class _Line(msgspec.Struct):
    """What a list shows of a job."""

    id: str
    status: str
    state: str
    kind: str
    queue: str
    attempt: int
    submitted_at: str
    error: str | None


def _cells(job: _Line) -> tuple[str, ...]:
    error = " ".join((job.error or "").split())[:60]
    return job.id, job.state, job.kind, job.queue, str(job.attempt), job.submitted_at, error


@commands.command()
def show(id: JobArgument, target: TargetOption = None, is_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a job, why it is in its state, and its history."""

    async def work(jobs: Jobs) -> tuple[Job, str, list[JobEvent]]:
        return await jobs.get(id), (await jobs.why(id)).text, await jobs.events(id)

    job, why, events = _with_jobs(target, home, work)
    shown = msgspec.json.decode(encode_struct(job, without=JOBS.hidden))
    if is_json:
        say(encode_whole({**shown, "why": why, "events": events}).decode())
        return
    for name, value in {**shown, "why": why}.items():
        if value not in (None, [], {}):
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            say(f"{name:<18}{text}".rstrip().replace("\n", f"\n{'':<18}"))
    for event in events:
        say(f"{timestamp_text(event.at)}  {event.type:<10}  attempt {event.attempt}  {event.detail or ''}".rstrip())


@commands.command()
def cancel(ids: JobArguments, target: TargetOption = None, home: HomeOption = None) -> None:
    """Cancel jobs; those that run are told to stop."""

    async def work(jobs: Jobs) -> None:
        for id in ids:
            _say_state(await jobs.cancel(id))

    _with_jobs(target, home, work)


@commands.command()
def retry(ids: JobArguments, target: TargetOption = None, home: HomeOption = None) -> None:
    """Let jobs that have ended run again."""

    async def work(jobs: Jobs) -> None:
        for id in ids:
            _say_state(await jobs.retry(id))

    _with_jobs(target, home, work)


@commands.command()
def logs(id: JobArgument, target: TargetOption = None, is_json: JsonOption = False, home: HomeOption = None) -> None:
    """Print what a job wrote."""

    async def work(jobs: Jobs) -> list[LogLine]:
        lines = await jobs.logs(id)
        while lines and (more := await jobs.logs(id, after=lines[-1].sequence)):
            lines += more
        return lines

    lines = _with_jobs(target, home, work)
    if lines:
        # In one piece, for there may be thousands.
        say("\n".join(encode_whole(line).decode() if is_json else _plain(line) for line in lines))


def _plain(line: LogLine) -> str:
    return f"{timestamp_text(line.at)}  {line.stream:<6}  {line.text}"


def _say_state(job: Job) -> None:
    say(f"{job.id}  {job.state}")


def _with(target: str | None, home: str | None, work: Callable[[Container], Awaitable[T]]) -> T:
    put_into_environment(MILLRACE_HOME=home)
    app = load_app(target)

    async def opened() -> T:
        async with open_container(app.settings, app.design) as container:
            if container.background is None:
                raise Misconfigured("the service has no jobs: call with_tasks(…) on its builder")
            return await work(container)

    return run(opened())


def _with_jobs(target: str | None, home: str | None, work: Callable[[Jobs], Awaitable[T]]) -> T:
    async def inner(container: Container) -> T:
        assert container.background is not None
        return await work(container.background.managers.jobs)

    return _with(target, home, inner)
