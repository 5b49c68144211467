"""`millrace storage`: proves that the rows of a service and its stored content agree."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from domain.errors import Misconfigured
from domain.fsck import Disagreement, Report
from domain.wire import encode_whole
from service.app import load_app
from service.cli.output import PROBLEM, run, say
from service.cli.target import HomeOption, TargetArgument, put_into_environment
from service.container import open_container
from service.managers.storage import LEAST_AGE, StorageCheck

commands = typer.Typer(help="Examine the stored content of a service.", no_args_is_help=True)
_STYLES = {Disagreement.ORPHAN: "yellow"}
_HOURS = int(LEAST_AGE.total_seconds() // 3600)


@commands.callback()
def _group() -> None:
    # With a callback a group of one command is still a group.
    pass


@commands.command()
def fsck(
    target: TargetArgument = None,
    is_fast: Annotated[bool, typer.Option("--fast", help="Compare names and sizes only; read no content.")] = False,
    is_deleting: Annotated[
        bool, typer.Option("--delete-orphans", help="Delete content that belongs to no row and is old enough.")
    ] = False,
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="HOURS", help="How old orphans must be to be deleted.", min=0)
    ] = _HOURS,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    home: HomeOption = None,
) -> None:
    """Compare the rows with the stored content; exit code 1 when they disagree."""

    async def work(check: StorageCheck) -> Report:
        report = await check.examine(is_fast=is_fast)
        return await check.delete_orphans(report, timedelta(hours=older_than)) if is_deleting else report

    report = _with(target, home, work)
    if is_json:
        say(encode_whole(report).decode())
    else:
        _show(report)
    if report.findings:
        raise typer.Exit(PROBLEM)


def _show(report: Report) -> None:
    for finding in report.findings:
        say(f"{finding.kind:<9}{finding.text}", _STYLES.get(finding.kind, "bold red"))
    if report.deleted:
        say(f"{'deleted':<9}{report.deleted} orphans of {report.deleted_bytes} bytes")
    seen = f"{report.references} references, {report.blobs} blobs of {report.bytes} bytes, {report.hashed} read in full"
    say(f"{'seen':<9}{seen}: {len(report.findings)} findings")


def _with(target: str | None, home: str | None, work: Callable[[StorageCheck], Awaitable[Report]]) -> Report:
    put_into_environment(MILLRACE_HOME=home)
    app = load_app(target)

    async def opened() -> Report:
        async with open_container(app.settings, app.design) as container:
            if container.storage is None:
                raise Misconfigured("the service keeps no content: call with_artifacts(…) on its builder")
            return await work(StorageCheck(container.storage, container.references, lambda: datetime.now(UTC)))

    return run(opened())
