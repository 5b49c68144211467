"""The mixture of several distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ROUNDING = 1e-12


def pooled_samples(sizes: Sequence[int], weights: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
    """Which columns of the mixture are taken from which columns of each member: as many as its weight says.

    They are the same in all rows, since one sample is one course of events through all periods. Every column of the
    mixture belongs to one member, by lot, which gives what it has at the same place: so equal members make themselves.
    """
    lots = np.random.default_rng(seed).permutation(count)
    ends = np.cumsum(shares(weights, count))
    drawn = [np.sort(lots[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [(columns, allotted(size, count)[columns]) for size, columns in zip(sizes, drawn, strict=True)]


def shares(weights: Array, count: int) -> list[int]:
    """`count` things shared out by weights that sum to 1; what is left goes to the largest remainders."""
    exact = weights * count
    given = np.floor(exact + 1e-9).astype(int)
    for index in np.argsort(np.round(given - exact, 9), kind="stable")[: count - int(given.sum())]:
        given[index] += 1
    return [int(number) for number in given]


def allotted(size: int, count: int) -> Array:
    """`count` columns out of `size`: each as often as the others, or one time more."""
    return np.arange(count) % size if count >= size else (np.arange(count) * size) // count


def pooled_quantiles(parts: Sequence[Array], levels: Array, weights: Array) -> Array:
    """The quantiles of the mixture of distributions that are given by theirs, rows by levels.

    Between two of its quantiles a member's distribution is taken to be linear; beyond the outermost ones nothing is
    known, so all that is there is taken to be at them. The mixture's distribution function is then one of lines and
    steps between all these quantiles, and is inverted exactly: the least value at which it reaches a level.
    """
    grid = np.sort(np.concatenate(parts, axis=1), axis=1)
    before, after = np.zeros_like(grid), np.zeros_like(grid)
    for part, weight in zip(parts, weights, strict=True):
        before += weight * _below(part, levels, grid, (part[:, None, :] < grid[:, :, None]).sum(axis=2))
        after += weight * _below(part, levels, grid, (part[:, None, :] <= grid[:, :, None]).sum(axis=2))
    # Each value stands twice: with what is below it, and with what is at most as large.
    heights = np.maximum.accumulate(np.stack([before, after], axis=2).reshape(len(grid), -1), axis=1)
    made = _inverse(np.repeat(grid, 2, axis=1), heights, levels)
    # No quantile of a mixture is outside of those of its members; sums have last digits.
    return np.maximum.accumulate(np.clip(made, np.min(parts, axis=0), np.max(parts, axis=0)), axis=1)


def _below(part: Array, levels: Array, grid: Array, count: Array) -> Array:
    """A member's distribution function at a grid, of whose points so many of its quantiles are below."""
    last = len(levels) - 1
    low, high = np.clip(count - 1, 0, last), np.clip(count, 0, last)
    left, right = np.take_along_axis(part, low, axis=1), np.take_along_axis(part, high, axis=1)
    is_between = right > left
    share = np.where(is_between, (grid - left) / np.where(is_between, right - left, 1.0), 0.0)
    inner = levels[low] + (levels[high] - levels[low]) * share
    return np.where(count == 0, 0.0, np.where(count > last, 1.0, inner))


def _inverse(values: Array, heights: Array, levels: Array) -> Array:
    """Where a rising function reaches these levels: the first place if it stays at one."""
    high = (heights[:, None, :] < levels[None, :, None] - _ROUNDING).sum(axis=2)
    high = np.minimum(high, values.shape[1] - 1)
    low = np.maximum(high - 1, 0)
    below, above = np.take_along_axis(heights, low, axis=1), np.take_along_axis(heights, high, axis=1)
    left, right = np.take_along_axis(values, low, axis=1), np.take_along_axis(values, high, axis=1)
    is_rising = above > below
    share = np.where(is_rising, (levels - below) / np.where(is_rising, above - below, 1.0), 1.0)
    return np.asarray(left + np.clip(share, 0.0, 1.0) * (right - left))
