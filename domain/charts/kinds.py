"""What there is to choose from: kinds of charts, formats, and ways to make one number of many."""

import enum
from collections.abc import Sequence
from typing import Any, TypeVar

from domain.errors import Invalid, cut
from domain.validation import problem


class ChartKind(enum.StrEnum):
    """The charts of any table."""

    LINE = "line"
    BAR = "bar"
    AREA = "area"
    SCATTER = "scatter"
    HEATMAP = "heatmap"
    BOXPLOT = "boxplot"
    HISTOGRAM = "histogram"


class Format(enum.StrEnum):
    """As what a chart is answered: its grammar, a picture, or a page that needs nothing else."""

    JSON = "json"
    PNG = "png"
    SVG = "svg"
    HTML = "html"

    @property
    def media_type(self) -> str:
        """The type of content over HTTP."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.PNG: "image/png",
    Format.SVG: "image/svg+xml",
    Format.HTML: "text/html; charset=utf-8",
}


class Function(enum.StrEnum):
    """What `$aggregate` makes of the numbers of a group."""

    MEAN = "mean"
    SUM = "sum"
    COUNT = "count"
    MEDIAN = "median"
    MIN = "min"
    MAX = "max"


class AggregateOp(enum.StrEnum):
    """What Vega-Lite itself makes of many numbers."""

    AVERAGE = "average"
    CI0 = "ci0"
    CI1 = "ci1"
    COUNT = "count"
    DISTINCT = "distinct"
    MAX = "max"
    MEAN = "mean"
    MEDIAN = "median"
    MIN = "min"
    MISSING = "missing"
    PRODUCT = "product"
    Q1 = "q1"
    Q3 = "q3"
    STDERR = "stderr"
    STDEV = "stdev"
    STDEVP = "stdevp"
    SUM = "sum"
    VALID = "valid"
    VARIANCE = "variance"
    VARIANCEP = "variancep"


ChoiceT = TypeVar("ChoiceT", bound=enum.StrEnum)


def checked_kind(name: str) -> ChartKind:
    """The kind of chart with this name. Raises `Invalid`."""
    return _chosen(ChartKind, name, "chart_type", f"Unsupported chart type: {cut(name)}")


def checked_format(name: str) -> Format:
    """The format with this name. Raises `Invalid`."""
    return _chosen(Format, name, "format", f"Unsupported format: {cut(name)}. Use json, png, svg, or html")


def checked_aggregate(name: str) -> AggregateOp:
    """The aggregate of Vega-Lite with this name. Raises `Invalid`."""
    return _chosen(AggregateOp, name, "aggregate", f"Unsupported aggregate: {cut(name)}. Use {', '.join(AggregateOp)}")


def checked_function(name: str) -> Function:
    """The function with this name. Raises `Invalid`."""
    message = f"Unsupported aggregation function: {cut(name)}. Use {', '.join(Function)}"
    return _chosen(Function, name, "agg_func", message)


def _chosen(kind: type[ChoiceT], name: str, member: str, message: str) -> ChoiceT:
    try:
        return kind(name)
    except ValueError:
        raise refused(message, member, name, tuple(kind)) from None


def check_field(name: str | None, columns: Sequence[str], member: str, message: str) -> None:
    """Raise `Invalid` with a message unless a field is one of the columns, or not asked for."""
    if name is not None and name not in columns:
        raise refused(message, member, name, tuple(columns[:100]))


def refused(message: str, member: str, value: Any, allowed: tuple[Any, ...] | None = None) -> Invalid:
    """The error about one member of a request, with what it may be."""
    return Invalid(message, errors=[problem("value_error", message, (member,), value, allowed)])


def listed(names: Sequence[str]) -> str:
    """Names as an error shows them, no more than fit into it."""
    return str(cut(", ".join(names))) if names else "none"
