"""Ensembles as graphs of jobs: one job for each member, side by side, and one that makes a whole of what they leave."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.entity import new_id
from domain.graphs import GraphRequest, Node, On
from domain.ml import PREDICT, TRAIN, ModelJob, TrainRequest, horizon_of
from domain.model_jobs import ENSEMBLE, EVALUATE, EnsembleJob, EvaluateJob, Part
from domain.models import EnsembleRunner
from domain.validation import problem, rejected
from service.managers.configs import ConfigManager
from service.managers.graphs import GraphManager
from service.managers.model_artifacts import ModelArtifacts


class ModelNodes(msgspec.Struct, frozen=True):
    """Jobs that leave one artifact: nodes by name, the one that leaves it, and the ids that jobs get, by node."""

    nodes: dict[str, Node]
    last: str
    ids: dict[str, str]


class EnsembleGraphs:
    """The graphs of an ensemble."""

    def __init__(
        self, runner: EnsembleRunner, configs: ConfigManager, artifacts: ModelArtifacts, graphs: GraphManager
    ) -> None:
        self._runner = runner
        self._configs = configs
        self._artifacts = artifacts
        self._graphs = graphs

    async def submit(self, made: ModelNodes, label: str) -> str:
        """Submit the graph; returns the id of the job that leaves the artifact."""
        await self._graphs.check_room(len(made.nodes))
        await self._graphs.add(GraphRequest(nodes=made.nodes, label=label), made.ids)
        return made.ids[made.last]

    async def training(self, request: TrainRequest, blob: str, artifact_id: str, prefix: str = "") -> ModelNodes | None:
        """The jobs that train; None when there is no such configuration, as one job will say."""
        config = await self._configs.find(request.config_id)
        if config is None:
            return None
        typed = self._configs.schema.typed(config.data)
        names = self.chosen(typed, ("config_id",))
        nodes = Nodes(prefix)
        horizon, _ = horizon_of(typed, request.run_info)
        is_learned = self._runner.weights == "learned" and len(names) > 1
        parts = []
        for name in names:
            made = ModelJob(artifact_id=new_id(), request=blob, config_id=config.id, member=name)
            job_id = nodes.add(f"train-{name}", TRAIN, made, self._runner.member_timeout_seconds)
            held_out = None
            if is_learned:
                held_out = EvaluateJob(
                    artifact_id=new_id(),
                    request=blob,
                    config_id=config.id,
                    horizon=horizon,
                    member=name,
                    target=self._runner.target,
                )
                nodes.add(f"held-out-{name}", EVALUATE, held_out, self._runner.member_timeout_seconds)
            held_out_id = held_out.artifact_id if held_out is not None else None
            parts.append(Part(name=name, job_id=job_id, artifact_id=made.artifact_id, held_out_id=held_out_id))
        whole = EnsembleJob(artifact_id=artifact_id, request=blob, parts=parts, config_id=config.id)
        return nodes.joined("model", ENSEMBLE, whole)

    async def prediction(self, one: ModelJob) -> ModelNodes | None:
        """The jobs that do what one would do alone; None for the artifact of no ensemble, as one job will say."""
        try:
            model = await self._artifacts.training(one.model_id or "")
        except ValueError:
            return None
        nodes = Nodes()
        parts = []
        for member in await self._artifacts.members(model):
            made = ModelJob(artifact_id=new_id(), request=one.request, model_id=member.artifact_id, member=member.name)
            job_id = nodes.add(f"predict-{member.name}", PREDICT, made, self._runner.member_timeout_seconds)
            parts.append(Part(name=member.name, job_id=job_id, artifact_id=made.artifact_id))
        if not parts:
            return None
        whole = EnsembleJob(
            artifact_id=one.artifact_id,
            request=one.request,
            parts=parts,
            model_id=model.id,
            model_version=one.model_version,
        )
        return nodes.joined("forecast", ENSEMBLE, whole)

    def chosen(self, config: Any, loc: Sequence[str]) -> list[str]:
        """The members that a configuration names. Raises `InvalidBody` for one that there is not."""
        names = getattr(config, "members", [])
        try:
            return list(self._runner.chosen(names))
        except ValueError as error:
            raise rejected(
                [problem("unknown_member", str(error), tuple(loc), names, tuple(self._runner.members))]
            ) from None


class Nodes:
    """Nodes as they come together; `prefix` keeps those of several models in one graph apart."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.nodes: dict[str, Node] = {}
        self.ids: dict[str, str] = {}

    def add(
        self,
        name: str,
        task: str,
        args: msgspec.Struct,
        timeout_seconds: float | None = None,
        *,
        depends_on: Mapping[str, On] | None = None,
        label: str | None = None,
    ) -> str:
        """One more; returns the id of its job."""
        full = f"{self._prefix}{name}"
        self.nodes[full] = Node(
            task=task,
            args=msgspec.to_builtins(args),
            label=label or full,
            timeout_seconds=timeout_seconds,
            depends_on=dict(depends_on or {}),
        )
        self.ids[full] = new_id()
        return self.ids[full]

    def include(self, made: ModelNodes) -> None:
        """Those of another one."""
        self.nodes |= made.nodes
        self.ids |= made.ids

    def joined(self, name: str, task: str, args: msgspec.Struct) -> ModelNodes:
        """All of them, and one that comes after them, however they end."""
        before = dict.fromkeys(self.nodes, On.ALWAYS)
        self.add(name, task, args, depends_on=before)
        return ModelNodes(self.nodes, f"{self._prefix}{name}", self.ids)
