"""Has models tried on the past: one job for each moment and model, and one that scores what they leave."""

import asyncio
from typing import Any

import msgspec

from domain.backtests import cutoffs
from domain.configs import Config
from domain.entity import new_id
from domain.errors import FieldError, Invalid
from domain.evaluations import MOST_TRIALS, BacktestAccepted, BacktestRequest
from domain.frames import check_geo, structure_errors
from domain.graphs import GraphRequest
from domain.ml import Period, horizon_of, horizon_problem
from domain.model_jobs import BACKTEST, EVALUATE, BacktestJob, EvaluateJob, Part
from domain.storage import Storage
from domain.validation import problem, rejected
from service.managers.configs import ConfigManager
from service.managers.graphs import GraphManager
from service.managers.model_graphs import ModelNodes, Nodes

_encode = msgspec.json.Encoder().encode


class Backtests:
    """The backtests of a service. Methods raise `InvalidBody` and `Unavailable`."""

    def __init__(self, configs: ConfigManager, storage: Storage, graphs: GraphManager, bounds: Period) -> None:
        self._configs = configs
        self._storage = storage
        self._graphs = graphs
        self._bounds = bounds

    async def submit(self, request: BacktestRequest, body: bytes | None = None) -> BacktestAccepted:
        """Have models tried on the past; `body` is the request as it was sent, if it was."""
        artifact_id = new_id()
        made = await self.jobs(request, body or _encode(request), artifact_id)
        await self._graphs.check_room(len(made.nodes))
        view = await self._graphs.add(GraphRequest(nodes=made.nodes, label="backtest"), made.ids)
        job_id = made.ids[made.last]
        message = f"Backtest of {len(made.nodes) - 1} trials submitted. Job ID: {job_id}"
        return BacktestAccepted(job_id=job_id, artifact_id=artifact_id, graph_id=view.id, message=message)

    async def jobs(self, request: BacktestRequest, body: bytes, artifact_id: str, prefix: str = "") -> ModelNodes:
        """The jobs of a backtest. Raises `InvalidBody` for what could not be tried."""
        self._check(request)
        configs = await self._found(request)
        horizon = self._horizon(request, configs)
        try:
            moments = await asyncio.to_thread(lambda: cutoffs(request.data, request.plan(horizon)))
        except Invalid as error:
            raise rejected([problem("too_short", error.detail, ("data",), None)]) from None
        if len(moments) * len(configs) > MOST_TRIALS:
            message = f"{len(moments)} splits of {len(configs)} models are more than {MOST_TRIALS} trials"
            raise rejected([problem("too_many", message, ("splits",), request.splits)])
        blob = (await self._storage.put(body)).sha256
        return _nodes(request, configs, moments, horizon, blob, artifact_id, prefix)

    def _check(self, request: BacktestRequest) -> None:
        errors = structure_errors(request.data, "data")
        if not errors and request.target not in request.data.columns:
            message = f'the data has no column "{request.target}"'
            errors = [problem("unknown_column", message, ("target",), request.target, tuple(request.data.columns))]
        if errors:
            raise rejected(errors)
        if request.geo is not None:
            check_geo(request.geo, "geo")

    async def _found(self, request: BacktestRequest) -> dict[str, Config]:
        """The configurations by the names of their models, which differ."""
        errors: list[FieldError] = []
        found: list[Config] = []
        for index, id in enumerate(request.config_ids):
            config = await self._configs.find(id)
            loc = ("config_ids", index)
            if config is None:
                errors.append(problem("config_not_found", f"Config {id} not found", loc, id))
            elif config.id in {other.id for other in found}:
                errors.append(problem("conflict", f"Config {id} is named twice", loc, id))
            else:
                found.append(config)
        if errors:
            raise rejected(errors)
        names = [config.name for config in found]
        return {
            name if names.count(name) == 1 else f"{name} ({config.id})": config
            for name, config in zip(names, found, strict=True)
        }

    def _horizon(self, request: BacktestRequest, configs: dict[str, Config]) -> int:
        first: Any = self._configs.schema.typed(next(iter(configs.values())).data)
        horizon, field = request.horizon, "horizon"
        if horizon is None:
            horizon, field = horizon_of(first, request.run_info)
        wrong = horizon_problem(horizon, self._bounds, field)
        if wrong is not None:
            raise rejected([problem(wrong.code, wrong.message, (field,), horizon)])
        return horizon


def _nodes(
    request: BacktestRequest,
    configs: dict[str, Config],
    moments: list[str],
    horizon: int,
    blob: str,
    artifact_id: str,
    prefix: str,
) -> ModelNodes:
    nodes = Nodes(prefix)
    parts = []
    # All models of one moment come before the next moment, so that a look at half of it compares them.
    for number, cutoff in enumerate(moments):
        for index, (name, config) in enumerate(configs.items()):
            trial = EvaluateJob(
                artifact_id=new_id(),
                request=blob,
                config_id=config.id,
                horizon=horizon,
                cutoff=cutoff,
                model=name,
                target=request.target,
            )
            label = f"{name} after {cutoff}"[:200]
            job_id = nodes.add(f"split-{number}-{index}", EVALUATE, trial, label=label)
            parts.append(Part(name=name, job_id=job_id, artifact_id=trial.artifact_id, cutoff=cutoff))
    report = BacktestJob(
        artifact_id=artifact_id, request=blob, parts=parts, models=list(configs), cutoffs=moments, horizon=horizon
    )
    return nodes.joined("report", BACKTEST, report)
