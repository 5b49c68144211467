"""What lies in the middle of several: means, medians and majorities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def weighted_mean(parts: Sequence[Array], weights: Array) -> Array:
    """The mean by weights that sum to 1, added up in the same order wherever a row stands: BLAS would not do that."""
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += part * weight
    return np.asarray(total)


def trimmed_mean(ordered: Array, trim: float) -> Array:
    """The mean along the first axis without this share of the members on either side."""
    left_out = int(len(ordered) * trim)
    return np.asarray(np.mean(ordered[left_out : len(ordered) - left_out], axis=0))


def weighted_median(values: Array, weights: Array) -> Array:
    """The median along the first axis; where the weights below and above it are equal, the middle of the two values."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    total = np.cumsum(weights[order], axis=0)
    half = 0.5 * total[-1]
    is_low = np.argmax(total >= half - 1e-12, axis=0)
    is_high = np.argmax(total > half + 1e-12, axis=0)
    low, high = (np.take_along_axis(ordered, index[None], axis=0)[0] for index in (is_low, is_high))
    return np.asarray((low + high) / 2)


def majority(votes: Sequence[Array], weights: Array) -> Array:
    """The class with the most weight in each row; of equals the one whose name comes first."""
    made = []
    for row in zip(*(values[:, 0].tolist() for values in votes), strict=True):
        total: dict[str, float] = {}
        for name, weight in zip(row, weights.tolist(), strict=True):
            total[name] = total.get(name, 0.0) + weight
        made.append([min(total, key=lambda name: (-round(total[name], 12), name))])
    return np.array(made, dtype=object).reshape(len(made), 1)
