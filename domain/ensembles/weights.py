"""What each member of an ensemble weighs."""

import math
from collections.abc import Collection, Mapping

from domain.errors import Invalid

_LEAST_ERROR = 1e-12


def learned_weights(errors: Mapping[str, float]) -> dict[str, float]:
    """Weights by the inverse of the errors, which sum to 1; equal ones when no error is known.

    A member whose error is no number weighs nothing. Those without any error share everything.
    """
    known = {name: error for name, error in errors.items() if math.isfinite(error)}
    if any(error < 0 for error in known.values()):
        raise Invalid(f"errors must not be below 0: {dict(errors)}")
    if not known:
        return dict.fromkeys(errors, 1 / len(errors)) if errors else {}
    perfect = [name for name, error in known.items() if error <= _LEAST_ERROR]
    raw = dict.fromkeys(perfect, 1.0) if perfect else {name: 1 / error for name, error in known.items()}
    return _shared({name: raw.get(name, 0.0) for name in errors})


def check_weights(weights: Mapping[str, float], members: Collection[str]) -> None:
    """Raise `Invalid` for weights that are below 0 or no numbers, that a member lacks or that are of nobody."""
    for name in sorted(set(members) ^ set(weights)):
        what = "has no weight" if name in members else "has a weight and is no member"
        raise Invalid(f'"{name}" {what}; members: {", ".join(sorted(members))}')
    for name, weight in sorted(weights.items()):
        if not (math.isfinite(weight) and weight >= 0):
            raise Invalid(f'the weight of "{name}" is {weight}, and must be a number of at least 0')
    if sum(weights.values()) <= 0:
        raise Invalid("the weights are all 0")


def remaining_weights(weights: Mapping[str, float], present: Collection[str]) -> dict[str, float]:
    """The weights of those that are left, again with a sum of 1; equal ones when all of these weigh nothing."""
    left = {name: weights.get(name, 0.0) for name in sorted(present)}
    return _shared(left) if sum(left.values()) > 0 else dict.fromkeys(left, 1 / len(left)) if left else {}


def _shared(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
