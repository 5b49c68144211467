"""The charts of artifacts: what their content is, drawn as what was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.charts.asked import (
    CALIBRATION,
    CHOROPLETH,
    COMPARISON,
    FAN,
    ChartParams,
    Source,
    chosen,
    is_forecast,
    suitable,
)
from domain.charts.forecasts import Around, comparison, fan, known_of
from domain.charts.grammar import Spec
from domain.charts.kinds import check_field, refused
from domain.charts.maps import Located, choropleth
from domain.charts.requests import GenerateRequest
from domain.charts.safety import check_spec
from domain.charts.specs import generate_chart
from domain.charts.stored import VEGA_CHART
from domain.errors import Invalid, InvalidBody, cut
from domain.forecasts import Forecast, forecast_of
from domain.frames import DataFrame, FeatureCollection, decode_geo
from domain.frames.conversions import needed

Contents = Mapping[str, bytes]
"""The contents of further artifacts by their ids."""


class Drawn(msgspec.Struct, frozen=True):
    """A spec, and which chart it is."""

    chart: str
    spec: Spec


def drawn(source: Source, content: bytes, params: ChartParams, others: Contents, name: str = "forecast") -> Drawn:
    """The chart of a content; `name` is what a forecast is called beside others. Raises `Invalid`."""
    if source is Source.CHART:
        chosen(params, source)
        return Drawn(VEGA_CHART, _stored(content))
    if source is Source.BACKTEST:
        return _of_backtest(content, params)
    frame = _frame(content, "the artifact")
    source = Source.FORECAST if is_forecast(frame.columns) else Source.TABLE
    chart = chosen(params, source)
    if chart == CHOROPLETH:
        return Drawn(chart, _map(frame, source, params, others))
    if chart not in {FAN, COMPARISON}:
        return _table(frame, params)
    forecasts = {name: forecast_of(frame)}
    around = _around(params, others)
    if chart == FAN:
        return Drawn(chart, fan(forecasts[name], around))
    for id in params.compare:
        forecasts[id if id != name else f"{id} (2)"] = forecast_of(_frame(others[id], f"artifact {id}"), id)
    return Drawn(chart, comparison(forecasts, around))


def _stored(content: bytes) -> Spec:
    try:
        spec = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"The content of the artifact is no spec: {error}") from None
    check_spec(spec, len(content))
    found: Spec = spec
    return found


def _of_backtest(content: bytes, params: ChartParams) -> Drawn:
    needed("numpy", "millrace[forecasts]")
    from domain.backtest_reports import BacktestReport
    from domain.charts.backtests import calibration, skill

    try:
        report = msgspec.json.decode(content, type=BacktestReport)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"The content of the artifact is no report on a backtest: {error}") from None
    chart = chosen(params, Source.BACKTEST)
    draw = calibration if chart == CALIBRATION else skill
    return Drawn(chart, draw(report, params.title, params.width, params.height))


def _frame(content: bytes, what: str) -> DataFrame:
    try:
        return DataFrame.decode(content)
    except InvalidBody as error:
        raise Invalid(f"The content of {what} is no frame: {error.detail}") from None


def _table(frame: DataFrame, params: ChartParams) -> Drawn:
    said = suitable(frame)
    is_silent = params.x is None and params.y is None and params.chart is None
    asked = {
        name: getattr(params, name) if getattr(params, name) is not None or not is_silent else getattr(said, name)
        for name in ("chart", "x", "y", "color")
    }
    if params.x is None and params.y is None and params.chart is not None:
        asked |= {"x": said.x, "y": said.y, "color": params.color or said.color}
    if params.location:
        frame = _only(frame, params.location)
    request = GenerateRequest(
        data=frame,
        chart_type=asked["chart"] or said.chart or "bar",
        x_field=asked["x"],
        y_field=asked["y"],
        color_field=asked["color"],
        aggregate=params.aggregate,
        title=params.title,
        **{name: size for name in ("width", "height") if (size := getattr(params, name)) is not None},
    )
    return Drawn(request.chart_type, generate_chart(request).spec)


def _only(frame: DataFrame, locations: Sequence[str]) -> DataFrame:
    check_field("location", frame.columns, "location", "Field 'location' not found in data")
    at = frame.columns.index("location")
    known = {str(row[at]) for row in frame.data}
    for name in locations:
        if name not in known:
            raise refused(f"Location '{cut(name)}' not found in data", "location", name, tuple(sorted(known)[:100]))
    return DataFrame(frame.columns, [row for row in frame.data if str(row[at]) in locations], frame.schema)


def _around(params: ChartParams, others: Contents) -> Around:
    known: Mapping[tuple[str, str], float] = {}
    target = params.target
    if params.history is not None:
        known, target = known_of(_frame(others[params.history], f"artifact {params.history}"), target)
    return Around(
        known=known,
        locations=params.location,
        target=target or "value",
        title=params.title,
        width=params.width,
        height=params.height,
    )


def _map(frame: DataFrame, source: Source, params: ChartParams, others: Contents) -> Spec:
    if params.geo is None:
        raise refused("A map needs places: give the id of an artifact with a FeatureCollection as geo", "geo", None)
    try:
        places: FeatureCollection = decode_geo(msgspec.json.decode(others[params.geo]))
    except (InvalidBody, msgspec.DecodeError) as error:
        said = error.detail if isinstance(error, InvalidBody) else error
        raise refused(f"The content of artifact {params.geo} is no FeatureCollection: {said}", "geo", None) from None
    located = _of_forecast(forecast_of(frame), params) if source is Source.FORECAST else _of_table(frame, params)
    return choropleth(located, places, key=params.key, title=params.title, width=params.width, height=params.height)


def _of_forecast(forecast: Forecast, params: ChartParams) -> Located:
    """The medians of one period, which is the first unless another is asked for."""
    period = _period(sorted({period for period, _ in forecast.keys}), params, 0)
    middles = zip(forecast.keys, forecast.point().tolist(), strict=True)
    values = {place: value for (when, place), value in middles if when == period}
    return Located(values=values, target=f"median of {params.target or 'the forecast'}", period=period)


def _of_table(frame: DataFrame, params: ChartParams) -> Located:
    """The numbers of a column, of the last period if the frame has any."""
    target = params.y or params.target or suitable(frame).y
    check_field("location", frame.columns, "location", "Field 'location' not found in data")
    if target is None or target not in frame.columns:
        raise refused(f"Field '{cut(target)}' not found in data", "y", target, tuple(frame.columns[:100]))
    period, rows = None, frame.data
    if "time_period" in frame.columns:
        at = frame.columns.index("time_period")
        period = _period(sorted({str(row[at]) for row in rows}), params, -1)
        rows = [row for row in rows if str(row[at]) == period]
    place, value = frame.columns.index("location"), frame.columns.index(target)
    values: dict[str, Any] = {str(row[place]): row[value] for row in rows}
    odd = next((cell for cell in values.values() if not _is_number(cell)), None)
    if odd is not None:
        raise refused(f"A map needs numbers, and '{cut(target)}' holds {cut(repr(odd))}", "y", target)
    return Located(values=values, target=target, period=period)


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _period(known: Sequence[str], params: ChartParams, default: int) -> str | None:
    if params.period is not None and params.period not in known:
        message = f"Period '{cut(params.period)}' not found in data"
        raise refused(message, "period", params.period, tuple(known[:100]))
    return params.period or (known[default] if known else None)
