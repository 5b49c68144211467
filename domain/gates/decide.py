"""Decides gates: a version's metrics against those of what aliases point to."""

import math
import operator
from collections.abc import Callable, Mapping

import msgspec

from domain.errors import Conflict, InvalidBody
from domain.gates.parse import Condition, Gate, Joined, Metric, Not, Number, Value, wrong
from domain.query.resource import suggestion

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_COMPUTE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class GateNotMet(Conflict):
    """A version's metrics are not what a gate asks for."""


class Sides(msgspec.Struct, frozen=True):
    """Whose metrics a gate is about: the version's own, and those of what aliases point to, None for nothing yet."""

    own: Mapping[str, float]
    aliases: Mapping[str, Mapping[str, float] | None] = {}


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of a gate with its numbers; both are null when an alias it names points to nothing yet."""

    comparison: str
    left: float | None
    right: float | None
    is_met: bool


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a gate is met, and what was compared."""

    gate: str
    is_met: bool
    compared: list[Compared]

    @property
    def words(self) -> str:
        """The comparisons that are not met, with their numbers."""
        return "; ".join(
            f"{item.comparison}: {item.left:.6g} against {item.right:.6g}"
            for item in self.compared
            if not item.is_met and item.left is not None
        )


def decide(gate: Gate, sides: Sides) -> GateDecision:
    """Whether a gate is met.

    A comparison with an alias that points to nothing passes, for the first champion has nobody to beat. Raises
    `GateNotMet` for a metric that is missing and for numbers that cannot be computed, and `InvalidBody` for an alias
    that is not in `sides`.
    """
    compared: list[Compared] = []
    is_met = _holds(gate.condition, _Computing(gate.text, sides), compared, wanted=True)
    return GateDecision(gate=gate.text, is_met=is_met, compared=compared)


def _holds(condition: Condition, computing: "_Computing", compared: list[Compared], *, wanted: bool) -> bool:
    """Whether a condition holds. `wanted` is what it must be for the gate to be met: behind a `not` that is false."""
    if isinstance(condition, Not):
        return not _holds(condition.part, computing, compared, wanted=not wanted)
    if isinstance(condition, Joined):
        # All of them, whatever the first says: who is refused wants to know of everything.
        found = [_holds(part, computing, compared, wanted=wanted) for part in condition.parts]
        return all(found) if condition.word == "and" else any(found)
    left, right = computing.value(condition.left), computing.value(condition.right)
    text = computing.text[condition.start : condition.end]
    if left is None or right is None:
        compared.append(Compared(comparison=text, left=None, right=None, is_met=True))
        return wanted
    is_true = _COMPARE[condition.sign](left, right)
    compared.append(Compared(comparison=text, left=left, right=right, is_met=is_true is wanted))
    return is_true


class _Computing:
    """The numbers of one gate."""

    def __init__(self, text: str, sides: Sides) -> None:
        self.text = text
        self._sides = sides

    def value(self, value: Value) -> float | None:
        """The number; None when it depends on an alias that points to nothing."""
        if isinstance(value, Number):
            return value.value
        if isinstance(value, Metric):
            return self._metric(value)
        left, right = self.value(value.left), self.value(value.right)
        if left is None or right is None:
            return None
        if value.sign == "/" and right == 0:
            raise GateNotMet(f"The gate divides by zero (character {value.at} of {self.text!r})")
        found = _COMPUTE[value.sign](left, right)
        if not math.isfinite(found):
            raise GateNotMet(f"The gate computes no finite number (character {value.at} of {self.text!r})")
        return found

    def _metric(self, metric: Metric) -> float | None:
        if metric.alias is None:
            return self._found(self._sides.own, metric, "the version")
        if metric.alias not in self._sides.aliases:
            raise self._unknown(metric)
        theirs = self._sides.aliases[metric.alias]
        return None if theirs is None else self._found(theirs, metric, f"what {metric.alias} points to")

    def _found(self, metrics: Mapping[str, float], metric: Metric, whose: str) -> float:
        if metric.name in metrics:
            return float(metrics[metric.name])
        known = ", ".join(sorted(metrics)) or "none"
        raise GateNotMet(
            f'The gate asks for "{metric.text}" (character {metric.at}), and {whose} has no metric '
            f'"{metric.name}"{suggestion(metric.name, metrics)}; it has {known}'
        )

    def _unknown(self, metric: Metric) -> InvalidBody:
        known = tuple(sorted(self._sides.aliases))
        hint = suggestion(str(metric.alias), known)
        message = f'there is no alias "{metric.alias}"{hint}; there is {", ".join(known) or "none"}'
        return wrong(message, metric.at, self.text, known)


def names_of(gate: Gate) -> set[str]:
    """The aliases that a gate names."""
    return {metric.alias for metric in _metrics(gate.condition) if metric.alias is not None}


def _metrics(node: Condition | Value) -> list[Metric]:
    if isinstance(node, Metric):
        return [node]
    if isinstance(node, Number):
        return []
    if isinstance(node, Not):
        return _metrics(node.part)
    parts = node.parts if isinstance(node, Joined) else (node.left, node.right)
    return [metric for part in parts for metric in _metrics(part)]
