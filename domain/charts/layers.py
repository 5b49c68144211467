"""Pieces that the charts of forecasts share: colours, axes, and small charts side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.charts.grammar import SCHEMA_URL, Spec, spoken
from domain.charts.requests import MOST_ROWS
from domain.errors import Invalid

MOST_FACETS = 12
WIDTHS = {1: 600, 2: 380}
NARROW = 260
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#332288")
"""Colours that people who see colours differently can tell apart (Okabe and Ito)."""

DASHES: Sequence[Sequence[int]] = ([], [8, 3], [3, 3], [8, 3, 2, 3], [1, 3], [12, 4])
AS_LINES: Mapping[str, Any] = {"symbolType": "stroke", "symbolSize": 600, "symbolStrokeWidth": 2}
PERIOD_AXIS: Mapping[str, Any] = {"labelAngle": -45, "labelOverlap": True}


def encoding(field: str, kind: str, title: str | None = None, **more: Any) -> Spec:
    """How a field of our own making is shown."""
    return {"field": field, "type": kind, **({} if title is None else {"title": spoken(title)}), **more}


def coloured(names: Sequence[str], title: str) -> Spec:
    """A colour for each of some names, in their order."""
    colours = [PALETTE[index % len(PALETTE)] for index in range(len(names))]
    return {"title": title, "scale": {"domain": list(names), "range": colours}}


def dashed(names: Sequence[str], title: str) -> Spec:
    """A kind of line for each of some names, for those who cannot tell the colours apart."""
    dashes = [DASHES[index % len(DASHES)] for index in range(len(names))]
    scale = {"domain": list(names), "range": dashes}
    return {"field": title, "type": "nominal", "title": title, "scale": scale, "legend": AS_LINES}


def small_charts(layers: Sequence[Spec], places: Sequence[str], width: int | None, height: int | None) -> Spec:
    """Layers for one place, or side by side for several, each with its own scale of values."""
    columns = min(3, len(places))
    each = {"width": width or WIDTHS.get(columns, NARROW), "height": height or (320 if len(places) == 1 else 180)}
    if len(places) <= 1:
        return {**each, "layer": list(layers)}
    return {
        "facet": {"field": "location", "type": "nominal", "title": None, "sort": list(places)},
        "columns": columns,
        "spec": {**each, "layer": list(layers)},
        "resolve": {"scale": {"y": "independent"}},
    }


def composed(values: Sequence[Any], description: str, title: str | None, **members: Any) -> Spec:
    """A spec whose size is that of its parts. Raises `Invalid` for more rows than can be drawn."""
    if len(values) > MOST_ROWS:
        raise Invalid(f"The chart would have {len(values):,} rows; at most {MOST_ROWS:,} are drawn")
    named = {} if title is None else {"title": title}
    return {"$schema": SCHEMA_URL, "description": description, **named, "data": {"values": list(values)}, **members}
