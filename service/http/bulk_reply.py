"""What a bulk request is answered: a summary, and what became of each item."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from domain.bulk import (
    BulkCounts,
    BulkOperationError,
    BulkOptions,
    ItemResult,
    Mode,
    Outcome,
    summary,
)
from domain.errors import MOST_ERRORS, FieldError, InvalidBody, ServiceError, field_error
from domain.wire import timestamp_text
from service.http.conditional import entity_tag
from service.http.problems import item_problem, status_of
from service.managers.bulk import BulkOutcome

_STATUSES = {
    Outcome.CREATED: 201,
    Outcome.UPDATED: 200,
    Outcome.UNCHANGED: 200,
    Outcome.SKIPPED: 200,
    Outcome.DELETED: 204,
}
# What a reply tells of invalid fields; a request of nothing but errors must not become a larger reply.
_MOST_EXPLAINED = 1_000


class BulkItemReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the item at `index`: the status it would have had alone, and its problem when it failed.

    Of a stream `line` says where it stands.
    """

    index: int | UnsetType = UNSET
    line: int | UnsetType = UNSET
    status: int
    outcome: Outcome
    id: str | UnsetType = UNSET
    etag: str | UnsetType = UNSET
    problem: dict[str, Any] | UnsetType = UNSET


class BulkReply(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a bulk request, and its items."""

    mode: Mode
    dry_run: bool
    total: int
    succeeded: int
    failed: int
    errors: list[BulkOperationError]
    counts: BulkCounts
    items: list[BulkItemReply]

    @classmethod
    def of(cls, outcome: BulkOutcome, options: BulkOptions, shower: "Shower") -> "BulkReply":
        """The reply to a request that was carried out."""
        summed = summary(outcome.results)
        return cls(
            mode=options.mode,
            dry_run=options.dry_run,
            total=summed.total,
            succeeded=summed.succeeded,
            failed=summed.failed,
            errors=summed.errors,
            counts=outcome.counts,
            items=shower.shown(outcome.results, is_kept=outcome.is_kept),
        )


class Shower:
    """Shows results; `shape` is that of the entity's tags."""

    def __init__(self, shape: str) -> None:
        self._shape = shape

    def shown(self, results: Iterable[ItemResult], *, is_kept: bool = True) -> list[BulkItemReply]:
        """What is shown of results; what was not kept has no version."""
        # What was made together is of one version.
        tags: dict[datetime, str] = {}
        explained = 0
        shown = []
        for result in results:
            if result.error is not None:
                explained += len(result.error.errors)
                shown.append(self.failed(result, result.error, is_explained=explained <= _MOST_EXPLAINED))
                continue
            version = result.version if is_kept else None
            if version is not None and version not in tags:
                tags[version] = entity_tag(timestamp_text(version), self._shape)
            shown.append(
                BulkItemReply(
                    index=result.index,
                    status=_STATUSES[result.outcome],
                    outcome=result.outcome,
                    id=result.id or UNSET,
                    etag=UNSET if version is None else tags[version],
                )
            )
        return shown

    def failed(
        self, result: ItemResult, error: ServiceError, *, line: int | None = None, is_explained: bool = True
    ) -> BulkItemReply:
        """What is shown of an item that failed; its invalid fields only if it is to be explained."""
        return BulkItemReply(
            index=result.index if line is None else UNSET,
            line=UNSET if line is None else line,
            status=status_of(error),
            outcome=Outcome.FAILED,
            id=result.id or UNSET,
            problem=item_problem(error, is_explained=is_explained),
        )


def not_written(results: Sequence[ItemResult], shower: Shower) -> InvalidBody:
    """The error for a request of which nothing was written, with all items that failed."""
    failed = [result for result in results if result.error is not None]
    first = failed[0]
    assert first.error is not None
    errors = islice((found for result in failed for found in _errors(result)), MOST_ERRORS)
    return InvalidBody(
        f"{len(failed)} of {len(results)} items cannot be carried out, so none was; "
        f"the first is item {first.index}: {first.error.detail}",
        errors=list(errors),
        extensions={
            "total": len(results),
            "succeeded": 0,
            "failed": len(failed),
            "items": shower.shown(failed),
        },
    )


def _errors(result: ItemResult) -> Sequence[FieldError]:
    """What is wrong with an item, as invalid inputs; it may be a member that is right by itself."""
    error = result.error
    assert error is not None
    if error.errors:
        return error.errors
    return [field_error(error.code, error.detail, ("body", "items", result.index))]
