"""What happens to aliases: they point to versions, by promotion or by hand, and back."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from domain.context import current_context
from domain.errors import Conflict, Invalid, NotFound
from domain.gates import GateDecision, GateNotMet, Sides, decide, names_of, parse_gate
from domain.model_versions import (
    CHAMPION,
    Alias,
    AliasMove,
    Model,
    ModelVersion,
    MoveKind,
    Promotion,
    VersionStatus,
    check_usable,
    version_before,
)
from domain.ports import AliasHistory, Transactions
from service.managers.models import ModelManager
from service.managers.versions import VersionManager

_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,99}")
_TICK = timedelta(microseconds=1)


class Aliases:
    """The aliases of models.

    Methods raise `NotFound`, `Invalid`, `Conflict` and `Unavailable`. Who changes an alias has locked its model, so
    that of two at once the second sees what the first has done.
    """

    def __init__(
        self, models: ModelManager, versions: VersionManager, history: AliasHistory, transactions: Transactions
    ) -> None:
        self._models = models
        self._versions = versions
        self._history = history
        self._transactions = transactions

    # Reads

    async def find_all(self, name: str, as_of: datetime | None = None) -> list[Alias]:
        """What the aliases of a model point to, or pointed to at a moment."""
        model = await self._models.get(name)
        moves = await self._history.latest([model.id], as_of)
        return [_shown(model, move, move.version) for move in moves if move.version is not None]

    async def get(self, name: str, alias: str, as_of: datetime | None = None) -> Alias:
        """What an alias points to, or pointed to at a moment."""
        return await self.pointed(await self._models.get(name), alias, as_of)

    async def pointed(self, model: Model, alias: str, as_of: datetime | None = None) -> Alias:
        """The same of a model that is known."""
        _check_name(alias)
        move = next((move for move in await self._history.latest([model.id], as_of) if move.alias == alias), None)
        if move is None or move.version is None:
            when = "" if as_of is None else f" at {as_of.isoformat()}"
            raise NotFound(f'Alias "{alias}" of model {model.name} points to nothing{when}')
        return _shown(model, move, move.version)

    async def history(self, name: str, alias: str) -> list[AliasMove]:
        """Everything an alias has pointed to, newest first. Raises `NotFound` when it never pointed to anything."""
        model = await self._models.get(name)
        return (await self._known(model, alias))[::-1]

    async def _known(self, model: Model, alias: str) -> list[AliasMove]:
        _check_name(alias)
        moves = await self._history.moves(model.id, alias)
        if not moves:
            raise NotFound(f'Model {model.name} never had an alias "{alias}"')
        return moves

    # Changes

    async def promote(self, name: str, number: int, alias: str = CHAMPION, gate: str | None = None) -> Promotion:
        """Have an alias point to a version, if that meets the gate; raises `GateNotMet` if it does not.

        Where the alias points to it already nothing is asked, and nothing is done.
        """
        _check_name(alias)
        condition = parse_gate(gate) if gate is not None else None
        async with self._transactions.transaction():
            model = await self._models.get(name, lock=True)
            version = await self._versions.numbered(model, number)
            current = await self._current(model)
            decision = None
            if condition is not None and _version(current.get(alias)) != number:
                decision = decide(condition, await self._sides(model, version, names_of(condition), current, alias))
                _check_met(model, number, alias, decision)
            return await self._move(model, alias, version, MoveKind.PROMOTED, current, decision)

    async def put(self, name: str, alias: str, number: int) -> Promotion:
        """Have an alias point to a version, whatever its metrics."""
        _check_name(alias)
        async with self._transactions.transaction():
            model = await self._models.get(name, lock=True)
            version = await self._versions.numbered(model, number)
            return await self._move(model, alias, version, MoveKind.SET, await self._current(model))

    async def rollback(self, name: str, alias: str) -> Promotion:
        """Have an alias point to what it pointed to before. Raises `Conflict` when that was nothing."""
        async with self._transactions.transaction():
            model = await self._models.get(name, lock=True)
            number = version_before(await self._known(model, alias))
            if number is None:
                raise Conflict(f'Alias "{alias}" of model {model.name} pointed to nothing before: there is no way back')
            version = await self._versions.numbered(model, number)
            return await self._move(model, alias, version, MoveKind.ROLLED_BACK, await self._current(model))

    async def remove(self, name: str, alias: str) -> None:
        """Have an alias point to nothing; its history stays."""
        async with self._transactions.transaction():
            model = await self._models.get(name, lock=True)
            await self.pointed(model, alias)
            await self._move(model, alias, None, MoveKind.REMOVED, await self._current(model))

    # Steps

    async def _current(self, model: Model) -> dict[str, AliasMove]:
        return {move.alias: move for move in await self._history.latest([model.id])}

    async def _sides(
        self,
        model: Model,
        version: ModelVersion,
        named: set[str],
        current: Mapping[str, AliasMove],
        alias: str,
    ) -> Sides:
        """The metrics that a gate may ask for. An alias that never pointed to anything is a typing error, unless it is
        the one in question, or the champion, that a first version has to make do without.
        """
        others: dict[str, Mapping[str, float] | None] = dict.fromkeys({*current, alias, CHAMPION})
        for name in named & current.keys():
            number = current[name].version
            if number is not None:
                others[name] = (await self._versions.numbered(model, number)).metrics
        return Sides(version.metrics, others)

    async def _move(
        self,
        model: Model,
        alias: str,
        version: ModelVersion | None,
        kind: MoveKind,
        current: Mapping[str, AliasMove],
        decision: GateDecision | None = None,
    ) -> Promotion:
        """Have an alias of a locked model point elsewhere, and the versions be what follows from it."""
        last = current.get(alias)
        former = _version(last)
        number = version.number if version is not None else None
        is_changed = former != number
        # A way back that leads to the same version is a step all the same: the next one leads further back.
        if not is_changed and kind is not MoveKind.ROLLED_BACK:
            return _promotion(model, alias, number, former, is_changed=False)
        if version is not None:
            check_usable(version)
        if alias == CHAMPION and is_changed:
            await self._crown(model, version, former)
        now = await self._history.now()
        context = current_context()
        move = AliasMove(
            model_id=model.id,
            alias=alias,
            version=number,
            kind=kind,
            # Strictly later than the one before, whatever the clock says: the history has an order.
            at=now if last is None else max(now, last.at + _TICK),
            gate=decision.gate if decision is not None else None,
            principal=context.principal[:200],
            trace_id=context.request_id[:128] or None,
        )
        await self._history.add(move)
        return _promotion(model, alias, number, former, is_changed=is_changed, gate=decision)

    async def _crown(self, model: Model, version: ModelVersion | None, former: int | None) -> None:
        """What the champion points to is live, and what it pointed to is archived."""
        old = await self._versions.numbered(model, former) if former is not None else None
        ids = sorted(item.id for item in (old, version) if item is not None)
        locked = {item.id: item for item in await self._versions.repository.find_many(ids, lock=True)}
        if old is not None:
            await self._versions.become(locked[old.id], VersionStatus.ARCHIVED)
        if version is not None:
            await self._versions.become(locked[version.id], VersionStatus.LIVE)


def _check_name(alias: str) -> None:
    if _ALIAS.fullmatch(alias) is None:
        raise Invalid(
            f'Invalid alias "{alias[:100]}": small letters, digits, ".", "_" and "-", a letter first, at most 100'
        )


def _check_met(model: Model, number: int, alias: str, decision: GateDecision) -> None:
    if not decision.is_met:
        raise GateNotMet(
            f"Version {number} of model {model.name} does not become {alias}: the gate is not met ({decision.words})",
            extensions={"gate": msgspec.to_builtins(decision)},
        )


def _version(move: AliasMove | None) -> int | None:
    return move.version if move is not None else None


def _promotion(
    model: Model,
    alias: str,
    version: int | None,
    former: int | None,
    *,
    is_changed: bool,
    gate: GateDecision | None = None,
) -> Promotion:
    return Promotion(model=model.name, alias=alias, version=version, former=former, is_changed=is_changed, gate=gate)


def _shown(model: Model, move: AliasMove, version: int) -> Alias:
    return Alias(
        model=model.name,
        alias=move.alias,
        version=version,
        kind=move.kind,
        at=move.at,
        gate=move.gate,
        principal=move.principal,
    )
