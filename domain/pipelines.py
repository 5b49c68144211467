"""What is done again and again with models: train, try on the past, promote the best, predict with it, draw that."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from domain.errors import Misconfigured
from domain.frames import DataFrame, FeatureCollection
from domain.jobs import Name

OBSERVATIONS, PLACES = "ml_observations", "ml_places"
"""The types of the artifacts that keep what a pipeline has learned from, and where that is."""

PIPELINE, PROMOTE, DRAW = "ml.pipeline", "ml.promote", "ml.draw"
"""The kinds of the jobs. A pipeline's may be scheduled and submitted by clients, the others come with it."""

DATA_FILE = "data.json"
"""Where the process that gets the data leaves it, as `PipelineData`."""

FORECAST_CHARTS, REPORT_CHARTS = ("fan", "choropleth"), ("skill", "calibration")
"""What can be drawn of the forecast, and of the backtest."""

SCORES = ("crps", "wis", "mae", "rmse")
"""What the best candidate may have the least of."""

_CANDIDATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class PipelineData(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to learn from, and what is to be predicted: `future` has the covariates of the coming periods."""

    data: DataFrame
    future: DataFrame
    geo: FeatureCollection | None = None


class Pipeline:
    """Trains each candidate, tries all of them on the past, promotes the best if it passes the gate, and predicts.

    `load` is a function at the top of a module that returns `PipelineData`; it has a process of its own. `candidates`
    are the data of configurations by the names that they get. The best is the one with the least `score` in a backtest
    of `splits` moments, `stride` periods apart, with `horizon` periods each. It becomes a version of `model`, and what
    `alias` points to if `gate` is met, as in `"crps <= champion.crps"`. What the alias points to then, the new version
    or not, predicts `future`; each of `charts` is drawn of that beside what was observed, `skill` and `calibration` of
    the backtest. Raises `Misconfigured`.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], PipelineData],
        *,
        model: str,
        candidates: Mapping[str, Mapping[str, Any]],
        horizon: int,
        splits: int = 4,
        stride: int = 1,
        min_train_periods: int | None = None,
        target: str = "disease_cases",
        score: str = "crps",
        gate: str | None = None,
        alias: str = "champion",
        charts: Sequence[str] = ("fan",),
    ) -> None:
        self.name = name
        self.load = load
        self.model = model
        self.candidates = {candidate: dict(data) for candidate, data in candidates.items()}
        self.horizon = horizon
        self.splits = splits
        self.stride = stride
        self.min_train_periods = min_train_periods
        self.target = target
        self.score = score
        self.gate = gate
        self.alias = alias
        self.charts = tuple(charts)
        _check(self)


def _check(pipeline: Pipeline) -> None:
    where = f"Pipeline({pipeline.name!r})"
    try:
        msgspec.convert(pipeline.name, Name)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{where}: its name: {error}") from None
    if not pipeline.candidates:
        raise Misconfigured(f"{where}: it has no candidates")
    for candidate in pipeline.candidates:
        if not _CANDIDATE.fullmatch(candidate):
            raise Misconfigured(f"{where}: candidate {candidate!r}: letters, digits, '-' and '_', at most 64")
    if pipeline.score not in SCORES:
        raise Misconfigured(f"{where}: score={pipeline.score!r}: use one of {', '.join(SCORES)}")
    for chart in pipeline.charts:
        if chart not in (*FORECAST_CHARTS, *REPORT_CHARTS):
            known = ", ".join((*FORECAST_CHARTS, *REPORT_CHARTS))
            raise Misconfigured(f"{where}: there is no chart {chart!r}; there are: {known}")
    for option in ("horizon", "splits", "stride"):
        if getattr(pipeline, option) < 1:
            raise Misconfigured(f"{where}: {option}={getattr(pipeline, option)}: at least 1")


class PipelineJob(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a pipeline's job: which pipeline it is."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]


def job_of(pipelines: Sequence[Pipeline]) -> type[PipelineJob]:
    """The same, that takes the names of these pipelines only."""
    names: Any = Literal[tuple(pipeline.name for pipeline in pipelines)]
    made: Any = msgspec.defstruct("PipelineJob", [("name", names)], bases=(PipelineJob,), kw_only=True, frozen=True)
    return cast(type[PipelineJob], made)


class Gathering(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told that gets the data of a pipeline: its function, packed, and where to leave the data."""

    program: bytes
    directory: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One of the models of a pipeline: its name, its configuration, and the artifact that its training is to leave."""

    name: str
    config_id: str
    artifact_id: str


class PromoteJob(msgspec.Struct, frozen=True, kw_only=True):
    """Makes versions of the candidates, with the scores of a report, and has the alias point to the best."""

    model: str
    alias: str
    candidates: list[Candidate]
    report_id: str
    score: str
    gate: str | None = None


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a promotion: the best version, what the alias points to, and why it is not the best, if so."""

    model: str
    best: str
    version: int
    champion: int | None
    is_promoted: bool
    reason: str | None = None


class DrawJob(msgspec.Struct, frozen=True, kw_only=True):
    """Draws a chart of an artifact, and stores it under an id; `params` are those of `$chart`."""

    artifact_id: str
    source_id: str
    params: dict[str, Any]
