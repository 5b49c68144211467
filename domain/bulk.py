"""Many changes in one request: what may be asked, what an item is, and what became of it."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.entity import Entity
from domain.errors import FieldError, InvalidBody, ServiceError
from domain.validation import rejected

Expectation = Callable[[str], bool]

MOST_ITEMS = 10_000
"""How many items one JSON request may have; a stream of lines may have any number."""


class Mode(enum.StrEnum):
    """Whether one bad item keeps everything from being written, or only itself."""

    ATOMIC = "atomic"
    PARTIAL = "partial"


class OnConflict(enum.StrEnum):
    """What becomes of an item that is to be created while its id or a unique value is taken.

    `update` concerns the id: what has it is changed, as by an update. A unique value of something else stays an error.
    """

    ERROR = "error"
    SKIP = "skip"
    UPDATE = "update"


class Op(enum.StrEnum):
    """What an item asks for; `upsert` updates what is there, and creates it otherwise."""

    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


class BulkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is carried out. With `dry_run` nothing is kept; more than `max_affected` changes are refused."""

    mode: Mode = Mode.ATOMIC
    on_conflict: OnConflict = OnConflict.ERROR
    dry_run: bool = False
    max_affected: Annotated[int, Meta(ge=0)] | None = None


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item, read and checked as far as that goes without the database; `error` when it failed at that.

    `values` are those of a new entity, `patch` is the merge patch for one that is there, `is_expected` whether its
    version (the wire form of `updated_at`) is the one that is meant. `place` is where the item stands in the request.
    With `is_whole` the values are all that the entity is to have, also when it is there already, and there is no patch.
    """

    index: int
    op: Op = Op.CREATE
    id: str | None = None
    is_expected: Expectation | None = None
    values: Mapping[str, Any] = {}
    patch: Mapping[str, Any] = {}
    is_whole: bool = False
    place: tuple[str | int, ...] = ()
    error: ServiceError | None = None


def created(entity: Entity, index: int) -> BulkItem:
    """The item that creates an entity which is there already in memory."""
    values = {name: getattr(entity, name) for name in entity.__struct_fields__}
    return BulkItem(index=index, id=entity.id, values=values, is_whole=True, place=("items", index))


class Outcome(enum.StrEnum):
    """What became of an item."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    SKIPPED = "skipped"
    FAILED = "failed"


CHANGES = (Outcome.CREATED, Outcome.UPDATED, Outcome.DELETED)


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the item at `index`; `version` is the `updated_at` of what is there now."""

    index: int
    outcome: Outcome
    id: str | None = None
    version: datetime | None = None
    error: ServiceError | None = None


class BulkOperationError(msgspec.Struct, frozen=True):
    """An item that failed: its id, or where it stands when it has none, and why."""

    id: str
    reason: str


class BulkOperationResult(msgspec.Struct, kw_only=True):
    """How many items there were, how many of them succeeded and failed, and why those failed."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: list[BulkOperationError] = []


def summary(results: Sequence[ItemResult], *, is_kept: bool = True) -> BulkOperationResult:
    """The sum of results; when nothing was kept, nothing has succeeded."""
    failed = [result for result in results if result.error is not None]
    return BulkOperationResult(
        total=len(results),
        succeeded=len(results) - len(failed) if is_kept else 0,
        failed=len(failed),
        errors=[
            BulkOperationError(result.id or f"/items/{result.index}", result.error.detail)
            for result in failed
            if result.error is not None
        ],
    )


class BulkCounts(msgspec.Struct):
    """How many items had which outcome."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: int = 0
    failed: int = 0

    def add(self, results: Iterable[ItemResult]) -> None:
        """Count some more."""
        for result in results:
            setattr(self, result.outcome, getattr(self, result.outcome) + 1)

    @property
    def affected(self) -> int:
        """How many entities were changed."""
        return self.created + self.updated + self.deleted

    @property
    def total(self) -> int:
        """How many items there were."""
        return self.affected + self.unchanged + self.skipped + self.failed


def placed(error: InvalidBody, place: Sequence[str | int]) -> InvalidBody:
    """What is wrong with a part of a request, as an error of the request that has it at `place`."""
    errors = [_under(found, place) for found in error.errors]
    return rejected(errors) if errors else error


def _under(error: FieldError, place: Sequence[str | int]) -> FieldError:
    start = "".join(f"/{part}" for part in place)
    return msgspec.structs.replace(error, loc=("body", *place, *error.loc[1:]), pointer=f"{start}{error.pointer or ''}")
