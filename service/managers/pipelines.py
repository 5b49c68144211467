"""What follows once a pipeline has its data: one graph that trains, tries, promotes, predicts and draws."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from domain.artifacts import Artifact
from domain.configs import Config
from domain.entity import new_id
from domain.evaluations import BacktestRequest
from domain.graphs import GraphRequest, Node, On
from domain.ml import PREDICT, TRAIN, ModelJob, PredictRequest, RunInfo, TrainRequest
from domain.model_runs import FRAME_MEDIA_TYPE, ContentKind
from domain.pipelines import (
    DRAW,
    OBSERVATIONS,
    PLACES,
    PROMOTE,
    REPORT_CHARTS,
    Candidate,
    DrawJob,
    Pipeline,
    PipelineData,
    PromoteJob,
)
from domain.query import BY_ID, Comparison, Operator
from domain.storage import Storage
from service.managers.artifacts import ArtifactManager
from service.managers.backtests import Backtests
from service.managers.configs import ConfigManager
from service.managers.graphs import GraphManager
from service.managers.model_graphs import EnsembleGraphs, Nodes

_encode = msgspec.json.Encoder().encode


class Kept(msgspec.Struct, frozen=True):
    """The artifacts of the data of a pipeline, to be saved; their content is stored already."""

    observations: Artifact
    places: Artifact | None

    @property
    def rows(self) -> list[Artifact]:
        """Those that there are."""
        return [self.observations, *([self.places] if self.places is not None else [])]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a pipeline's job: the graph that it has submitted, and the artifacts that this will leave."""

    graph_id: str
    trainings: dict[str, str]
    report_id: str
    forecast_id: str
    observations_id: str
    charts: dict[str, str]


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that is ready to be submitted."""

    label: str
    nodes: dict[str, Node]
    ids: dict[str, str]
    kept: Kept
    told: Told


class Pipelines:
    """The pipelines of a service, by name."""

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        configs: ConfigManager,
        artifacts: ArtifactManager,
        storage: Storage,
        ensembles: EnsembleGraphs | None,
        backtests: Backtests,
        graphs: GraphManager,
    ) -> None:
        self._pipelines = pipelines
        self._configs = configs
        self._artifacts = artifacts
        self._storage = storage
        self._ensembles = ensembles
        self._backtests = backtests
        self._graphs = graphs

    async def planned(self, name: str, data: PipelineData) -> Planned:
        """The graph for this data. Raises `InvalidBody` for data that models could not be tried on."""
        pipeline = self._pipelines[name]
        told = RunInfo(prediction_periods=pipeline.horizon)
        nodes = Nodes()
        candidates = []
        for candidate, options in pipeline.candidates.items():
            config = await self._config(candidate, options)
            artifact_id = new_id()
            request = TrainRequest(config_id=config.id, data=data.data, geo=data.geo, run_info=told)
            await self._train(nodes, request, artifact_id, f"{candidate}-")
            candidates.append(Candidate(name=candidate, config_id=config.id, artifact_id=artifact_id))
        report_id, forecast_id = new_id(), new_id()
        await self._backtest(nodes, pipeline, data, candidates, report_id)
        promotion = PromoteJob(
            model=pipeline.model,
            alias=pipeline.alias,
            candidates=candidates,
            report_id=report_id,
            score=pipeline.score,
            gate=pipeline.gate,
        )
        last = [f"{candidate.name}-model" for candidate in candidates]
        nodes.add("promote", PROMOTE, promotion, depends_on=dict.fromkeys([*last, "backtest-report"], On.SUCCESS))
        await self._predict(nodes, pipeline, data, told, forecast_id)
        kept = await self._kept(name, data)
        charts = {}
        for chart in pipeline.charts:
            charts[chart] = new_id()
            source, before = (report_id, "backtest-report") if chart in REPORT_CHARTS else (forecast_id, "predict")
            params = _params(chart, pipeline, kept)
            drawing = DrawJob(artifact_id=charts[chart], source_id=source, params=params)
            nodes.add(f"draw-{chart}", DRAW, drawing, depends_on={before: On.SUCCESS})
        made = Told(
            graph_id=new_id(),
            trainings={candidate.name: candidate.artifact_id for candidate in candidates},
            report_id=report_id,
            forecast_id=forecast_id,
            observations_id=kept.observations.id,
            charts=charts,
        )
        return Planned(label=f"pipeline {name}", nodes=nodes.nodes, ids=nodes.ids, kept=kept, told=made)

    async def submit(self, planned: Planned) -> None:
        """Keep the data and submit a graph, in the transaction around this."""
        await self._artifacts.insert_results(planned.kept.rows, None)
        request = GraphRequest(nodes=planned.nodes, label=planned.label)
        await self._graphs.add(request, planned.ids, graph_id=planned.told.graph_id)

    async def _config(self, name: str, options: Mapping[str, Any]) -> Config:
        """The configuration of a candidate: one of this name and with these options, which is made once."""
        stored = self._configs.schema.stored(options)
        named = Comparison("name", Operator.EQ, name)
        for config in await self._configs.find_all(msgspec.structs.replace(BY_ID, filter=named)):
            if config.data == stored:
                return config
        return await self._configs.create({"name": name, "data": dict(options)})

    async def _kept(self, name: str, data: PipelineData) -> Kept:
        observations = await self._row(name, OBSERVATIONS, data.data, ContentKind.FRAME, FRAME_MEDIA_TYPE)
        if data.geo is None:
            return Kept(observations, None)
        return Kept(observations, await self._row(name, PLACES, data.geo, ContentKind.JSON, "application/geo+json"))

    async def _row(self, name: str, kind: str, content: msgspec.Struct, as_: ContentKind, media_type: str) -> Artifact:
        blob = await self._storage.put(await asyncio.to_thread(_encode, content))
        said = {"type": kind, "metadata": {"pipeline": name}, "content_type": media_type, "content_size": None}
        return Artifact(data=said, content_kind=as_, content_sha256=blob.sha256, content_bytes=blob.size)

    async def _put(self, request: msgspec.Struct) -> str:
        return (await self._storage.put(await asyncio.to_thread(_encode, request))).sha256

    async def _train(self, nodes: Nodes, request: TrainRequest, artifact_id: str, prefix: str) -> None:
        blob = await self._put(request)
        if self._ensembles is not None:
            made = await self._ensembles.training(request, blob, artifact_id, prefix)
            assert made is not None
            nodes.include(made)
        else:
            one = ModelJob(artifact_id=artifact_id, request=blob, config_id=request.config_id)
            nodes.add(f"{prefix}model", TRAIN, one)

    async def _backtest(
        self, nodes: Nodes, pipeline: Pipeline, data: PipelineData, candidates: list[Candidate], report_id: str
    ) -> None:
        asked = BacktestRequest(
            config_ids=[candidate.config_id for candidate in candidates],
            data=data.data,
            geo=data.geo,
            horizon=pipeline.horizon,
            splits=pipeline.splits,
            stride=pipeline.stride,
            min_train_periods=pipeline.min_train_periods,
            target=pipeline.target,
        )
        body = await asyncio.to_thread(_encode, asked)
        nodes.include(await self._backtests.jobs(asked, body, report_id, "backtest-"))

    async def _predict(
        self, nodes: Nodes, pipeline: Pipeline, data: PipelineData, told: RunInfo, forecast_id: str
    ) -> None:
        reference = f"{pipeline.model}@{pipeline.alias}"
        asked = PredictRequest(model=reference, historic=data.data, future=data.future, geo=data.geo, run_info=told)
        one = ModelJob(artifact_id=forecast_id, request=await self._put(asked), model=reference)
        # Whether the best was promoted or not: what the alias points to then is asked.
        nodes.add("predict", PREDICT, one, depends_on={"promote": On.SUCCESS})


def _params(chart: str, pipeline: Pipeline, kept: Kept) -> dict[str, str]:
    """What a chart is asked for."""
    if chart in REPORT_CHARTS:
        return {"chart": chart}
    params = {"chart": chart, "target": pipeline.target, "history": kept.observations.id}
    return params if kept.places is None else {**params, "geo": kept.places.id}
