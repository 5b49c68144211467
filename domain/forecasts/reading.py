"""Forecasts out of frames: the columns say of which kind they are, and the cells must be what the kind needs."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from domain.errors import Incompatible, Invalid, cut
from domain.forecasts.checks import (
    check_labels,
    check_one_kind,
    check_probabilities,
    check_rising,
    classes,
    is_number,
)
from domain.forecasts.forecast import CLASS, KEYS, PROBABILITY, QUANTILE, SAMPLE, Forecast, ForecastKind, Key, blocks
from domain.frames import DataFrame
from domain.frames.conversions import needed


def forecast_of(frame: DataFrame, name: str = "forecast") -> Forecast:
    """The forecast in a frame, which `name` is the name of in errors. Raises `Invalid` saying what is wrong with it."""
    missing = [key for key in KEYS if key not in frame.columns]
    if missing:
        raise Invalid(f'{name} has no column "{missing[0]}"; there are: {", ".join(frame.columns)}')
    others = [column for column in frame.columns if column not in KEYS]
    kind, chosen, labels = _columns(others, name)
    where = [frame.columns.index(column) for column in chosen]
    period, location = (frame.columns.index(key) for key in KEYS)
    keys = [(str(row[period]), str(row[location])) for row in frame.data]
    _check_keys(keys, name)
    values = _values(frame, where, kind, keys, name)
    return Forecast(kind=kind, keys=keys, labels=labels, values=values, unit=_unit(frame, chosen, name))


def _columns(others: Sequence[str], name: str) -> tuple[ForecastKind, list[str], tuple[Any, ...]]:
    for kind, prefix in (
        (ForecastKind.SAMPLE, SAMPLE),
        (ForecastKind.QUANTILE, QUANTILE),
        (ForecastKind.SOFT, PROBABILITY),
    ):
        # `sample_size` is a quantity like any other.
        found = [c for c in others if c.startswith(prefix) and (kind is not ForecastKind.SAMPLE or _is_sample(c))]
        if not found:
            continue
        check_one_kind(others, found, name)
        if kind is ForecastKind.QUANTILE:
            levels = sorted((_level(column, name), column) for column in found)
            check_labels([column for _, column in levels], [level for level, _ in levels], name)
            return kind, [column for _, column in levels], tuple(level for level, _ in levels)
        if kind is ForecastKind.SOFT:
            return kind, sorted(found), tuple(column.removeprefix(PROBABILITY) for column in sorted(found))
        return kind, found, tuple(found)
    if CLASS in others:
        check_one_kind(others, [CLASS], name)
        return ForecastKind.HARD, [CLASS], (CLASS,)
    if len(others) != 1:
        raise Invalid(
            f"{name} is no forecast: besides {' and '.join(KEYS)} it needs sample_…, quantile_… or probability_… "
            f'columns, a column "class", or exactly one other; it has: {", ".join(others) or "none"}'
        )
    return ForecastKind.POINT, list(others), tuple(others)


def _is_sample(column: str) -> bool:
    return column.removeprefix(SAMPLE).isdecimal()


def _level(column: str, name: str) -> float:
    try:
        level = float(column.removeprefix(QUANTILE))
    except ValueError:
        level = -1.0
    if not 0 < level < 1:
        raise Invalid(f'{name}: "{column}" names no level between 0 and 1, as quantile_0.05 does')
    return level


def _check_keys(keys: Sequence[Key], name: str) -> None:
    if len(set(keys)) == len(keys):
        return
    seen: set[Key] = set()
    for row, key in enumerate(keys):
        if key in seen:
            raise Invalid(f"{name}, row {row}: {key[0]} of {key[1]} is there twice")
        seen.add(key)


def _values(frame: DataFrame, where: Sequence[int], kind: ForecastKind, keys: Sequence[Key], name: str) -> Any:
    numpy = needed("numpy", "millrace[forecasts]")
    if kind is ForecastKind.HARD:
        cells = classes([row[where[0]] for row in frame.data], keys, name)
        return numpy.array(cells, dtype=object).reshape(len(keys), 1)
    values = numpy.empty((len(keys), len(where)))
    check = _CHECKS.get(kind)
    for part in blocks(len(keys), len(where)):
        rows = frame.data[part]
        cells = [[row[index] for index in where] for row in rows]
        # numpy would read texts and truths as numbers.
        is_sure = set(map(type, chain.from_iterable(cells))) <= {int, float}
        with suppress(TypeError, ValueError, OverflowError):
            values[part] = numpy.nan
            values[part] = cells
        if not numpy.isfinite(values[part]).all() or not (is_sure or all(map(is_number, chain.from_iterable(cells)))):
            raise Invalid(_bad_cell(rows, where, keys[part], frame.columns, name))
        if check is not None:
            check(values[part], [frame.columns[index] for index in where], keys[part], name)
    return values


def _bad_cell(
    rows: Sequence[Sequence[Any]], where: Sequence[int], keys: Sequence[Key], columns: Sequence[str], name: str
) -> str:
    for row, key in zip(rows, keys, strict=True):
        for index in where:
            cell = row[index]
            if not is_number(cell):
                return f'{name}: "{columns[index]}" of {key[1]} in {key[0]} is {cut(cell)!r}, which is no finite number'
    return f"{name}: a cell is no finite number"


def _unit(frame: DataFrame, chosen: Sequence[str], name: str) -> str | None:
    if not frame.schema:
        return None
    fields = [frame.schema.find(column) for column in chosen]
    units = {field.unit for field in fields if field is not None and field.unit}
    if len(units) > 1:
        raise Incompatible(f"{name}: its columns have different units: {', '.join(sorted(map(str, units)))}")
    return str(next(iter(units))) if units else None


_CHECKS = {ForecastKind.QUANTILE: check_rising, ForecastKind.SOFT: check_probabilities}
