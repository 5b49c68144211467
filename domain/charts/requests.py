"""What clients ask of the visualization service, and its reply."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.frames import DataFrame, check_structure
from domain.validation import problem, rejected

MOST_ROWS = 50_000
"""More than anybody could tell apart in a picture."""
MOST_PIXELS = 2_000

Name = Annotated[str, Meta(max_length=1_000)]
Title = Annotated[str, Meta(max_length=1_000)]
Pixels = Annotated[int, Meta(ge=10, le=MOST_PIXELS)]
DEFAULT_WIDTH, DEFAULT_HEIGHT = 600, 400


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `$generate`: a table, and which of its columns stand for what in the chart.

    `aggregate` is what Vega-Lite makes of several values of `y_field` at one place. `width` and `height` are in pixels.
    """

    data: DataFrame
    chart_type: Name
    x_field: Name | None = None
    y_field: Name | None = None
    color_field: Name | None = None
    title: Title | None = None
    width: Pixels = DEFAULT_WIDTH
    height: Pixels = DEFAULT_HEIGHT
    aggregate: Name | None = None
    format: Name = "json"


class AggregateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `$aggregate`: a table is grouped, one number made of each group, and the result is drawn."""

    data: DataFrame
    group_by: Annotated[list[Name], Meta(max_length=100)]
    agg_field: Name
    agg_func: Name
    chart_type: Name = "bar"
    title: Title | None = None
    width: Pixels = DEFAULT_WIDTH
    height: Pixels = DEFAULT_HEIGHT
    format: Name = "json"


class Chart(msgspec.Struct, frozen=True):
    """A chart as JSON: its grammar, and how much data of which columns is in it."""

    spec: dict[str, Any]
    row_count: int
    columns: list[str]


def check_rows(frame: DataFrame, *path: str | int) -> None:
    """Raise `InvalidBody` for a frame that is none, or has more rows than can be drawn."""
    check_structure(frame, *path)
    if len(frame.data) > MOST_ROWS:
        message = (
            f"there are {len(frame.data):,} rows; a chart has at most {MOST_ROWS:,}: aggregate or sample them first"
        )
        raise rejected([problem("too_many_rows", message, (*path, "data"), None)])
