"""How an item of a bulk request is read: as far as that goes without the database, with all that is wrong with it."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.bodies import Bodies, check_depth, decode_object
from domain.bulk import BulkItem, Expectation, OnConflict, Op, placed
from domain.entity import Ulid, parse_id
from domain.errors import Forbidden, InvalidBody
from domain.validation import invalid_fields, problem, rejected


class _Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item as a client sends it."""

    op: Op
    id: Ulid | UnsetType = UNSET
    if_match: Annotated[str, Meta(min_length=1, max_length=1000)] | UnsetType = UNSET
    data: msgspec.Raw | UnsetType = UNSET


class _Sent(_Item, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same with its data decoded, to find all that is wrong with it."""

    data: Any = UNSET


_decode_item = msgspec.json.Decoder(_Item).decode


class ItemReader:
    """Reads items of one resource. `allowed` are the operations that a client may ask for, `expectation` reads tags."""

    def __init__(
        self,
        bodies: Bodies[Any],
        allowed: Collection[Op],
        on_conflict: OnConflict,
        expectation: Callable[[str], Expectation | None],
    ) -> None:
        self._bodies = bodies
        self._allowed = frozenset(allowed)
        self._is_updating = on_conflict is OnConflict.UPDATE
        self._expectation = expectation

    def read(self, raw: bytes, index: int, place: tuple[str | int, ...]) -> BulkItem:
        """The item at `index`, which stands at `place` in the request; what is wrong with it is its `error`."""
        try:
            item = _decode_item(raw)
        except (msgspec.DecodeError, RecursionError, ValueError):
            return _failed(raw, index, place)
        id = None if item.id is UNSET else parse_id(item.id)
        try:
            self._check(item)
            values, patch = self._data(item.op, id, item.data)
        except InvalidBody as error:
            return BulkItem(index=index, op=item.op, id=id, place=place, error=placed(error, place))
        except Forbidden as error:
            return BulkItem(index=index, op=item.op, id=id, place=place, error=error)
        is_expected = None if item.if_match is UNSET else self._expectation(item.if_match)
        found = values.get("id", id)
        return BulkItem(
            index=index, op=item.op, id=found, is_expected=is_expected, values=values, patch=patch, place=place
        )

    def _check(self, item: _Item) -> None:
        op, errors = item.op, []
        if op not in self._allowed:
            raise Forbidden(f'{self._bodies.resource.name} take no items with the op "{op}" here')
        if op is not Op.CREATE and op is not Op.UPSERT and item.id is UNSET:
            errors.append(problem("missing", f'"id" is required to {op}', ("id",), None))
        if op is Op.DELETE and item.data is not UNSET:
            errors.append(problem("unexpected", 'an item that deletes has no "data"', ("data",), None))
        if op is not Op.DELETE and item.data is UNSET:
            errors.append(problem("missing", f'"data" is required to {op}', ("data",), None))
        if op is Op.CREATE and item.if_match is not UNSET:
            errors.append(problem("unexpected", "what is new has no version to match", ("if_match",), item.if_match))
        if errors:
            raise rejected(errors)

    def _data(self, op: Op, id: str | None, data: msgspec.Raw | UnsetType) -> tuple[Mapping[str, Any], Any]:
        if data is UNSET:
            return {}, {}
        body = bytes(data)
        try:
            patch = {} if op is Op.CREATE and not self._is_updating else self._bodies.decode_patch(body)
            if op is Op.UPDATE:
                return {}, patch
            values = self._bodies.decode_create(body)
        except InvalidBody as error:
            raise placed(error, ("data",)) from None
        return self._identified(op, id, values), patch

    def _identified(self, op: Op, id: str | None, values: Mapping[str, Any]) -> Mapping[str, Any]:
        inner = values.get("id")
        if id is not None and inner is not None and inner != id:
            raise rejected([problem("value_error", f'differs from the "id" {id} of the item', ("data", "id"), inner)])
        if id is None and inner is None and op is Op.UPSERT:
            raise rejected([problem("missing", f'"id" is required to {op}', ("id",), None)])
        return values if id is None else {**values, "id": id}


def _failed(raw: bytes, index: int, place: tuple[str | int, ...]) -> BulkItem:
    """What is wrong with an item that is none."""
    try:
        check_depth(raw)
        sent = decode_object(raw)
        id = sent.get("id")
        error = rejected(invalid_fields(sent, _Sent) or [problem("value_error", "is not valid", (), None)])
    except InvalidBody as found:
        return BulkItem(index=index, place=place, error=placed(found, place))
    known = parse_id(id) if isinstance(id, str) else None
    return BulkItem(index=index, id=known, place=place, error=placed(error, place))
