"""Several forecasts made one, block by block, whatever the order they come in."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.ensembles.likeness import check_alike
from domain.ensembles.middles import majority, trimmed_mean, weighted_mean, weighted_median
from domain.ensembles.pooling import allotted, pooled_quantiles, pooled_samples
from domain.ensembles.strategies import Strategy
from domain.ensembles.weights import check_weights, remaining_weights
from domain.errors import Invalid
from domain.forecasts import SAMPLE, Forecast, ForecastKind, blocks, by_key

Array = NDArray[Any]
_DISTRIBUTIONS = {ForecastKind.QUANTILE, ForecastKind.SAMPLE}
_NUMBERS = {ForecastKind.POINT, *_DISTRIBUTIONS}
_ALLOWED: Mapping[Strategy, set[ForecastKind]] = {
    Strategy.MEAN: _NUMBERS,
    Strategy.MEDIAN: _NUMBERS,
    Strategy.TRIMMED: _NUMBERS,
    Strategy.WEIGHTED: _NUMBERS,
    Strategy.QUANTILE_AVERAGE: _DISTRIBUTIONS,
    Strategy.LINEAR_POOL: _DISTRIBUTIONS,
    Strategy.VOTE_SOFT: {ForecastKind.SOFT},
    Strategy.VOTE_HARD: {ForecastKind.SOFT, ForecastKind.HARD},
}


def combine(
    forecasts: Mapping[str, Forecast],
    strategy: Strategy,
    *,
    weights: Mapping[str, float] | None = None,
    trim: float = 0.25,
    seed: int = 0,
    samples: int | None = None,
) -> Forecast:
    """One forecast of those of the members, by name; the rows are those of the member whose name comes first.

    `weights` are equal without any; mean and trimmed take no notice of them. `trim` is the share of the members that
    trimmed leaves out on either side. Samples come out as many as `samples` says, or as the member with the most has; a
    linear pool draws them by `seed`. Raises `Invalid` for members that are not about the same, naming the difference.
    """
    if not forecasts:
        raise Invalid("There are no forecasts to combine")
    names = sorted(forecasts)
    members = [forecasts[name] for name in names]
    check_alike(forecasts)
    first = members[0]
    if first.kind not in _ALLOWED[strategy]:
        allowed = ", ".join(one for one in Strategy if first.kind in _ALLOWED[one])
        raise Invalid(f"{strategy} does not combine {first.kind} forecasts; use one of {allowed}")
    if not 0 <= trim < 0.5:
        raise Invalid(f"trim must be at least 0 and below 0.5, not {trim}")
    if weights is not None:
        check_weights(weights, names)
    shares = remaining_weights(weights if weights is not None else dict.fromkeys(names, 1.0), names)
    each = np.array([shares[name] for name in names])
    rows = [_rows(first, member) for member in members]
    unit = next((member.unit for member in members if member.unit), None)
    if first.kind in {ForecastKind.SOFT, ForecastKind.HARD}:
        return _voted(members, rows, each, strategy, unit)
    if first.kind is ForecastKind.SAMPLE:
        made = _of_samples(members, rows, each, strategy, trim=trim, seed=seed, count=samples)
        labels: tuple[Any, ...] = tuple(f"{SAMPLE}{index}" for index in range(made.shape[1]))
    else:
        width = len(first.labels)
        # What is put together from quantiles compares each of all members with those of one.
        cells = width * width * len(members) * 2 if strategy is Strategy.LINEAR_POOL else None
        made = _by_block(members, rows, _merger(strategy, each, trim, first), width, cells)
        labels = first.labels
    return Forecast(kind=first.kind, keys=first.keys, labels=labels, values=made, unit=unit)


def _rows(first: Forecast, other: Forecast) -> Array | None:
    """Where the rows of `first` are in another forecast; None when they are the same."""
    if other.keys == first.keys:
        return None
    where = by_key(other)
    return np.array([where[key] for key in first.keys], dtype=np.intp)


def _block(member: Forecast, rows: Array | None, part: slice) -> Array:
    return np.asarray(member.values[part] if rows is None else member.values[rows[part]])


Merge = Callable[[list[Array]], Array]


def _by_block(
    members: Sequence[Forecast], rows: Sequence[Array | None], merge: Merge, width: int, cells: int | None = None
) -> Array:
    """What `merge` makes of the members, so many columns, block by block; on the way a row takes so many cells."""
    made = np.empty((len(members[0]), width))
    for part in blocks(len(made), cells or sum(member.values.shape[1] for member in members)):
        made[part] = merge([_block(member, where, part) for member, where in zip(members, rows, strict=True)])
    return made


def _merger(strategy: Strategy, weights: Array, trim: float, first: Forecast) -> Merge:
    """What makes one array of those of the members, which are alike in their columns."""
    if strategy is Strategy.LINEAR_POOL:
        return lambda parts: pooled_quantiles(parts, np.asarray(first.labels), weights)
    middles: dict[Strategy, Merge] = {
        Strategy.MEAN: lambda parts: np.mean(parts, axis=0),
        Strategy.MEDIAN: lambda parts: weighted_median(np.stack(parts), weights),
        Strategy.TRIMMED: lambda parts: trimmed_mean(np.sort(parts, axis=0), trim),
    }
    middle: Merge = middles[strategy] if strategy in middles else partial(weighted_mean, weights=weights)
    # The middle of rising quantiles rises, but for the last digits of a sum.
    return lambda parts: np.sort(middle(parts), axis=1)


def _of_samples(
    members: Sequence[Forecast],
    rows: Sequence[Array | None],
    weights: Array,
    strategy: Strategy,
    *,
    trim: float,
    seed: int,
    count: int | None,
) -> Array:
    count = max(member.values.shape[1] for member in members) if count is None else count
    if count < 1:
        raise Invalid(f"samples must be at least 1, not {count}")
    if strategy is Strategy.LINEAR_POOL:
        drawn = pooled_samples([member.values.shape[1] for member in members], weights, count, seed)
        return _by_block(members, rows, lambda parts: _drawn(parts, drawn, count), count)
    levels = (np.arange(count) + 0.5) / count
    merge = _merger(strategy, weights, trim, members[0])
    # Which sample goes with which in other rows is taken over from the member that weighs the most, so that what
    # the combined forecast says of several periods together is not that all of them are extreme at once.
    template = int(np.argmax(weights))
    columns = allotted(members[template].values.shape[1], count)

    def combined(parts: list[Array]) -> Array:
        merged = merge([_ranked(np.sort(part, axis=1), levels) for part in parts])
        ranks = np.argsort(np.argsort(parts[template][:, columns], axis=1, kind="stable"), axis=1, kind="stable")
        return np.take_along_axis(merged, ranks, axis=1)

    cells = len(members) * count + sum(member.values.shape[1] for member in members)
    return _by_block(members, rows, combined, count, cells)


def _drawn(parts: Sequence[Array], drawn: Sequence[tuple[Array, Array]], count: int) -> Array:
    made = np.empty((len(parts[0]), count))
    for part, (columns, sources) in zip(parts, drawn, strict=True):
        made[:, columns] = part[:, sources]
    return made


def _ranked(ordered: Array, levels: Array) -> Array:
    """Sorted samples as they are when there are as many as levels, otherwise what lies at these levels of them."""
    size = ordered.shape[1]
    if size == len(levels):
        return ordered
    position = np.clip(levels * size - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    share = position - low
    return np.asarray(ordered[:, low] + (ordered[:, high] - ordered[:, low]) * share)


def _voted(
    members: Sequence[Forecast], rows: Sequence[Array | None], weights: Array, strategy: Strategy, unit: str | None
) -> Forecast:
    first = members[0]
    if strategy is Strategy.VOTE_SOFT:
        width = len(first.labels)
        made = _by_block(members, rows, partial(weighted_mean, weights=weights), width)
        total = made.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            raise Invalid("The probabilities of a row are all 0")
        return msgspec.structs.replace(first, values=made / total, unit=unit)
    if first.kind is ForecastKind.SOFT:
        names = np.asarray(first.labels, dtype=object)
        chosen = [names[np.argmax(np.asarray(member.values), axis=1)][:, None] for member in members]
    else:
        chosen = [np.asarray(member.values) for member in members]
    votes = [values if where is None else values[where] for values, where in zip(chosen, rows, strict=True)]
    return Forecast(
        kind=ForecastKind.HARD, keys=first.keys, labels=("class",), values=majority(votes, weights), unit=unit
    )
