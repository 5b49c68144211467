"""Charts of forecasts: how sure one is, and how several differ, beside what came before and what came."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.charts.descriptions import counted, extent, named, sentence
from domain.charts.grammar import Spec
from domain.charts.kinds import refused
from domain.charts.layers import MOST_FACETS, PERIOD_AXIS, coloured, composed, encoding, small_charts
from domain.errors import Invalid, cut
from domain.forecasts import KEYS, Forecast
from domain.frames import DataFrame

BANDS = ((95, 0.025, 0.975), (80, 0.1, 0.9), (50, 0.25, 0.75))
_BAND_COLOURS = ("#d6e6f4", "#a9cfe6", "#6aaed6")
_MEDIAN, _OBSERVED = "median", "observed"
_MOST_HISTORY = 60
MOST_MODELS = 8

Known = Mapping[tuple[str, str], float]


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn around forecasts: what is known by period and location, which locations, and how large."""

    known: Known = {}
    locations: Sequence[str] = ()
    target: str = "value"
    title: str | None = None
    width: int | None = None
    height: int | None = None


def known_of(frame: DataFrame, target: str | None) -> tuple[Known, str]:
    """What a frame knows of its target, and how that is called. Raises `Invalid` for a frame without it."""
    if lacking := [name for name in KEYS if name not in frame.columns]:
        raise refused(f"The history has no column '{lacking[0]}'", "history", lacking[0], tuple(frame.columns[:100]))
    others = [name for name in frame.columns if name not in KEYS]
    name = target or ("disease_cases" if "disease_cases" in others else others[0] if len(others) == 1 else None)
    if name is None or name not in others:
        said = "say which column is the target" if name is None else f"Field '{cut(name)}' not found in data"
        raise refused(f"{said}: the history has {', '.join(map(cut, others[:20])) or 'none'}", "target", target)
    period, place, value = (frame.columns.index(column) for column in (*KEYS, name))
    return {
        (str(row[period]), str(row[place])): row[value]
        for row in frame.data
        if isinstance(row[value], int | float) and not isinstance(row[value], bool)
    }, name


def fan(forecast: Forecast, around: Around) -> Spec:
    """The median and the central 50, 80 and 95 % intervals of each location."""
    places, left_out = _places([forecast], around)
    levels = [0.5, *(level for _, low, high in BANDS for level in (low, high))]
    columns = [_MEDIAN, *(f"{side}_{share}" for share, _, _ in BANDS for side in ("low", "high"))]
    chosen = set(places)
    rows = [
        {"time_period": key[0], "location": key[1], **dict(zip(columns, numbers, strict=True))}
        for key, numbers in zip(forecast.keys, forecast.quantiles(levels).tolist(), strict=True)
        if key[1] in chosen
    ]
    values = _beside(rows, _observed(around.known, [forecast], places))
    called = [*(f"{share} % interval" for share, _, _ in BANDS), _MEDIAN, _OBSERVED]
    colours = {"domain": called, "range": [*_BAND_COLOURS, "#08519c", "#1b1b1b"]}
    # The scale is said once, for all layers share it.
    legend = {"field": "series", "type": "nominal", "title": None, "scale": colours}
    layers = [_band(share, around.target) for share, _, _ in BANDS]
    layers += [_line(_MEDIAN, around.target, {"datum": _MEDIAN}), _points(around, legend)]
    described = sentence(
        f"Fan chart of a forecast of {around.target}",
        _span(forecast, places, left_out),
        *(_spoken(rows, place) for place in places[:5]),
        _known_in_words(values),
    )
    return composed(values, described, around.title, **small_charts(layers, places, around.width, around.height))


def comparison(forecasts: Mapping[str, Forecast], around: Around) -> Spec:
    """The medians of several forecasts in one chart for each location, with their 80 % intervals."""
    if not 1 <= len(forecasts) <= MOST_MODELS:
        raise Invalid(f"{len(forecasts)} forecasts are to be compared; 1 to {MOST_MODELS} can be told apart")
    places, left_out = _places(list(forecasts.values()), around)
    chosen = set(places)
    rows = [
        {"time_period": key[0], "location": key[1], "model": name, "median": middle, "low_80": low, "high_80": high}
        for name, forecast in forecasts.items()
        for key, (middle, low, high) in zip(forecast.keys, forecast.quantiles([0.5, 0.1, 0.9]).tolist(), strict=True)
        if key[1] in chosen
    ]
    values = rows + _observed(around.known, list(forecasts.values()), places)
    colour = encoding("model", "nominal", **coloured(list(forecasts), "model"))
    layers = [
        {
            "mark": {"type": "area", "opacity": 0.15},
            "encoding": {**_period(), **_interval(80, around.target), "color": colour},
        },
        _line(_MEDIAN, around.target, colour),
        _points(around, {"value": "#1b1b1b"}),
    ]
    medians = [f"{name}: median {extent(row['median'] for row in rows if row['model'] == name)}" for name in forecasts]
    described = sentence(
        f"Comparison of {counted(len(forecasts), 'forecast')} of {around.target}, medians and 80 % intervals",
        _span(next(iter(forecasts.values())), places, left_out),
        *medians,
        _known_in_words(values),
    )
    return composed(values, described, around.title, **small_charts(layers, places, around.width, around.height))


def _places(forecasts: Sequence[Forecast], around: Around) -> tuple[list[str], int]:
    """Which locations are drawn, and how many are not."""
    known = dict.fromkeys(place for forecast in forecasts for _, place in forecast.keys)
    for name in around.locations:
        if name not in known:
            message = f"Location '{cut(name)}' not found in data"
            raise refused(message, "location", name, tuple(list(known)[:100]))
    wanted = list(dict.fromkeys(around.locations)) or list(known)[:MOST_FACETS]
    if len(wanted) > MOST_FACETS:
        raise refused(f"{len(wanted)} locations are asked for; a chart shows {MOST_FACETS}", "location", None)
    return wanted, len(known) - len(wanted)


def _observed(known: Known, forecasts: Sequence[Forecast], places: Sequence[str]) -> list[dict[str, Any]]:
    """What is known of the locations until the last period of the forecasts, as far back as it can be read."""
    chosen = set(places)
    last = max((period for forecast in forecasts for period, _ in forecast.keys), default="")
    kept = [(key, value) for key, value in sorted(known.items()) if key[1] in chosen and key[0] <= last]
    periods = set(sorted({period for (period, _), _ in kept})[-_MOST_HISTORY:])
    return [
        {"time_period": period, "location": place, _OBSERVED: value, "series": _OBSERVED}
        for (period, place), value in kept
        if period in periods
    ]


def _beside(rows: Sequence[dict[str, Any]], observed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a forecast with what is known of them; a row of its own would tear the bands apart."""
    known = {(row["time_period"], row["location"]): row for row in observed}
    merged = [{**row, **known.pop((row["time_period"], row["location"]), {})} for row in rows]
    return [*merged, *known.values()]


def _period() -> Spec:
    return {"x": encoding("time_period", "ordinal", "period", axis=dict(PERIOD_AXIS))}


def _interval(share: int, target: str) -> Spec:
    return {
        "y": encoding(f"low_{share}", "quantitative", target),
        "y2": {"field": f"high_{share}"},
    }


def _band(share: int, target: str) -> Spec:
    return {
        "mark": {"type": "area"},
        "encoding": {**_period(), **_interval(share, target), "color": {"datum": f"{share} % interval"}},
    }


def _line(field: str, target: str, colour: Spec) -> Spec:
    return {
        "mark": {"type": "line", "point": True, "tooltip": True},
        "encoding": {**_period(), "y": encoding(field, "quantitative", target), "color": colour},
    }


def _points(around: Around, colour: Spec) -> Spec:
    return {
        "mark": {"type": "point", "filled": True, "size": 30, "tooltip": True},
        "encoding": {**_period(), "y": encoding(_OBSERVED, "quantitative", around.target), "color": colour},
    }


def _span(forecast: Forecast, places: Sequence[str], left_out: int) -> str:
    periods = sorted({period for period, _ in forecast.keys})
    more = f"; {counted(left_out, 'more location')} not shown" if left_out > 0 else ""
    when = f"{periods[0]} to {periods[-1]}" if periods else "no periods"
    return f"{counted(len(periods), 'period')}, {when}, for {named(places)}{more}".replace("value", "location", 1)


def _spoken(rows: Sequence[Mapping[str, Any]], place: str) -> str:
    mine = [row for row in rows if row["location"] == place]
    ends = [row[name] for row in mine for name in ("low_95", "high_95")]
    return f"{cut(place)}: median {extent(row[_MEDIAN] for row in mine)}, 95 % interval {extent(ends)}"


def _known_in_words(values: Sequence[Mapping[str, Any]]) -> str:
    seen = [row[_OBSERVED] for row in values if _OBSERVED in row]
    return f"{counted(len(seen), 'observation')} {extent(seen)}" if seen else ""
