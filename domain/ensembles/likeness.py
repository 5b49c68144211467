"""Whether forecasts are about the same, so that they can be put together."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.errors import Incompatible
from domain.forecasts import Forecast, ForecastKind


def check_alike(forecasts: Mapping[str, Forecast]) -> None:
    """Raise `Incompatible` naming what differs in kind, unit, levels, periods or locations."""
    (first, known), *others = sorted(forecasts.items())
    units = [(name, forecast.unit) for name, forecast in sorted(forecasts.items()) if forecast.unit is not None]
    for name, unit in units[1:]:
        _same("has the unit", *units[0], name, unit)
    for name, other in others:
        _same("is a forecast of", first, known.kind, name, other.kind)
        if known.kind in {ForecastKind.QUANTILE, ForecastKind.SOFT}:
            what = "has the levels" if known.kind is ForecastKind.QUANTILE else "has the classes"
            _same(what, first, _listed(known.labels), name, _listed(other.labels))
        for place, what in ((1, "locations"), (0, "periods")):
            _same_keys(place, what, first, known, name, other)
        if set(known.keys) != set(other.keys):
            lacking = sorted(set(known.keys) ^ set(other.keys))[0]
            whole, part = (first, name) if lacking in set(known.keys) else (name, first)
            raise Incompatible(f'"{whole}" is there for {lacking[1]} in {lacking[0]}, and "{part}" is not')


def _listed(labels: Sequence[Any]) -> str:
    return ", ".join(f"{label:g}" if isinstance(label, float) else str(label) for label in labels)


def _same(what: str, first: str, known: str, name: str, other: str) -> None:
    if known != other:
        raise Incompatible(f'"{first}" {what} {known}, "{name}" {what} {other}: they cannot be combined')


def _same_keys(place: int, what: str, first: str, known: Forecast, name: str, other: Forecast) -> None:
    here, there = ({key[place] for key in forecast.keys} for forecast in (known, other))
    for more, less, whole, part in ((here, there, first, name), (there, here, name, first)):
        if missing := sorted(more - less):
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise Incompatible(f'"{whole}" has {what} that "{part}" lacks: {shown}')
