"""Charts of backtests: whether forecasts are as sure as they should be, and how far ahead they are of any use."""

from collections.abc import Sequence
from typing import Any

from domain.backtest_reports import BacktestReport
from domain.charts.descriptions import counted, number, sentence
from domain.charts.grammar import Spec
from domain.charts.layers import AS_LINES, coloured, composed, dashed, encoding

COVERAGES = ((50, "coverage_50"), (80, "coverage_80"), (95, "coverage_95"))
_PIT_TITLE = "where truths lay in the forecast"


def calibration(report: BacktestReport, title: str | None, width: int | None, height: int | None) -> Spec:
    """For each model where truths lay in its forecasts (flat is right), and how many were within its intervals."""
    models = _models(report)
    pits = [row for name in models for row in _pit(name, report.pit.get(name, []))]
    shares = [
        {"model": name, "nominal": share / 100, "observed": found}
        for name in models
        for share, member in COVERAGES
        if (found := getattr(report.overall[name], member)) is not None
    ]
    size = {"width": width or 260, "height": height or 160}
    colour = encoding("model", "nominal", **coloured(models, "model"), legend=AS_LINES)
    histograms = {
        "data": {"values": pits},
        "facet": {"field": "model", "type": "nominal", "title": None, "sort": models},
        "columns": 2,
        "spec": {**size, "layer": [_bars(colour), _even()]},
    }
    coverage = {
        "data": {"values": shares},
        "width": 300,
        "height": 300,
        "layer": [_diagonal(), _reached(colour, dashed(models, "model"))],
    }
    described = sentence(
        f"Calibration of {counted(len(models), 'model')} of {report.target}",
        *(_covered(name, report) for name in models),
        "A calibrated forecast has even bars of 10 % each, and as many truths within an interval as it says",
    )
    return composed(
        [],
        described,
        title,
        hconcat=[histograms, coverage],
        resolve={"legend": {"color": "shared", "strokeDash": "shared"}},
    )


def skill(report: BacktestReport, title: str | None, width: int | None, height: int | None) -> Spec:
    """How much better than the baseline each model is, by how far ahead it looks."""
    models = [name for name in _models(report) if name != report.baseline]
    rows = [
        {"model": name, "horizon": step, "skill": metrics.skill, "crps": metrics.crps, "n": metrics.n}
        for name in models
        for step, metrics in enumerate(report.by_horizon[name], start=1)
        if metrics.skill is not None
    ]
    colour = encoding("model", "nominal", **coloured(models, "model"), legend=AS_LINES)
    y = encoding("skill", "quantitative", f"skill against {report.baseline}")
    layers: list[Any] = [
        {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"y": {"datum": 0}}},
        {
            "mark": {"type": "line", "point": True, "tooltip": True},
            "encoding": {
                "x": encoding("horizon", "ordinal", "periods ahead", axis={"labelAngle": 0}),
                "y": y,
                "color": colour,
                "strokeDash": dashed(models, "model"),
            },
        },
    ]
    spoken = [_skilled(name, [row for row in rows if row["model"] == name]) for name in models]
    described = sentence(
        f"Skill of {counted(len(models), 'model')} of {report.target} by horizon, 1 to {report.horizon} periods ahead",
        *spoken,
        f"Above 0 is better than {report.baseline}",
    )
    return composed(rows, described, title, width=width or 600, height=height or 320, layer=layers)


def _models(report: BacktestReport) -> list[str]:
    names = dict.fromkeys([*report.models, report.baseline])
    return [name for name in names if name in report.overall]


def _pit(name: str, shares: Sequence[float]) -> list[dict[str, Any]]:
    total, count = sum(shares) or 1, len(shares)
    return [
        {"model": name, "from": index / count, "to": (index + 1) / count, "share": share / total}
        for index, share in enumerate(shares)
    ]


def _bars(colour: Spec) -> Spec:
    return {
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": encoding("from", "quantitative", _PIT_TITLE, bin="binned"),
            "x2": {"field": "to"},
            "y": encoding("share", "quantitative", "share of truths", axis={"format": "%"}),
            "color": colour,
        },
    }


def _even() -> Spec:
    return {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"y": {"datum": 0.1}}}


def _diagonal() -> Spec:
    ends = [{"nominal": 0, "observed": 0}, {"nominal": 1, "observed": 1}]
    return {
        "data": {"values": ends},
        "mark": {"type": "line", "strokeDash": [4, 4], "color": "#7f7f7f"},
        "encoding": {
            "x": encoding("nominal", "quantitative", "share that the interval says", axis={"format": "%"}),
            "y": encoding("observed", "quantitative", "share that was within", axis={"format": "%"}),
        },
    }


def _reached(colour: Spec, dashes: Spec) -> Spec:
    return {
        "mark": {"type": "line", "point": True, "tooltip": True},
        "encoding": {
            "x": encoding("nominal", "quantitative"),
            "y": encoding("observed", "quantitative"),
            "color": colour,
            "strokeDash": dashes,
        },
    }


def _covered(name: str, report: BacktestReport) -> str:
    metrics = report.overall[name]
    found = [
        f"{share:.0%} within the {nominal} % interval"
        for nominal, member in COVERAGES
        if (share := getattr(metrics, member)) is not None
    ]
    return f"{name}: {', '.join(found) if found else 'no intervals'}, {counted(metrics.n, 'forecast')}"


def _skilled(name: str, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return f"{name}: no skill is known"
    best, worst = max(rows, key=lambda row: row["skill"]), min(rows, key=lambda row: row["skill"])
    return (
        f"{name}: best {number(best['skill'])} at {best['horizon']}, "
        f"worst {number(worst['skill'])} at {worst['horizon']}"
    )
