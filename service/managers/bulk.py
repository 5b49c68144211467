"""Many changes in one request: all of them in one transaction, or part by part as they come."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from domain.bulk import BulkCounts, BulkItem, BulkOptions, ItemResult, Mode
from service.managers.bulk_run import BulkRun, Undone
from service.managers.steps import Steps


class BulkOutcome(NamedTuple):
    """What became of each item, and whether it was kept: not after a dry run, nor when an atomic one failed."""

    results: list[ItemResult]
    counts: BulkCounts
    is_kept: bool


async def bulk(steps: Steps[Any], items: Sequence[BulkItem], options: BulkOptions) -> BulkOutcome:
    """Carry out items in one transaction. Raises `Conflict` beyond `max_affected`."""
    results: list[ItemResult] = []

    counts, is_kept = await _in_one(BulkRun(steps, options), _one(items), results.extend)
    return BulkOutcome(results, counts, is_kept)


async def bulk_stream(
    steps: Steps[Any],
    chunks: AsyncIterable[Sequence[BulkItem]],
    options: BulkOptions,
    report: Callable[[Sequence[ItemResult]], None],
) -> tuple[BulkCounts, bool]:
    """Carry out items as they come, and `report` on each chunk. In parts every chunk is a transaction of its own.

    Returns the counts, and whether what succeeded was kept.
    """
    run = BulkRun(steps, options)
    if options.mode is Mode.ATOMIC or options.dry_run:
        return await _in_one(run, chunks, report)
    async for chunk in chunks:
        async with steps.changing():
            results = await run.apply(chunk)
        report(results)
    return run.counts, True


async def _in_one(
    run: BulkRun[Any],
    chunks: AsyncIterable[Sequence[BulkItem]],
    report: Callable[[Sequence[ItemResult]], None],
) -> tuple[BulkCounts, bool]:
    try:
        async with run.steps.changing():
            async for chunk in chunks:
                report(await run.apply(chunk))
            if run.options.dry_run or (run.options.mode is Mode.ATOMIC and run.counts.failed):
                raise Undone
    except Undone:
        return run.counts, False
    return run.counts, True


async def _one(items: Sequence[BulkItem]) -> AsyncIterator[Sequence[BulkItem]]:
    yield items
