"""Writes what was measured last into the documentation: `python -m bench.report`."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import vl_convert

from bench import scaling
from bench.record import Record, Row, read
from bench.results import shown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.svg"
# Readable on white and on black alike.
_INK, _GATE, _REACHED, _MISSED, _BROKEN = "#808890", "#808890", "#2a9d6f", "#4c8fd6", "#d65f4c"


def main() -> None:
    """Put the table between its markers, and the picture beside it."""
    record = read()
    write("promises", table(record))
    if scaling.FILE.exists():
        write("scaling", scaled(msgspec.json.decode(scaling.FILE.read_bytes(), type=scaling.Scaling)))
    PICTURE.write_text(vl_convert.vegalite_to_svg(msgspec.json.encode(picture(record.rows)).decode()) + "\n")


def write(name: str, lines: Iterable[str]) -> None:
    """Replace what stands between the markers of `name` on the page."""
    begin, end = f"<!-- {name}: written by make bench-report -->", f"<!-- {name}: end -->"
    text = PAGE.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert pattern.search(text), f"{PAGE} has no {begin}"
    content = "\n".join([begin, "", *lines, "", end])
    PAGE.write_text(pattern.sub(lambda _: content, text))


def table(record: Record) -> Iterable[str]:
    """Every promise in a line of Markdown, with the machine named."""
    days = sorted({f"{row.at:%Y-%m-%d}" for row in record.rows})
    yield f"Measured on {record.machine}, {' and '.join(dict.fromkeys([days[0], days[-1]]))}."
    yield ""
    yield "| promise | where | gate | aim | measured | distance to the aim |"
    yield "|---|---|---|---|---|---|"
    for row in record.rows:
        bound = "≥" if row.is_least else "<"
        cells = [
            f"{bound} {row.gate:g} {row.unit}",
            f"{bound} {row.aim:g} {row.unit}",
            f"{shown(row.measured)} {row.unit}",
        ]
        yield f"| {row.promise} | {row.where} | {' | '.join(cells)} | {distance(row)} |"


def scaled(found: scaling.Scaling) -> Iterable[str]:
    """Every series in a line: each figure as a share of the first."""
    yield f"Measured on {found.machine}."
    named: dict[tuple[str, str], list[scaling.Point]] = {(point.series, point.where): [] for point in found.points}
    for point in found.points:
        named[point.series, point.where].append(point)
    for title, is_wanted, figure in _SCALES:
        series = {name: points for name, points in named.items() if is_wanted(name[0])}
        if not series:
            continue
        sizes = [f"{point.size:,}" for point in next(iter(series.values()))]
        yield ""
        yield f"| {title} | where | {' | '.join(sizes)} |"
        yield "|---" * (len(sizes) + 2) + "|"
        for (name, where), points in series.items():
            first = figure(points[0])
            cells = [f"{figure(point) / first:.3g}" for point in points]
            yield f"| {name.partition(', ')[0] if title != _ROWS else name} | {where} | {' | '.join(cells)} |"


_ROWS = "time of a request, by rows"
_SCALES: tuple[tuple[str, Callable[[str], bool], Callable[[scaling.Point], float]], ...] = (
    (_ROWS, lambda name: "connections" not in name and "processes" not in name, lambda point: point.p50),
    ("requests per second, by connections", lambda name: name.endswith("connections"), lambda point: point.rate),
    ("time of a request, by connections", lambda name: name.endswith("connections"), lambda point: point.p50),
    ("requests per second, by processes", lambda name: name.endswith("processes"), lambda point: point.rate),
)


def distance(row: Row) -> str:
    """How far it is to the aim, in words that a table has room for."""
    if row.room < 1:
        return "**gate broken**"
    return "reached" if row.distance >= 1 else f"{row.distance:.0%} of the way"


def picture(rows: Sequence[Row]) -> dict[str, Any]:
    """Each promise as a dot on the way from its gate to its aim, which is at 1, as a Vega-Lite spec."""
    # Each is drawn as a share of its aim; both ends are cut, for a few are a hundred times beyond.
    values = [
        {
            "promise": f"{row.promise} ({row.where})",
            "share": min(max(row.distance, 0.05), 10.0),
            "gate": min(max(row.distance / row.room, 0.05), 10.0),
            "state": "gate broken" if row.room < 1 else "aim reached" if row.distance >= 1 else "between",
        }
        for row in rows
    ]
    scale = {"type": "log", "domain": [0.05, 10]}
    promise = {"field": "promise", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 400}}
    across = {"type": "quantitative", "scale": scale, "title": "share of the aim (right is better, 1 is the aim)"}
    states = {"domain": ["aim reached", "between", "gate broken"], "range": [_REACHED, _MISSED, _BROKEN]}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": None,
        "width": 460,
        "height": {"step": 15},
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "rule", "color": _GATE, "opacity": 0.5},
                "encoding": {"y": promise, "x": {"field": "gate", **across}, "x2": {"field": "share"}},
            },
            {
                "mark": {"type": "tick", "color": _GATE, "thickness": 2, "size": 9},
                "encoding": {"y": promise, "x": {"field": "gate", **across}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {
                    "y": promise,
                    "x": {"field": "share", **across},
                    "color": {"field": "state", "type": "nominal", "scale": states, "title": None},
                },
            },
            {"mark": {"type": "rule", "color": _REACHED, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 1}}},
        ],
        "config": {
            "axis": {"labelColor": _INK, "titleColor": _INK, "gridColor": _INK, "gridOpacity": 0.2, "tickColor": _INK},
            "legend": {"labelColor": _INK, "orient": "top"},
            "view": {"stroke": None},
            "font": "sans-serif",
        },
    }


if __name__ == "__main__":
    main()
