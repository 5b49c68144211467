"""What a service measures, in the text format of Prometheus; every service has a registry of its own."""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from domain.measures import Family, Kind, Measures, Spread


class Metrics:
    """The metrics of one service: what it measures, and what Python and the system say of the process.

    `target` and `build` are labels of `target_info` and `millrace_build_info`. `process` are labels of everything that
    is measured in this one of several processes.
    """

    def __init__(
        self,
        measures: Measures,
        *,
        target: Mapping[str, str],
        build: Mapping[str, str],
        process: Mapping[str, str] | None = None,
    ) -> None:
        self._measures = measures
        self._process = dict(process or {})
        # The one that the library has by itself is shared by all services of a process.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._infos = (
            _info("target_info", "What is measured", target),
            _info("millrace_build_info", "What runs here", build),
        )

    async def text(self) -> bytes:
        """Everything in the text format. Others get their turn between two families."""
        parts: list[bytes] = []
        for metric in self._metrics():
            parts.append(generate_latest(_One(metric)))
            await asyncio.sleep(0)
        return b"".join(parts)

    def _metrics(self) -> Iterator[Metric]:
        yield from self._infos
        for metric in self._registry.collect():
            for sample in metric.samples:
                sample.labels.update(self._process)
            yield metric
        for family in self._measures.families():
            if family.values:
                yield _metric(family, {} if family.is_shared else self._process)


class _One(Collector):
    """Has one metric that is there already."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _info(name: str, description: str, labels: Mapping[str, str]) -> Metric:
    metric = Metric(name, description, "gauge")
    metric.add_sample(name, dict(labels), 1)
    return metric


def _metric(family: Family, more: Mapping[str, str]) -> Metric:
    name = family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name
    metric = Metric(name, family.description, family.kind.value)
    for values, value in family.values:
        labels = {**more, **dict(zip(family.labels, values, strict=True))}
        if isinstance(value, Spread):
            _add_spread(metric, family, labels, value)
        else:
            metric.add_sample(family.name, labels, value)
    return metric


def _add_spread(metric: Metric, family: Family, labels: dict[str, str], spread: Spread) -> None:
    if family.kind is Kind.HISTOGRAM:
        for bound, count in zip((*map(str, map(float, family.bounds)), "+Inf"), accumulate(spread.counts), strict=True):
            metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{family.name}_count", labels, spread.count)
    metric.add_sample(f"{family.name}_sum", labels, spread.total)
