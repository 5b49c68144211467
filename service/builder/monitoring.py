"""Metrics and traces."""

from collections.abc import Sequence
from typing import Self

from service.builder.core import Core, checked_prefix
from service.choices import MonitoringPlan


class Monitored(Core):
    """What shows how a service is doing."""

    def with_monitoring(
        self,
        prefix: str = "/metrics",
        tags: Sequence[str] = ("Observability",),
        service_name: str | None = None,
        enable_traces: bool = False,
        *,
        enabled: bool = True,
    ) -> Self:
        """Measure requests, jobs, the database and the process, and offer that in the text format of Prometheus.

        `service_name` is what it is called there, by default its id. With `enable_traces` requests and the jobs that
        they submit are told to an OpenTelemetry collector; that needs `pip install 'millrace[traces]'`. `enabled` False
        takes back what was said before.
        """
        # The first argument of servicekit's newest release is a bool, which is refused here like any other non-path.
        path = checked_prefix("with_monitoring", str(prefix))
        self._choices.monitoring = (
            MonitoringPlan(
                path=path,
                tags=tuple(tags),
                service_name=service_name or self._choices.info.id,
                is_tracing=enable_traces,
            )
            if enabled
            else None
        )
        return self
