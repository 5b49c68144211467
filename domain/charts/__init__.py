"""Charts: data in, Vega-Lite out, with a description of what can be seen."""

from domain.charts.grammar import MEDIA_TYPE, SCHEMA_URL, Spec
from domain.charts.kinds import ChartKind, Format, checked_format
from domain.charts.ports import ChartRenderer
from domain.charts.requests import AggregateRequest, Chart, GenerateRequest
from domain.charts.safety import check_spec
from domain.charts.specs import aggregate_chart, generate_chart

__all__ = [
    "MEDIA_TYPE",
    "SCHEMA_URL",
    "AggregateRequest",
    "Chart",
    "ChartKind",
    "ChartRenderer",
    "Format",
    "GenerateRequest",
    "Spec",
    "aggregate_chart",
    "check_spec",
    "checked_format",
    "generate_chart",
]
