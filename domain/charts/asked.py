"""What is asked of the chart of an artifact, and which charts an artifact has."""

import enum
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.charts.kinds import ChartKind, refused
from domain.charts.requests import Name, Pixels, Title
from domain.charts.stored import VEGA_CHART
from domain.errors import cut
from domain.frames import DataFrame
from domain.ml import PREDICTION
from domain.model_jobs import BACKTEST_PREDICTION, BACKTEST_REPORT
from domain.model_runs import ContentKind

FAN, COMPARISON, CHOROPLETH, CALIBRATION, SKILL = "fan", "comparison", "choropleth", "calibration", "skill"
_TABLE = tuple(ChartKind)
_PREFIXES = ("sample_", "quantile_")


class Source(enum.StrEnum):
    """What an artifact can be drawn as."""

    FORECAST = "forecast"
    TABLE = "table"
    BACKTEST = "backtest"
    CHART = "chart"


CHARTS: Mapping[Source, tuple[str, ...]] = {
    Source.FORECAST: (FAN, COMPARISON, CHOROPLETH, *_TABLE),
    Source.TABLE: (*_TABLE, CHOROPLETH, FAN, COMPARISON),
    Source.BACKTEST: (SKILL, CALIBRATION),
    Source.CHART: (VEGA_CHART,),
}

Id = Annotated[str, Meta(max_length=40)]


class ChartParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which chart of an artifact, None for the one that suits it.

    `x`, `y`, `color` and `aggregate` are those of a table. `location` says of which, `history` is the artifact of a
    frame with what is known of the `target`, `compare` those of other forecasts, `geo` that of a FeatureCollection
    whose places have the location as their `key`; `period` is the one on the map.
    """

    chart: Name | None = None
    x: Name | None = None
    y: Name | None = None
    color: Name | None = None
    aggregate: Name | None = None
    title: Title | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    location: tuple[Name, ...] = ()
    target: Name | None = None
    period: Name | None = None
    key: Name | None = None
    history: Id | None = None
    geo: Id | None = None
    compare: tuple[Id, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The ids of the other artifacts that are drawn, each once."""
        found = [*self.compare, *(id for id in (self.history, self.geo) if id is not None)]
        return tuple(dict.fromkeys(found))


def source_of(said: Any, content_kind: str) -> Source | None:
    """As what an artifact of this type and kind of content is drawn; None when it is not."""
    if said == VEGA_CHART:
        return Source.CHART
    if said == BACKTEST_REPORT:
        return Source.BACKTEST
    if said in {PREDICTION, BACKTEST_PREDICTION} or content_kind == ContentKind.FRAME:
        return Source.TABLE
    return None


def is_forecast(columns: Sequence[str]) -> bool:
    """Whether columns are those of a forecast that says how sure it is."""
    return {"time_period", "location"} <= set(columns) and any(name.startswith(_PREFIXES) for name in columns)


def chosen(params: ChartParams, source: Source) -> str:
    """The chart that is asked for or suits, "" when columns are to decide. Raises `Invalid` when there is no such."""
    known = CHARTS[source]
    if params.chart is None:
        is_table = source in {Source.TABLE, Source.FORECAST}
        if is_table and params.geo is not None:
            return CHOROPLETH
        if is_table and params.compare:
            return COMPARISON
        return known[0] if source is not Source.TABLE else ""
    if params.chart not in known:
        said = ", ".join(known)
        message = f"Unsupported chart type: {cut(params.chart)}. A {source} has these: {said}"
        raise refused(message, "chart", params.chart, known)
    return params.chart


def suitable(frame: DataFrame) -> ChartParams:
    """What a table is drawn as when nothing is said: its numbers by period and location, or what comes first."""
    numbers = [name for name in frame.columns if _is_number(frame, name)]
    names = [name for name in frame.columns if name not in numbers]
    period = next((name for name in ("time_period", "period", "month", "week", "date") if name in names), None)
    place = "location" if "location" in names else None
    x = period or place or next(iter(names), None)
    color = place if place != x else None
    y = next((name for name in ("disease_cases", *numbers) if name in numbers), None)
    if x is None:
        return ChartParams(chart=ChartKind.HISTOGRAM, x=y)
    return ChartParams(chart=ChartKind.LINE if period else ChartKind.BAR, x=x, y=y, color=color)


def _is_number(frame: DataFrame, name: str) -> bool:
    cells = [cell for cell in frame[name][:1_000] if cell is not None]
    return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
