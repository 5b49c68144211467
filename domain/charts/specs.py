"""The visualization service: a table and what its columns stand for become a spec."""

from collections.abc import Mapping
from typing import Any

from domain.charts.aggregation import aggregated, check_aggregation
from domain.charts.descriptions import described
from domain.charts.grammar import Fields, Spec, fields_of, spec_of, values_of
from domain.charts.kinds import (
    ChartKind,
    check_field,
    checked_aggregate,
    checked_format,
    checked_function,
    checked_kind,
    listed,
)
from domain.charts.requests import AggregateRequest, Chart, GenerateRequest, check_rows
from domain.errors import cut

# Marks as existing clients expect them, two as a bare name.
_MARKS: Mapping[ChartKind, Any] = {
    ChartKind.LINE: {"type": "line", "point": True, "tooltip": True},
    ChartKind.BAR: {"type": "bar", "tooltip": True},
    ChartKind.AREA: {"type": "area", "tooltip": True},
    ChartKind.SCATTER: {"type": "point", "tooltip": True},
    ChartKind.HEATMAP: "rect",
    ChartKind.BOXPLOT: {"type": "boxplot", "extent": "min-max"},
    ChartKind.HISTOGRAM: "bar",
}
_NAMES: Mapping[ChartKind, str] = {
    ChartKind.SCATTER: "Scatter plot",
    ChartKind.HEATMAP: "Heatmap",
    ChartKind.BOXPLOT: "Box plot",
    ChartKind.HISTOGRAM: "Histogram",
}


def generate_chart(request: GenerateRequest) -> Chart:
    """What `$generate` answers. Raises `Invalid` for a field, a kind, an aggregate or a format that there is not."""
    check_rows(request.data, "data")
    columns = request.data.columns
    for member in ("x_field", "y_field"):
        name = getattr(request, member)
        check_field(name, columns, member, f"Field '{cut(name)}' not found in data")
    color = request.color_field
    message = f"Color field '{cut(color)}' not found in data; there are: {listed(columns)}"
    check_field(color, columns, "color_field", message)
    kind = checked_kind(request.chart_type)
    if request.aggregate is not None:
        checked_aggregate(request.aggregate)
    checked_format(request.format)
    return Chart(_spec(request, kind), len(request.data.data), columns)


def aggregate_chart(request: AggregateRequest) -> Chart:
    """What `$aggregate` answers: the chart of one number for each group. Raises `Invalid`."""
    check_rows(request.data, "data")
    check_aggregation(request.data.columns, request.group_by, request.agg_field)
    checked_kind(request.chart_type)
    function = checked_function(request.agg_func)
    checked_format(request.format)
    frame = aggregated(request.data, request.group_by, request.agg_field, function)
    return generate_chart(
        GenerateRequest(
            data=frame,
            chart_type=request.chart_type,
            x_field=frame.columns[0],
            y_field=frame.columns[-1],
            color_field=frame.columns[1] if len(frame.columns) > 2 else None,
            title=f"{function.capitalize()} of {request.agg_field}" if request.title is None else request.title,
            width=request.width,
            height=request.height,
            format=request.format,
        )
    )


def _spec(request: GenerateRequest, kind: ChartKind) -> Spec:
    fields = fields_of(request.data.columns)
    shown = [name for name in (request.x_field, request.y_field, request.color_field) if name is not None]
    called = _NAMES.get(kind, f"{kind.capitalize()} chart")
    if request.aggregate is not None and kind not in {ChartKind.BOXPLOT, ChartKind.HISTOGRAM}:
        called = f"{called} of the {request.aggregate}"
    return spec_of(
        values_of(request.data, fields),
        width=request.width,
        height=request.height,
        title=request.title,
        description=described(request.data, called, request.title, shown),
        mark=_MARKS[kind],
        encoding=_encoding(request, kind, fields),
    )


def _encoding(request: GenerateRequest, kind: ChartKind, fields: Fields) -> Spec:
    if kind is ChartKind.HISTOGRAM:
        return _histogram(request, fields)
    if kind is ChartKind.HEATMAP:
        return _heatmap(request, fields)
    aggregate = {} if request.aggregate is None or kind is ChartKind.BOXPLOT else {"aggregate": request.aggregate}
    encoding: Spec = {}
    if request.x_field is not None:
        encoding["x"] = fields.encoding(request.x_field, "nominal")
    if request.y_field is not None:
        encoding["y"] = fields.encoding(request.y_field, "quantitative", **aggregate)
    if request.color_field is not None:
        encoding["color"] = fields.encoding(request.color_field, "nominal")
    return encoding


def _heatmap(request: GenerateRequest, fields: Fields) -> Spec:
    encoding: Spec = {}
    for channel, name in (("x", request.x_field), ("y", request.y_field)):
        if name is not None:
            encoding[channel] = fields.encoding(name, "nominal")
    if request.aggregate is not None and request.y_field is not None:
        encoding["color"] = fields.encoding(request.y_field, "quantitative", aggregate=request.aggregate)
    elif request.color_field is not None:
        encoding["color"] = fields.encoding(request.color_field, "quantitative")
    return encoding


def _histogram(request: GenerateRequest, fields: Fields) -> Spec:
    encoding: Spec = {"y": {"aggregate": "count", "type": "quantitative"}}
    name = request.x_field if request.x_field is not None else request.y_field
    if name is not None:
        encoding["x"] = fields.encoding(name, "quantitative", bin=True)
    return encoding
