"""Puts together what shows how a service is doing; loads the libraries for it only where it is wanted."""

import os
from collections.abc import Callable
from importlib.metadata import version

from domain.errors import Misconfigured
from domain.registration import MLServiceInfo
from domain.tracing import Tracer
from service.choices import Choices, MonitoringPlan
from service.http.application import Layer
from service.http.monitoring import Requests
from service.http.tracing import tracing_layer
from service.managers.monitoring import Monitoring
from service.routes import MetricsPlan
from service.settings import Settings


class Monitored:
    """The measures of a service and where they are shown."""

    def __init__(self, plan: MonitoringPlan, choices: Choices, settings: Settings) -> None:
        # Here, so that whoever measures nothing does not load it.
        from infra.telemetry.metrics import Metrics

        self.monitoring = Monitoring(has_jobs=choices.jobs is not None, has_model=choices.ml is not None)
        if plan.is_tracing:
            self.monitoring.make_tracer = _tracing(plan, choices)
        self.requests = Requests()
        self.monitoring.measures.add(self.requests.families)
        metrics = Metrics(self.monitoring.measures, **_identity(plan, choices, settings))

        async def text() -> bytes:
            await self.monitoring.prepare()
            return await metrics.text()

        self.plan = MetricsPlan(path=plan.path, tags=plan.tags, text=text)


def monitored(choices: Choices, settings: Settings) -> Monitored | None:
    """What `with_monitoring` was told; None without it."""
    return Monitored(choices.monitoring, choices, settings) if choices.monitoring is not None else None


def layers_of(monitored: Monitored | None) -> list[Layer]:
    """What is put around the app: nothing, unless something is measured."""
    if monitored is None:
        return []
    monitoring = monitored.monitoring
    traces = [tracing_layer(monitoring.find_tracer)] if monitoring.make_tracer is not None else []
    return [monitored.requests.layer, *traces]


def _tracing(plan: MonitoringPlan, choices: Choices) -> Callable[[], Tracer]:
    try:
        from infra.telemetry.tracing import OtelTracer
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"with_monitoring(enable_traces=True) needs {error.name}: pip install 'millrace[traces]'"
        ) from error
    return lambda: OtelTracer(plan.service_name, choices.info.version)


def _identity(plan: MonitoringPlan, choices: Choices, settings: Settings) -> dict[str, dict[str, str]]:
    info = choices.info
    revision = (info.git_revision if isinstance(info, MLServiceInfo) else None) or settings.code_revision or ""
    # Whoever asks does not know which of several processes answers, and must not take one for the other.
    process = {"pid": str(os.getpid())} if settings.workers > 1 else {}
    return {
        "process": process,
        "target": {"service_name": plan.service_name, "service_version": info.version},
        "build": {"version": version("millrace"), "service_version": info.version, "revision": revision},
    }
